"""Ctrl-C and failures end a run in one line and leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lava_models import ChipBits, Reference, decode_images, write_net
from lava_models.graph.lava_graph import run_graph

MANY = 20
"""Processes of the graph of the small network, at least."""
RUN_LAVA = ("import sys; from lava_models.commands.run_lava import main; "
            "sys.argv[0] = 'run-lava'; main()")


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def _alive(pid: str) -> bool:
    """Whether a process of the graph still runs (Python's resource tracker lives as long as its
    parent and is none)."""
    try:
        return (b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
                and " Z " not in Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_ctrl_c(net_factory, tmp_path):
    """In the middle of a run: what is finished is saved, nothing stays behind, no traceback."""
    write_net(net_factory(), tmp_path / "model.net")
    old = tmp_path / "generate" / "report" / "report.json"  # of an earlier run
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_LAVA, str(tmp_path / "model.net"), "--samples", "5000",
         "--lanes", "1", "--force"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while len(_children(process.pid)) < MANY and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(4)  # well into the run
        children = _children(process.pid)
        assert len(children) >= MANY
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        said, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert said.strip().endswith("interrupted")
    assert "of 5000 samples were finished" in said
    finished = np.load(tmp_path / "generate" / "finished.npy")
    images = np.load(tmp_path / "generate" / "images.npy")
    assert 0 < len(finished) == len(images) < 5000
    bits = ChipBits.of(net_factory(), "generate", 0)
    last = int(finished[-1])
    wanted = Reference(net_factory(), "generate").run(bits.samples(last, 1))
    assert np.array_equal(images[-1:], decode_images(net_factory(), wanted.voltage))
    assert "Traceback" not in said
    deadline = time.monotonic() + 10  # the shared-memory server goes a moment after its parent
    while any(map(_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, children))
    assert not old.exists()  # it would say what these images are not


def test_a_failing_callback_ends_the_graph(net_factory):
    net = net_factory()

    def fails(done, total):
        raise OSError("no space left")

    bits = ChipBits.of(net, "generate", 0)
    before = _children(os.getpid())
    with pytest.raises(OSError, match="no space left"):
        run_graph(net, "generate", bits, 3, on_step=fails)
    assert not [c for c in _children(os.getpid()) if c not in before and _alive(c)]


def test_a_failing_process_ends_the_graph_with_its_cause(net_factory, monkeypatch):
    from lava_models.processes.host import PySpikeProbe

    def fails(self):
        raise ValueError("out of paper")

    monkeypatch.setattr(PySpikeProbe, "run_spk", fails)  # the forked processes inherit it
    net = net_factory()
    bits = ChipBits.of(net, "generate", 0)
    before = _children(os.getpid())
    with pytest.raises(RuntimeError, match="a Lava process failed: ValueError.*out of paper"):
        run_graph(net, "generate", bits, 3)
    assert not [c for c in _children(os.getpid()) if c not in before and _alive(c)]
