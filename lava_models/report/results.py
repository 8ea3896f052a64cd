"""What a run leaves in its folder, whichever backend ran it: images, pictures, counts, report."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs.files import UserError, replacing, temporary_beside
from hw_configs.reading import sha256_of
from lava_models.cost.baselines import baseline_section, host_work
from lava_models.cost.counts import count_run, pixels_used, save_counts
from lava_models.cost.estimates import Hardware, cost_of_run
from lava_models.cost.tables import TABLES, write_tables
from lava_models.net.netfile import NetFile
from lava_models.net.program import build_program
from lava_models.reference.simulator import decode_images
from lava_models.report.pictures import save_grid, save_pairs, save_raster
from lava_models.report.provenance import commit, versions
from lava_models.report.record import build_report, write_report
from lava_models.report.render import to_terminal

COUNTS = "counts.npz"
"""Spikes per population, timestep and neuron: what energy-report needs for another board."""
IMAGES, FINISHED = "images.npy", "finished.npy"
PICTURES = ("images.png", "latents.png")
OUTPUTS, READOUT, RASTER, OUTPUT = "outputs.npy", "readout.npy", "raster.png", "output.png"
"""Of any NetX file: messages of its last layer, what they say, and both as pictures."""
RESULTS = (IMAGES, FINISHED, *PICTURES, COUNTS, OUTPUTS, READOUT, RASTER, OUTPUT)
REPORTS = (*TABLES, "report.md", "report.html", "report.json")
"""The last one says that a set of results is whole."""


@dataclass(frozen=True)
class Finished:
    """A run of S samples."""

    images: np.ndarray | None
    """Input float32 (S, C, H, W) in [-1, 1]; reconstruct mode only."""
    graded: np.ndarray | None
    """The same as the network gets it, int32 (S, C*H*W)."""
    voltage: np.ndarray
    """Readout voltages int32 (S, C*H*W)."""
    latents: np.ndarray
    """bool (samples shown, T, C)."""
    counts: Mapping[str, np.ndarray]
    """Spikes as in GraphRun.counts."""
    steps: int
    wall_s: float
    check: dict
    target: dict
    """As in the report's schema."""
    cpu: dict
    """Joules of this machine's CPU, an entry of `MachineMeters.read`."""
    measured: dict | None
    """As in report.build_report."""
    first: int = 0
    """Which sample of the seed's random bits was the first."""


def save_run(run: Finished, *, net: NetFile, net_path: Path, mode: str, seed: int,
             dataset: str | None, out: Path, hardware: Hardware, arguments: list[str],
             console) -> int:
    """Write everything to `out` and print the report; 1 when Lava and the reference differ."""
    decoded, samples = decode_images(net, run.voltage), len(run.voltage)
    program, pixels = build_program(net, mode), pixels_used(run.graded)
    with result_set(out) as folder:
        if run.images is not None:
            save_pairs(run.images, decoded, folder / PICTURES[0])
        else:
            save_grid(decoded, folder / PICTURES[0])
        save_raster(run.latents, folder / PICTURES[1],
                    f"latent spikes, {mode}, backend {run.target['backend']}")
        save_array(decoded, folder / IMAGES)
        save_counts(run.counts, pixels, folder / COUNTS)
        cost = cost_of_run(net, mode, samples, run.counts, pixels, hardware, net_path.name)
        write_tables(cost, folder / "report")
        record = build_report(
            run=identity(arguments, seed), inputs={
                "net": str(net_path), "net_sha256": sha256_of(net_path), "dataset": dataset,
                "images_sha256": None if run.images is None else pixels_sha256(run.images),
                "counts": COUNTS, "counts_sha256": sha256_of(folder / COUNTS)},
            target=run.target, mode=mode, samples=samples, first=run.first,
            schedule=program.schedule, readout=program.readout.phase, steps=run.steps,
            wall_s=run.wall_s,
            counts=count_run(net, mode, samples, run.counts, pixels),
            cost=cost,
            baselines=baseline_section(net, mode, samples, run.cpu, net_path),
            host=host_work(net, mode), measured=run.measured,
            quality=quality(run.images, decoded), check=run.check, pictures=list(PICTURES),
            outputs={name: sha256_of(folder / name) for name in (IMAGES, *PICTURES)})
        write_report(record, folder / "report")
    console.print(to_terminal(record))
    console.print(f"pictures: {out / PICTURES[0]} {out / PICTURES[1]}   images: {out / IMAGES}   "
                  f"report: {out / 'report' / REPORTS[-1]}")
    return 0 if run.check["equal"] in (True, None) else 1


@contextmanager
def result_set(out: Path) -> Iterator[Path]:
    """A temporary folder in `out`; what the block leaves in it takes the place of earlier results.

    A block that fails changes nothing. An earlier report goes first (those for other boards with
    it) and report.json comes last, so that it never lies beside another run's files, whenever the
    process is killed.

    Raises:
        UserError: `out` cannot be written.
    """
    staged = temporary_beside(out / "results")
    try:
        staged.mkdir(parents=True)
        yield staged
        _replace(staged, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _replace(staged: Path, out: Path) -> None:
    report = out / "report"
    for folder in (report, *report.glob("for-*")):
        for name in reversed(REPORTS):
            (folder / name).unlink(missing_ok=True)
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
        if (staged / name).is_file():
            os.replace(staged / name, out / name)
    for name in REPORTS:
        if (staged / "report" / name).is_file():
            report.mkdir(exist_ok=True)
            os.replace(staged / "report" / name, report / name)


def save_array(array: np.ndarray, path: Path) -> None:
    """Write one array as .npy."""
    with replacing(path) as file, open(file, "wb") as handle:
        np.save(handle, array)


def pixels_sha256(images: np.ndarray) -> str:
    """SHA-256 of images float32 (S, C, H, W), whatever file they came from."""
    return hashlib.sha256(np.ascontiguousarray(images, "<f4").tobytes()).hexdigest()


def identity(arguments: list[str], seed: int) -> dict:
    """When, by what and with what a run was made: the section "run"."""
    sha, dirty = commit()
    return {"utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": " ".join(["run-lava", *arguments]), "seed": seed, "commit": sha,
            "dirty": dirty, "versions": versions()}


def quality(images: np.ndarray | None, decoded: np.ndarray) -> dict:
    """The section of what the images of a run are worth.

    Args:
        images: input float32 (S, C, H, W) in [-1, 1]; None where there was none.
        decoded: output, the same shape.
    """
    if images is None:
        return {"reconstruction_mse": {
            "value": None, "basis": "unavailable", "why": "generated images have no original",
            "fix": "run-lava --mode reconstruct; score-fsvae gives Frechet distances"}}
    return {"reconstruction_mse": {
        "value": float(np.mean((decoded - images) ** 2)), "basis": "measured",
        "what": f"mean squared error of {len(images)} test images, pixels in [-1, 1]"}}
