"""Whose a run folder is: refused while it holds another run, cleared of what is no longer true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hw_configs.files import UserError
from hw_configs.reading import read_toml
from train.config import RunConfig
from train.settings import from_dict

OWN = ("checkpoints/last.pt", "model.pt", "metrics.jsonl", "config.toml",
       "samples/*-[0-9][0-9][0-9][0-9].png", "tb/events.out.tfevents.*")
"""What training writes to its folder."""
DERIVED = (
    "model.net",
    *(f"{mode}/{name}" for mode in ("generate", "reconstruct") for name in (
        "images.png", "images.npy", "latents.png", "finished.npy", "counts.npz",
        "report/report.*", "report/for-*/report.*")),
    "prior.pt", "scores/scores.json", "scores/scores.md", "scores/curve.png",
    "scores/samples-[0-9]*.png")
"""What export-netx, run-lava, energy-report, fit-prior and score-fsvae make of its model.pt, where
they put it unless told otherwise."""


def run_folder_of(kind: str, dataset: str, seed: int) -> Path:
    """Where a run goes unless told otherwise; the FSVAE's kind goes without saying."""
    return Path("runs") / "-".join([*([] if kind == "fsvae" else [kind]), dataset, str(seed)])


def claim(run_dir: Path, *, resume: bool, force: bool, say: Callable[[str], None] = print) -> None:
    """See that a run may go to `run_dir`; with `force`, remove the one that is there.

    Raises:
        UserError: it holds a run already, or none to resume.
    """
    last = run_dir / "checkpoints" / "last.pt"
    if resume and not last.is_file():
        raise UserError(f"{last}: no checkpoint to resume from; start without --resume")
    if run_dir.exists() and any(run_dir.iterdir()) and not (resume or force):
        raise UserError(f"{run_dir}: already holds a run; continue it with --resume, replace it "
                        "with --force, or choose another --run-dir")
    if force and not resume:
        remove_run(run_dir, say)  # else --resume could pick up the old run's checkpoint


def remove_run(run_dir: Path, say: Callable[[str], None] = print) -> None:
    """Remove what an earlier training wrote to `run_dir` and what was made of it, nothing else.

    Raises:
        UserError: it cannot be removed.
    """
    remove_derived(run_dir, say)
    _remove(run_dir, OWN)


def remove_derived(run_dir: Path, say: Callable[[str], None] = print) -> None:
    """Remove what was made of a model.pt that is about to be another, and say so in a line.

    Raises:
        UserError: it cannot be removed.
    """
    gone = _remove(run_dir, DERIVED)
    if gone:
        say(f"{run_dir}: removed what was made of the model before: {', '.join(gone)}")


def stored_config(run_dir: Path) -> RunConfig:
    """The settings of the run in a folder.

    Raises:
        UserError: there is none.
    """
    file = run_dir / "config.toml"
    return from_dict(read_toml(file, "no run to resume there; give its folder with --run-dir"),
                     str(file))


def _remove(run_dir: Path, patterns: tuple[str, ...]) -> list[str]:
    """Remove files by their patterns, and folders that are empty then; first names of what went."""
    files = [file for pattern in patterns for file in run_dir.glob(pattern) if file.is_file()]
    try:
        for file in files:
            file.unlink()
            for folder in file.parents:
                if folder == run_dir or any(folder.iterdir()):
                    break
                folder.rmdir()
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be replaced: {error.strerror or error}") from None
    return list(dict.fromkeys(file.relative_to(run_dir).parts[0] for file in files))
