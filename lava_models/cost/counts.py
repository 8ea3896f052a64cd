"""Counts spikes, synops and neuron updates of a run, exactly, per layer and timestep.

Every population is counted over its own S periods of P timesteps, from its first wave on (the ring
of random bits from timestep program.RING_COUNTED_FROM on), so that totals are S times a sample
whatever the pipeline's filling and draining. A synop is one synaptic event: a spike times one of
its non-zero synapses, booked on the receiving layer at the timestep in which the spike was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs.files import UserError, replacing
from hw_configs.reading import read_counts
from lava_models.net.netfile import NetFile
from lava_models.net.populations import Host, Population, TickNeurons
from lava_models.net.program import IMAGES, Program, build_program


@dataclass(frozen=True)
class LayerCount:
    """What one layer did in S samples."""

    name: str
    part: str
    """encoder, posterior, prior, latent, decoder, readout, clock, random bits or input."""
    on_chip: bool
    neurons: int
    synapses: int
    """Non-zero synapses that end here."""
    spikes: np.ndarray
    """Spikes sent at each timestep of the period, int64 (P,), summed over the samples."""
    synops: np.ndarray
    """Synaptic events received, by the timestep they were sent in, int64 (P,)."""
    neuron_updates: int
    """Neurons times timesteps."""


def pixels_used(images: np.ndarray | None) -> np.ndarray | None:
    """In how many samples each pixel of graded images (samples, n) is sent: int64 (1, n)."""
    return None if images is None else (images != 0).sum(axis=0)[None]


def spikes_sent(program: Program, samples: int, spikes: Mapping[str, np.ndarray],
                pixels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Spikes of everything that sends any, images and tick neurons included.

    Arguments as in `count_run`. Returns int64 (P, n) per population, summed over the samples, from
    its own first wave on (`Population.phase`).

    Raises:
        UserError: counts of another network or mode.
    """
    _check_counts(program, spikes, pixels)
    schedule = program.schedule
    beats = schedule.dilation * np.arange(schedule.ticks)  # the waves, relative to the first

    def waves(per_tick: np.ndarray) -> np.ndarray:
        out = np.zeros((schedule.period, per_tick.shape[-1]), np.int64)
        out[beats] = per_tick
        return out

    sent = {name: n.astype(np.int64) for name, n in spikes.items()}
    for population in program.of(Host):
        if population.name in sent:  # one that does not send the same at every tick
            continue
        sent[population.name] = waves(np.repeat(pixels, schedule.ticks, axis=0))
    for population in program.of(TickNeurons):
        sent[population.name] = waves(samples * population.kind.fires.astype(np.int64))
    return sent


def _check_counts(program: Program, spikes: Mapping[str, np.ndarray], pixels: np.ndarray | None
                  ) -> None:
    """Raises:
        UserError: a population is missing, unknown, or counted over other neurons or timesteps.
    """
    known = {p.name: p for p in program.populations}
    hosts = {p.name for p in program.of(Host)}
    ticks = {p.name for p in program.of(TickNeurons)}
    for name, counted in spikes.items():
        shape = (program.schedule.period, known[name].size) if name in known else None
        if counted.shape != shape or counted.dtype.kind not in "iu" or counted.size and not (
                0 <= counted.min() and counted.max() < 2**31):
            raise UserError(f"counts of {name!a:.60}: {counted.dtype} of shape {counted.shape}, "
                            + (f"expected whole numbers of shape {shape}" if shape else
                               "which this network does not have") + "; run run-lava again")
    missing = {c.source for c in program.connections} - spikes.keys() - hosts - ticks
    if missing:
        raise UserError(f"counts: {min(missing)} is missing; run run-lava again")
    for name in hosts - spikes.keys():
        if pixels is None or pixels.shape != (1, known[name].size) or pixels.dtype.kind not in "iu":
            raise UserError(f"counts: of {name} there are none; run run-lava again")


def count_run(net: NetFile, mode: str, samples: int, spikes: Mapping[str, np.ndarray],
              pixels: np.ndarray | None) -> list[LayerCount]:
    """Count a run of `samples` samples of a model.net.

    Args:
        spikes: of every population, per timestep of the period and neuron, integers (P, n),
            summed over the samples (`GraphRun.counts`).
        pixels: of the graded input, `pixels_used`, or None.
    """
    return count_program(build_program(net, mode), samples, spikes, pixels)


def count_program(program: Program, samples: int, spikes: Mapping[str, np.ndarray],
                  pixels: np.ndarray | None) -> list[LayerCount]:
    """Count a run of `samples` samples of any program; arguments as in `count_run`."""
    period = program.schedule.period
    sent = spikes_sent(program, samples, spikes, pixels)
    rows: dict[str, list[Population]] = {}
    for population in program.populations:
        rows.setdefault(population.row, []).append(population)
    synops = {row: np.zeros(period, np.int64) for row in rows}
    synapses = dict.fromkeys(rows, 0)
    for connection in program.connections:
        row = program[connection.target].row
        synops[row] += sent[connection.source] @ connection.fan_out
        synapses[row] += int(connection.fan_out.sum())
    return [LayerCount(
        row, of[0].part, of[0].on_chip, sum(p.size for p in of), synapses[row],
        sum((sent[p.name].sum(axis=1) for p in of if p.name in sent), np.zeros(period, np.int64)),
        synops[row], sum(p.size for p in of if p.on_chip) * period * samples)
        for row, of in rows.items()]


def save_counts(spikes: Mapping[str, np.ndarray], pixels: np.ndarray | None, path: Path) -> None:
    """Write what `count_run` needs of a run."""
    more = {} if pixels is None else {IMAGES: pixels}
    with replacing(path) as file, open(file, "wb") as handle:
        np.savez_compressed(handle, **spikes, **more)


def load_counts(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What `save_counts` wrote: (spikes, pixels).

    Raises:
        UserError: no such file, or a damaged one.
    """
    spikes = read_counts(path, "run-lava writes it beside the images")
    return spikes, spikes.pop(IMAGES, None)
