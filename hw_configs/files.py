"""Errors that are the user's to mend, and files that are never left half-written.

All commands share them. They live in the lowest package, which needs nothing but Python, so that
training and running need not know each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
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


MOST_SAID = 2000
"""Letters of an error."""


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
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; "
                        "nothing was changed there") from None
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path, ending: str = "tmp") -> Path:
    """A name beside `path` for what takes its place. What killed processes left of it is removed.
    """
    for left in path.parent.glob(f".*{glob.escape(path.name)}.*"):
        *_, maker, kind = left.name.split(".")
        if kind in ("tmp", ending) and maker.isdecimal() and not is_running(int(maker)):
            with contextlib.suppress(OSError):  # another user's, perhaps
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}.{ending}")


def is_running(pid: int) -> bool:
    """Whether there is a process of that number, whoever's."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


@contextmanager
def holding(folder: Path, option: str = "--out") -> Iterator[None]:
    """Be the only command that writes to `folder`, which is made. A process that ended, however it
    did, holds nothing; the lock is the folder's own and leaves no file.

    Args:
        option: that names the folder, for refusals.

    Raises:
        UserError: another command is writing there; or it is no folder, or cannot be made.
    """
    check_folder(folder, option)
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{option} {folder}: another command is writing there; wait for its end, "
                        "or choose another folder") from None
    finally:
        os.close(held)
        if new:
            with contextlib.suppress(OSError):  # it holds something, as it should
                folder.rmdir()


def check_folder(folder: Path, option: str = "--out") -> None:
    """Raises:
        UserError: something is there and no folder.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UserError(f"{option} {folder}: is no folder, and nothing else is written over; "
                        "choose another")


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
    probe = temporary_beside(Path(folder) / "probe")
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


BROKEN_PIPE = 141
"""As a shell has it: 128 + SIGPIPE."""


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
        print(f"error: {_one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read it has enough: `... --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor when Python flushes
        return BROKEN_PIPE


def _one_line(text: str) -> str:
    """Text that may quote a file: nothing in it moves a terminal, and it ends."""
    said = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]} ..."


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
