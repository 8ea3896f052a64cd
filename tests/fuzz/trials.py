"""A trial: a command in a process of its own, with limits of time and memory, and what became of
it.

The parent has imported everything, and forks.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hw_configs.files import run_command

REFUSED, ACCEPTED = "refused in a line", "accepted"
TRACEBACK, HANG, MEMORY, CRASH = "traceback", "hang", "over 1 GB", "crash"
MOST_MEMORY = 2**30
"""Bytes that a trial may take beyond what its parent has."""
ADDRESSES = 6 * 2**30
"""Address space beyond the parent's: so much that what takes too much memory is seen to, and so
little that the machine lives on."""
MOST_SECONDS = 30
"""Of a processor; the wall clock's are more, as a machine may be busy."""
_UNCAUGHT = 70


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    end: str
    said: str
    """What it printed, errors last."""


def run_trial(command: Callable[[], int | None], folder: Path, seconds: float) -> Outcome:
    """Run a command in `folder`, as its console script does."""
    out, err = folder / ".stdout", folder / ".stderr"
    before = _resident()
    pid = os.fork()
    if not pid:
        _child(command, folder, out, err)
    code, peak = _wait(pid, seconds)
    printed, errors = (f.read_text("utf-8", "replace") if f.exists() else "" for f in (out, err))
    end = _end(code, errors)
    if end != HANG and peak - before > MOST_MEMORY:
        end = MEMORY
    return Outcome(end, printed + errors)


def _end(code: int | None, errors: str) -> str:
    if code in (None, -signal.SIGXCPU):
        return HANG
    if code < 0:
        return CRASH
    lines = errors.strip().splitlines()
    if code == 2 and len(lines) == 1 and lines[0].startswith("error: "):
        return REFUSED
    return ACCEPTED if code in (0, 1) and not lines else TRACEBACK


def _child(command: Callable, folder: Path, out: Path, err: Path) -> None:
    code = _UNCAUGHT
    try:
        os.setsid()
        os.chdir(folder)
        for number, file in ((1, out), (2, err)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 5))
        code = run_command(command)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, seconds: float) -> tuple[int | None, int]:
    """(exit code, negative of a signal's number, None where it hangs; peak of memory in bytes)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
            return code, usage.ru_maxrss * 1024
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.wait4(pid, 0)
    return None, 0


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
