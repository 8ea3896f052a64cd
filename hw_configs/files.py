"""Errors that are the user's to mend, and files that are never left half-written.

All commands share them. They live in the lowest package, which needs nothing but Python, so that
training and running need not know each other.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")
                 if hasattr(signal, name))
"""Signals by which a person, a scheduler or a closed terminal ends a command."""


class UserError(Exception):
    """Bad input. The message is one line: what, where, what was expected, what to do."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` if the block succeeds. A link is
    followed: what it names is replaced.

    Raises:
        UserError: the folder cannot be written (read-only, full disk, a file in the way), or `path`
            is something else than a file.
    """
    check_replaceable(path)
    path = Path(os.path.realpath(path))
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


def check_replaceable(path: Path) -> None:
    """Raises:
        UserError: `path` is there and no file: a folder, a device, a pipe, a socket.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{path}: is no file, and nothing else is written over; choose another "
                        "path")


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
    """Run a command: a `UserError`, Ctrl-C, SIGTERM or SIGHUP ends it in one line and a non-zero
    code.

    Args:
        main: the command.
        interrupted: what to say after Ctrl-C.

    Set FSVAE_TRACEBACK=1 to see where a `UserError` was raised.
    """
    try:
        with _stoppable():
            return main() or 0
    except UserError as error:
        if os.environ.get("FSVAE_TRACEBACK"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP are Ctrl-C inside, so that what is finished is kept."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main one
        yield
        return

    def stop(number, frame):
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in STOPPING
              if signal.getsignal(number) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)
