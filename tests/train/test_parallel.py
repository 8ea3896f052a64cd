"""Two gloo ranks train like one rank with the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.parallel import Ranks

RUN = """
import sys
from train.cli import train_command
sys.exit(train_command(sys.argv[1:]))
"""
SETTINGS = ["--dataset", "digits", "--hidden", "8", "16", "16", "--latent", "8", "--k", "4",
            "--ticks", "4", "--bottleneck", "16", "24", "--batch-size", "48", "--limit-batches",
            "4", "--epochs", "1", "--device", "cpu", "--threads", "1", "--lr", "1e-3"]


def _train(tmp_path: Path, ranks: int, run: str, *, operators: bool = False,
           code: str | None = None) -> Path:
    script = tmp_path / "run.py"
    script.write_text(code or RUN)
    launch = [sys.executable]
    if ranks > 1:
        launch += ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks),
                   "--master-port", "0", "--standalone"]
    done = subprocess.run([*launch, str(script), *SETTINGS, "--run-dir", str(tmp_path / run),
                           "--neurons", "operators" if operators else "compiled"],
                          capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return tmp_path / run


def _last_row(run: Path) -> dict:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize("operators", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_ranks_are_one(tmp_path, operators):
    """Two ranks, with the CPU's compiled loops and with PyTorch's operators, against one rank: the
    losses of four steps within 1e-4, every weight within 1e-3 of its tensor's largest."""
    one = _train(tmp_path, 1, "one")
    two = _train(tmp_path, 2, "two", operators=operators)
    a, b = _last_row(one), _last_row(two)
    for key in ("loss", "reconstruction", "validation_loss"):
        assert b[key] == pytest.approx(a[key], rel=1e-4), key
    weights = [torch.load(run / "model.pt", weights_only=True)["model"] for run in (one, two)]
    for name, mine in weights[0].items():
        if mine.is_floating_point():
            change = (mine - weights[1][name]).abs().max()
            assert change <= 1e-3 * mine.abs().max(), name
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())


STOPPED = """
import sys
import train.trainer as trainer
run = trainer.Trainer.run
trainer.Trainer.run = lambda self: run(self, until=lambda epoch, step: step == 2)
from train.cli import train_command
train_command(sys.argv[1:])
"""


@pytest.mark.slow
def test_resume_on_another_number_of_ranks(tmp_path):
    """Four steps on one rank; or two on two ranks, stopped there, and two more on one."""
    one = _train(tmp_path, 1, "one")
    two = _train(tmp_path, 2, "two", code=STOPPED)
    assert not (two / "model.pt").exists()
    resumed = subprocess.run(
        [sys.executable, "-c", RUN, "--resume", "--run-dir", str(two)],
        capture_output=True, text=True, timeout=200)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert _last_row(two)["loss"] == pytest.approx(_last_row(one)["loss"], rel=1e-4)


def test_share_is_the_whole():
    batch = torch.arange(24).view(2, 12)
    parts = [Ranks(r, 3).share(batch, 1) for r in range(3)]
    assert torch.equal(torch.cat(parts, 1), batch)
    assert Ranks().share(batch) is not None
