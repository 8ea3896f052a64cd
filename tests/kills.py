"""Commands killed (SIGKILL) at random moments: `python -m kills --times 20`, from `make kills`.

After each kill what was there is whole or the old one, no process of the command lives on, and what
it left in temporary folders goes with the next start; a killed training goes on to the very weights
of one that was not killed. The commands run in forks of this process, which has imported all.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from conftest import make_net

import train.trainer
from export.cli import export_command
from export.finetune import finetune_command
from export.scores.score import score_command
from hw_configs.files import run_command
from hw_configs.reading import sha256_of
from lava_models.commands.run_lava import run_lava_command
from lava_models.net.hdf5 import read_net, write_net
from lava_models.report.record import read_report
from train.cli import train_command
from train.fit_prior import fit_prior_command
from train.models.prior import load_prior

SOON = 10.0
"""Seconds in which processes and shared memory have to go."""
SMALL = ["--dataset", "digits", "--epochs", "3", "--limit-batches", "4", "--batch-size", "32",
         "--hidden", "4", "8", "--latent", "4", "--ticks", "2", "--device", "cpu", "--image-size",
         "8", "--seed", "3"]
FSVAE = [*SMALL, "--k", "2", "--bottleneck", "8", "8"]


@dataclass(frozen=True)
class Victim:
    """A command, killed again and again in copies of what `prepare` makes."""

    prepare: Callable[[], None]
    """Makes what is there before, in the working folder."""
    start: Callable[[], int | None]
    again: Callable[[], int | None]
    """What a user does after the kill."""
    whole: Callable[[], str]
    """Says what is there; raises where it is half."""
    finished: Callable[[], str] = lambda: ""
    """What is there after `again`, the same whenever it was killed."""


def _weights(path: str) -> str:
    state = torch.load(path, weights_only=True)["model"]
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in state.values())).hexdigest()


def _train_again() -> int | None:
    goes_on = Path("run/checkpoints/last.pt").is_file()
    return train_command(["--run-dir", "run", "--resume"] if goes_on else
                         [*FSVAE, "--run-dir", "run", "--force"])


def _finetune(*options: str) -> int | None:
    return finetune_command(["run/model.pt", "--epochs", "2", "--limit-batches", "3",
                             "--batch-size", "32", *options])


def _finetune_again() -> int | None:
    goes_on = Path("run/integer/checkpoints/last.pt").is_file()
    return _finetune("--resume" if goes_on else "--force")


def _checkpoints(folder: str) -> str:
    """Those of a training: each loads, or is not there."""
    return " ".join(_weights(str(f))[:8] for f in sorted(Path(folder).rglob("*.pt")))


def _run_is_whole() -> str:
    """A report beside the very files that it speaks of, or none."""
    report = Path("generate/report/report.json")
    if not report.is_file():
        return "no report"
    record = read_report(report)
    hashes = {**record["outputs"], "counts.npz": record["inputs"]["counts_sha256"]}
    for name, said in hashes.items():
        if sha256_of(Path("generate") / name) != said:
            raise AssertionError(f"{name} is not the report's")
    return f"report of {record['work']['samples']} samples"


def _scores_are_whole() -> str:
    return str(json.loads(Path("run/scores/scores.json").read_text())["samples"])


def _prior_is_whole() -> str:
    load_prior(Path("esvae/model.pt"), sha256_of(Path("esvae/model.pt")))
    return "prior"


def _net_is_whole() -> str:
    read_net(Path("run/model.net"))
    return sha256_of(Path("run/model.net"))[:8]


def _prepared_run() -> None:
    train_command([*FSVAE, "--run-dir", "run"])


def _prepared_net() -> None:
    _prepared_run()
    write_net(make_net(), Path("run/model.net"))


def _prepared_prior() -> None:
    train_command([*SMALL, "--model", "esvae", "--run-dir", "esvae"])
    _fit()


def _fit() -> int | None:
    return fit_prior_command(["esvae/model.pt", "--groups", "2", "--steps", "30"])


def _export() -> int | None:
    return export_command(["run/model.pt", "--prove", "1", "--images", "8", "--accept-error"])


def _prepared_lava() -> None:
    write_net(make_net(), Path("model.net"))
    _run_lava()


def _run_lava() -> int | None:
    return run_lava_command(["model.net", "--samples", "3", "--force"])


def _prepared_scores() -> None:
    _prepared_run()
    _score()


def _score() -> int | None:
    return score_command(["run/model.pt", "--samples", "8", "--images", "8", "--seeds", "1"])


VICTIMS = {
    "train-fsvae": Victim(lambda: None, lambda: train_command([*FSVAE, "--run-dir", "run"]),
                          _train_again, lambda: _checkpoints("run"),
                          lambda: _weights("run/checkpoints/last.pt") + _weights("run/model.pt")),
    "finetune-fsvae": Victim(_prepared_run, _finetune, _finetune_again,
                             lambda: _checkpoints("run/integer"),
                             lambda: _weights("run/integer/checkpoints/last.pt")),
    "fit-prior": Victim(_prepared_prior, _fit, _fit, _prior_is_whole,
                        lambda: sha256_of(Path("esvae/prior.pt"))),
    "export-netx": Victim(_prepared_net, _export, _export, _net_is_whole),
    "run-lava": Victim(_prepared_lava, _run_lava, _run_lava, _run_is_whole,
                       lambda: sha256_of(Path("generate/images.npy"))),
    "score-fsvae": Victim(_prepared_scores, _score, _score, _scores_are_whole),
}


# --- one kill ---------------------------------------------------------------------------------


def _forked(work: Callable[[], object], folder: Path, temporary: Path) -> int:
    """Run something in `folder`, in a fork and session of its own; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        log = os.open(folder.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        train.trainer.CHECKPOINT_EVERY_S = 0.0  # at every step, to have many moments
        said = run_command(lambda: work())
        code = said if isinstance(said, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _of_session(pid: int) -> list[int]:
    """The processes of a session that still run; Python's resource tracker is none."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            helper = b"resource_tracker" in (stat.parent / "cmdline").read_bytes()
            if int(session) == pid and state != "Z" and not helper:
                found.append(int(stat.parent.name))
    return found


def _shared_memory(pids: list[int]) -> set[Path]:
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
            found |= {Path(line.split()[-1]) for line in lines if "/dev/shm/psm_" in line}
    return found


def _soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + SOON
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def _wait(pid: int, what: str, folder: Path) -> None:
    status = os.waitpid(pid, 0)[1]
    if status:
        raise AssertionError(f"{what}: ended with {status}: "
                             f"{(folder.parent / 'log').read_text()[-1500:]}")


def _asked(what: Callable[[], str], folder: Path) -> str:
    """What a victim says of a folder, with that as working folder."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        return what()
    finally:
        os.chdir(before)


def _leftovers(folder: Path, temporary: Path) -> list[str]:
    return [p.name for p in folder.rglob(".*") if p.name.endswith((".tmp", ".unproven"))] + [
        p.name for p in temporary.glob("lava-graph-*")]


def kill_often(name: str, times: int, seed: int, say: Callable[[str], None] = print) -> None:
    """Kill a command so many times, at moments drawn uniformly over its duration.

    Raises:
        AssertionError: something was half, lived on, or came out otherwise.
    """
    victim, draw, killed, ended = VICTIMS[name], random.Random(f"{seed}/{name}"), 0, 0
    with tempfile.TemporaryDirectory(prefix="k") as root:  # short: sockets lie in it
        before, folder, temporary = (Path(root) / part for part in "bft")
        before.mkdir()
        temporary.mkdir()
        _wait(_forked(victim.prepare, before, temporary), "before", before)
        shutil.copytree(before, folder)
        begin = time.monotonic()
        _wait(_forked(victim.start, folder, temporary), name, folder)
        duration, wanted = time.monotonic() - begin, _asked(victim.finished, folder)
        while killed < times:
            shutil.rmtree(folder)
            shutil.copytree(before, folder)
            if _kill_once(name, folder, temporary, draw.uniform(0, duration), wanted):
                killed += 1
            else:  # the first run was slower: the machine is another's, too
                duration, ended = 0.7 * duration, ended + 1
    say(f"{name}: killed {killed} times, at random moments of its first {duration:.1f} s ({ended} "
        f"more had ended), seed {seed}: nothing lost, nothing left")


def _kill_once(name: str, folder: Path, temporary: Path, after: float, wanted: str) -> bool:
    """Whether the command was killed, and had not ended before."""
    victim = VICTIMS[name]
    pid = _forked(victim.start, folder, temporary)
    time.sleep(after)
    mapped = _shared_memory(_of_session(pid))
    ended = os.waitpid(pid, os.WNOHANG)[0]
    if not ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert _soon(lambda: not _of_session(pid)), f"{name}: processes live on"
    assert _soon(lambda: not any(p.exists() for p in mapped)), f"{name}: shared memory stays"
    found = _asked(victim.whole, folder)
    _wait(_forked(victim.again, folder, temporary), f"{name} again", folder)
    assert _asked(victim.finished, folder) == wanted, f"{name}: other results, after {found}"
    left = _leftovers(folder, temporary)
    assert not left, f"{name}: left {left}"
    return not ended


def main() -> int:
    parser = argparse.ArgumentParser(prog="make kills", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="+", choices=tuple(VICTIMS), default=tuple(VICTIMS))
    given = parser.parse_args()
    np.seterr(all="ignore")
    for name in given.commands:
        kill_often(name, given.times, given.seed, lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
