"""What a run leaves in its folder, whichever backend ran it: images, pictures, counts, report."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs.files import replacing
from lava_models.cost.counts import count_run, pixels_used, save_counts
from lava_models.cost.estimates import (
    Hardware,
    baseline_section,
    cost_of_run,
    file_sha256,
    host_work,
)
from lava_models.net.netfile import NetFile
from lava_models.net.program import build_program
from lava_models.reference.simulator import decode_images
from lava_models.report.pictures import save_grid, save_pairs, save_raster
from lava_models.report.provenance import commit, versions
from lava_models.report.record import build_report, write_report
from lava_models.report.render import to_terminal

COUNTS = "counts.npz"
"""Spikes per population, timestep and neuron: what energy-report needs for another board."""


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


def save_run(run: Finished, *, net: NetFile, net_path: Path, mode: str, seed: int,
             dataset: str | None, out: Path, hardware: Hardware, arguments: list[str],
             console) -> int:
    """Write everything to `out` and print the report; 1 when Lava and the reference differ."""
    decoded, samples = decode_images(net, run.voltage), len(run.voltage)
    pictures, program = ["images.png", "latents.png"], build_program(net, mode)
    if run.images is not None:
        save_pairs(run.images, decoded, out / pictures[0])
    else:
        save_grid(decoded, out / pictures[0])
    save_raster(run.latents, out / pictures[1],
                f"latent spikes, {mode}, backend {run.target['backend']}")
    with replacing(out / "images.npy") as file, open(file, "wb") as handle:
        np.save(handle, decoded)
    (out / "finished.npy").unlink(missing_ok=True)  # of an interrupted run before
    pixels = pixels_used(run.graded)
    save_counts(run.counts, pixels, out / COUNTS)
    record = build_report(
        run=_identity(arguments, seed), inputs={
            "net": str(net_path), "net_sha256": file_sha256(net_path), "dataset": dataset,
            "counts": COUNTS, "counts_sha256": file_sha256(out / COUNTS)},
        target=run.target, mode=mode, samples=samples, schedule=program.schedule,
        readout=program.readout.phase, steps=run.steps, wall_s=run.wall_s,
        counts=count_run(net, mode, samples, run.counts, pixels),
        cost=cost_of_run(net, mode, samples, run.counts, pixels, hardware, net_path.name),
        baselines=baseline_section(net, mode, samples, run.cpu, net_path),
        host=host_work(net, mode), measured=run.measured,
        quality=_quality(run.images, decoded), check=run.check, pictures=pictures)
    path = write_report(record, out / "report")
    console.print(to_terminal(record))
    console.print(f"pictures: {out / pictures[0]} {out / pictures[1]}   images: "
                  f"{out / 'images.npy'}   report: {path}")
    return 0 if run.check["equal"] in (True, None) else 1


def _identity(arguments: list[str], seed: int) -> dict:
    sha, dirty = commit()
    return {"utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": " ".join(["run-lava", *arguments]), "seed": seed, "commit": sha,
            "dirty": dirty, "versions": versions()}


def _quality(images: np.ndarray | None, decoded: np.ndarray) -> dict:
    """Of the images of this run."""
    if images is None:
        return {"reconstruction_mse": {
            "value": None, "basis": "unavailable", "why": "generated images have no original",
            "fix": "run-lava --mode reconstruct; score-fsvae gives Frechet distances"}}
    return {"reconstruction_mse": {
        "value": float(np.mean((decoded - images) ** 2)), "basis": "measured",
        "what": f"mean squared error of {len(images)} test images, pixels in [-1, 1]"}}
