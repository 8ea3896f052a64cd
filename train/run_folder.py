"""Whose a run folder is: refused while it holds another run, cleared of what training wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

from hw_configs.files import UserError


def claim(run_dir: Path, *, resume: bool, force: bool) -> None:
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
        remove_run(run_dir)  # else --resume could pick up the old run's checkpoint


def remove_run(run_dir: Path) -> None:
    """Remove what an earlier training wrote to `run_dir`, and nothing else.

    Raises:
        UserError: it cannot be removed.
    """
    try:
        for name in ("checkpoints", "samples", "tb"):
            if (run_dir / name).is_dir():
                shutil.rmtree(run_dir / name)
        for name in ("model.pt", "metrics.jsonl", "config.toml"):
            (run_dir / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be replaced: {error.strerror or error}") from None
