"""lava.lib.dl.slayer without the notices it prints on import."""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    from lava.lib.dl import slayer

__all__ = ["slayer"]
