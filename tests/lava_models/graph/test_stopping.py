"""Ctrl-C and failures end a run in one line and leave no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from hw_configs.files import UserError
from lava_models import ChipBits, Reference, decode_images, write_net
from lava_models.graph.lava_graph import run_graph

MANY = 20
"""Processes of the graph of the small network, at least."""
# Ctrl-C is ignored by what a shell starts in the background, and by its children.
RUN_LAVA = ("import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "import sys; from lava_models.commands.run_lava import main; "
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


pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


def _shared_memory(pids: list[str]) -> set[Path]:
    """The segments that these processes have mapped."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
            found |= {Path(line.split()[-1]) for line in lines if "/dev/shm/psm_" in line}
    return found


class Run:
    """`run-lava` of the small network in a session of its own, well into its run.

    Args:
        folder: where model.net lies.
        temporary: where temporary files go.
    """

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN_LAVA, str(folder / "model.net"), "--samples", "5000",
             "--lanes", "1", "--force"], env={**os.environ, "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.children: list[str] = []
        self.memory: set[Path] = set()

    def wait_until_it_runs(self) -> None:
        deadline = time.monotonic() + 120
        while len(_children(self.process.pid)) < MANY and time.monotonic() < deadline:
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)
        time.sleep(4)
        self.children = _children(self.process.pid)
        self.memory = _shared_memory(self.children)
        assert len(self.children) >= MANY and len(self.memory) > MANY

    def signal_all(self, number: int) -> None:
        """As a terminal does: to the whole group."""
        os.killpg(self.process.pid, number)

    def said(self) -> str:
        return self.process.communicate(timeout=30)[0]

    def leaves_no_process(self) -> bool:
        """Within ten seconds: the shared-memory server goes a moment after its parent."""
        return _soon(lambda: not any(map(_alive, self.children)))

    def leaves_no_memory(self) -> bool:
        return _soon(lambda: not any(path.exists() for path in self.memory))


def _soon(holds) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


@pytest.fixture()
def run(net_factory, tmp_path):
    write_net(net_factory(), tmp_path / "model.net")
    old = tmp_path / "generate" / "report" / "report.json"  # of an earlier run
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    with tempfile.TemporaryDirectory() as temporary:  # short: pytest's leave sockets no room
        started = Run(tmp_path, Path(temporary))
        try:
            started.wait_until_it_runs()
            yield started
        finally:
            if started.process.poll() is None:
                started.signal_all(signal.SIGKILL)
            started.process.stdout.close()
            started.process.wait()


def test_a_temporary_folder_without_room_for_sockets(net_factory, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    net = net_factory()
    with pytest.raises(UserError, match="too long for the sockets.*set TMPDIR to a shorter one"):
        run_graph(net, "generate", ChipBits.of(net, "generate", 0), 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, *(
    pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP))])
def test_stopped(run, net_factory, tmp_path, number):
    """In the middle of a run: what is finished is saved, nothing stays behind, no traceback."""
    run.signal_all(number)
    said = run.said()
    assert run.process.returncode == 130
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
    assert run.leaves_no_process() and run.leaves_no_memory()
    assert not list(run.temporary.glob("lava-graph-*"))
    assert not (tmp_path / "generate" / "report" / "report.json").exists()  # of other images


def test_killed(run, tmp_path):
    """Nobody can clean up after SIGKILL but the system, and the next run: the graph's processes and
    its shared memory go, the old report is whole, the temporary folder goes with the next start."""
    run.process.kill()
    run.process.wait()
    assert run.leaves_no_process() and run.leaves_no_memory()
    assert (tmp_path / "generate" / "report" / "report.json").read_text() == "{}"
    left, = run.temporary.glob("lava-graph-*")
    done = subprocess.run(
        [sys.executable, "-c", RUN_LAVA, str(tmp_path / "model.net"), "--samples", "1", "--force",
         "--no-check"], env={**os.environ, "TMPDIR": str(run.temporary)}, capture_output=True,
        text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not left.exists() and not list(run.temporary.glob("lava-graph-*"))


def test_a_killed_process_of_the_graph_ends_the_run_with_its_cause(run):
    """As the kernel kills when memory runs out."""
    named = [pid for pid in run.children if _alive(pid)]
    os.kill(int(named[len(named) // 2]), signal.SIGKILL)
    said = run.said()
    assert run.process.returncode != 0 and "killed by SIGKILL" in said
    assert run.leaves_no_process()


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
