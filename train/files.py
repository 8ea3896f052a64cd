"""Errors that are the user's to mend, and files that are never left half-written.

The running side has the same few lines in lava_models/files.py: train and lava_models share no
code, only the model.net file.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Bad input. The message is one line: what, where, what was expected, what to do."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` if the block succeeds.

    Raises:
        UserError: the folder cannot be written (read-only, full disk, a file in the way).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; "
                        "nothing was changed there") from None
    finally:
        temporary.unlink(missing_ok=True)


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command: a `UserError` or Ctrl-C ends it in one line and a non-zero code.

    Set FSVAE_TRACEBACK=1 to see where a `UserError` was raised.
    """
    try:
        return main() or 0
    except UserError as error:
        if os.environ.get("FSVAE_TRACEBACK"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; --resume continues from the last checkpoint", file=sys.stderr)
        return 130
