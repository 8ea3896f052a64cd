"""Lava's runtime, so that it ends: processes that fail, Ctrl-C, time that runs out.

Left to itself it waits for ever for a process that failed, and Ctrl-C reaches every process it
forked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

CHANNEL_SLOTS = 2
"""Messages a channel between two processes holds. Processes run in step, so that more (Lava's
default is 64) only cost memory: a slot is as large as the port."""
POLL_S = 0.002
"""How often to look for failed processes, in seconds."""


class TooLate(Exception):
    """A `deadline` has passed."""


def start(process, config) -> None:
    """Compile the graph that `process` is part of, and start its processes, deaf to Ctrl-C.

    Whatever is raised on the way, none of them is left running.

    Args:
        config: Lava's run configuration.
    """
    try:
        executable = process.compile(config, {"pypy_channel_size": CHANNEL_SLOTS})
        with interrupts_here_only():
            process.create_runtime(executable=executable)
    except BaseException:
        if process.runtime is not None:
            with contextlib.suppress(Exception):  # half started: some parts are not there yet
                abandon(process.runtime)
        raise


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

    while not all(port.probe() for port in runtime.service_to_runtime):
        check()
        time.sleep(POLL_S)
    try:
        runtime.wait()
    except RuntimeError:
        check()  # Lava only counts what failed
        raise


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
    """Ctrl-C interrupts this process inside, and never those that are forked inside."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main one
        yield
        return
    here = os.getpid()

    def handler(signum, frame):
        if os.getpid() == here:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
