"""Errors that are the user's to mend, and files that are never left half-written.

All commands share them. They live in the lowest package, which needs nothing but Python, so that
training and running need not know each other.
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
    path = Path(path)
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


def check_writable(folder: Path) -> None:
    """Make `folder` and try it, so that a long run does not find out at its end.

    Raises:
        UserError: it cannot be written.
    """
    probe = Path(folder) / f".{os.getpid()}.tmp"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def run_command(main: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Run a command: a `UserError` or Ctrl-C ends it in one line and a non-zero code.

    Args:
        main: the command.
        interrupted: what to say after Ctrl-C.

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
        print(interrupted, file=sys.stderr)
        return 130
