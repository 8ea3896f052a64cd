"""Are two runs of a model.net the same, spike for spike, at every timestep?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lava_models.graph import GraphRun
from lava_models.latents import HostBits
from lava_models.netfile import NetFile
from lava_models.reference import SELECTION, Reference, Result
from lava_models.schedule import Schedule

FEEDBACK = f"{SELECTION}.feedback"


@dataclass(frozen=True)
class Comparison:
    """Verdict on one run against the reference."""

    steps: int
    """Timesteps compared."""
    spikes: int
    """Spikes the reference has in them."""
    values: int
    """Neuron-timesteps and readout voltages compared."""
    differing: int
    """How many of them differ."""
    first: str | None
    """Where the first difference is (layer, neuron, timestep), or None."""

    @property
    def equal(self) -> bool:
        return self.differing == 0

    def __str__(self) -> str:
        if self.equal:
            return f"equal: {self.spikes} spikes, {self.values} values, {self.steps} timesteps"
        return f"NOT equal: {self.differing} of {self.values} values differ, first {self.first}"


def reference_run(net: NetFile, mode: str, bits: HostBits, samples: int,
                  images: np.ndarray | None) -> Result:
    """The reference's spikes for `samples` samples; those without an image see zeros."""
    if images is not None and len(images) < samples:
        images = np.concatenate(
            [images, np.zeros((samples - len(images), images.shape[1]), images.dtype)])
    return Reference(net, mode).run(bits.samples(0, samples), images)


def rasters(result: Result, schedule: Schedule, steps: int) -> Iterator[tuple[str, np.ndarray]]:
    """The reference's spikes laid out on the chip's timesteps: (population, bool (steps, n))."""
    for name, spikes in result.spikes.items():
        yield name, _raster(spikes, schedule, name, steps)
        if name == SELECTION:  # the copy that feeds back is silent in the last L ticks
            silenced = spikes.copy()
            silenced[:, max(schedule.ticks - schedule.lag, 0):] = False
            yield FEEDBACK, _raster(silenced, schedule, name, steps)


def _raster(spikes: np.ndarray, schedule: Schedule, name: str, steps: int) -> np.ndarray:
    raster = np.zeros((steps, spikes.shape[-1]), bool)
    for sample, of_sample in enumerate(spikes):
        at = schedule.timesteps(name, sample) - 1
        raster[at[at < steps]] = of_sample[at < steps]
    return raster


def compare(run: GraphRun, result: Result, schedule: Schedule) -> Comparison:
    """Compare every population at every timestep, and every readout voltage of every sample.

    Args:
        run: a Lava run of S samples.
        result: the reference for at least S samples, drain included (`reference_run`).
        schedule: the schedule of both.
    """
    found: list[tuple[int, str]] = []  # (timestep, where)
    values = differing = spikes = 0
    expected = dict(rasters(result, schedule, run.steps))
    missing = set(run.spikes) ^ set(expected)
    if missing:
        raise ValueError(f"populations in one run only: {sorted(missing)}")
    for name, wanted in expected.items():
        got = run.raster(name)
        wrong = np.argwhere(got != wanted)
        spikes += int(wanted.sum())
        values += wanted.size
        differing += len(wrong)
        if len(wrong):
            step, neuron = wrong[0]
            found.append((step + 1, f"{name}, neuron {neuron}, timestep {step + 1}: Lava "
                          f"{int(got[step, neuron])}, reference {int(wanted[step, neuron])}"))
    wanted = result.voltage[: len(run.voltage)]
    wrong = np.argwhere(run.voltage != wanted)
    values += wanted.size
    differing += len(wrong)
    if len(wrong):
        sample, pixel = wrong[0]
        found.append((run.steps + 1, f"readout voltage of sample {sample}, pixel {pixel}: Lava "
                      f"{run.voltage[sample, pixel]}, reference {wanted[sample, pixel]}"))
    return Comparison(run.steps, spikes, values, differing, min(found)[1] if found else None)
