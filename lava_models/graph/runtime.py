"""Lava's runtime, so that it ends: processes that fail or are killed, Ctrl-C, time that runs out.

Left to itself it waits for ever for a process that failed, Ctrl-C reaches every process it forked,
and they live on when the one that forked them is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from hw_configs.files import STOPPING, UserError, is_running

CHANNEL_SLOTS = 2
"""Messages a channel between two processes holds. Processes run in step, so that more (Lava's
default is 64) only cost memory: a slot is as large as the port."""
POLL_S = 0.002
"""How often to look for failed processes, in seconds."""


FOLDERS = "lava-graph-"
"""Beginning of the names of temporary folders; then the number of the process that made them."""


class TooLate(Exception):
    """A `deadline` has passed."""


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder for what host and graph exchange. Those that killed processes left behind
    are removed first."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
        maker = folder.name.removeprefix(FOLDERS).split("-")[0]
        mine = folder.owner() == Path.home().owner()
        if mine and maker.isdecimal() and not is_running(int(maker)):
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{FOLDERS}{os.getpid()}-") as folder:
        yield Path(folder)


def start(process, config) -> None:
    """Compile the graph that `process` is part of, and start its processes, deaf to Ctrl-C.

    Whatever is raised on the way, none of them is left running.

    Args:
        config: Lava's run configuration.

    Raises:
        UserError: no socket fits in the temporary folder.
    """
    _check_sockets_fit(tempfile.gettempdir())
    try:
        with models_found_once():
            executable = process.compile(config, {"pypy_channel_size": CHANNEL_SLOTS})
        with interrupts_here_only(), children_end_with_us(), nothing_to_collect():
            process.create_runtime(executable=executable)
    except BaseException:
        if process.runtime is not None:
            with contextlib.suppress(Exception):  # half started: some parts are not there yet
                abandon(process.runtime)
        raise


@contextlib.contextmanager
def models_found_once() -> Iterator[None]:
    """Lava's compiler looks for the models of each process by running every file beside its class
    anew, half of the time that a graph takes to start. Inside, it does so once for each class."""
    from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs

    search, found = ProcGroupDiGraphs._find_proc_models, {}

    def find(proc) -> list:
        kind = type(proc)
        if kind not in found:
            found[kind] = search(proc)
        return list(found[kind])

    ProcGroupDiGraphs._find_proc_models = staticmethod(find)
    try:
        yield
    finally:
        ProcGroupDiGraphs._find_proc_models = staticmethod(search)


@contextlib.contextmanager
def nothing_to_collect() -> Iterator[None]:
    """Processes forked inside leave what they share with this one to itself: each would go through
    all of it for garbage, and thereby copy it."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


SOCKET_NAME = 107
"""Letters of a Unix socket's name (sun_path, unix(7))."""


def _check_sockets_fit(folder: str) -> None:
    """Lava's shared memory is handed out over a socket two folders down, named by Python."""
    room = SOCKET_NAME - len("/pymp-01234567/listener-01234567")
    letters = len(os.fsencode(folder))
    if letters > room:
        raise UserError("the name of the temporary folder is too long for the sockets of Lava's "
                        f"processes ({letters} letters, at most {room}): {folder}; set TMPDIR to "
                        "a shorter one")


def wait_for(runtime) -> None:
    """Wait for the steps under way. When one process fails, the others would wait for its spikes
    for ever, and Lava with them; so look for failures while waiting.

    Raises:
        RuntimeError: a process failed; says why.
    """
    def check() -> None:
        for actor in runtime._messaging_infrastructure.actors:
            if actor.exception:
                cause, _traceback = actor.exception
                raise RuntimeError(f"a Lava process failed: {cause!r}") from cause
            if actor.exitcode is not None:
                raise RuntimeError(f"a Lava process ended by itself ({_ending(actor.exitcode)})")

    while not all(port.probe() for port in runtime.service_to_runtime):
        check()
        time.sleep(POLL_S)
    try:
        runtime.wait()
    except RuntimeError:
        check()  # Lava only counts what failed
        raise


def _ending(exitcode: int) -> str:
    if exitcode < 0:
        return f"killed by {signal.Signals(-exitcode).name}; out of memory?"
    return f"exit code {exitcode}"


def abandon(runtime) -> None:
    """End a runtime in the middle of a step. Its own stop() would wait for an answer for ever."""
    for actor in runtime._messaging_infrastructure.actors:
        with contextlib.suppress(ValueError):  # already joined, after a failure Lava noticed
            actor.kill()
    runtime._is_started = False
    runtime.join()
    runtime._messaging_infrastructure.stop()


@contextlib.contextmanager
def quiet_lava():
    """Lava logs its own progress at WARNING; ours is shown by `on_step`."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def interrupts_here_only() -> Iterator[None]:
    """Ctrl-C and its like interrupt this process inside, and never those that are forked inside."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main one
        yield
        return
    here, before = os.getpid(), {number: signal.getsignal(number) for number in STOPPING}

    def handler(number, frame):
        if os.getpid() != here:
            return
        if callable(before[number]):
            before[number](number, frame)
        raise KeyboardInterrupt

    for number in STOPPING:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


@contextlib.contextmanager
def children_end_with_us() -> Iterator[None]:
    """Processes forked inside are killed when this one ends, however it does (on Linux). Their
    shared memory goes with them: Python's resource tracker outlives them and removes it."""
    global _bound_to
    _bound_to = os.getpid()
    try:
        yield
    finally:
        _bound_to = None


_bound_to: int | None = None
"""Whose end is the end of what is forked now."""
PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""


def _bind() -> None:
    """In a forked child."""
    if _bound_to is None:
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != _bound_to:  # it ended before this was said
            os._exit(1)


os.register_at_fork(after_in_child=_bind)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TooLate inside after so long (in the main thread, where signals arrive)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(signum, frame):
        raise TooLate

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
