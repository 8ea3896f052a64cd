"""What a chip is to give, by the integer reference, and whether it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lava_models.graph.compare import SIDE_BY_SIDE, Compared, Comparison, sent_by
from lava_models.loihi.hardware_graph import ChipRun
from lava_models.net.netfile import NetFile
from lava_models.net.program import RING_COUNTED_FROM, build_program
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference

MOST_DELAY = 8
"""Timesteps by which z may come late through its adapter."""


@dataclass(frozen=True)
class Expected:
    """The integer reference's run of S samples."""

    counts: dict[str, np.ndarray]
    """As GraphRun.counts: int32 (P, n), summed over the samples."""
    voltage: np.ndarray
    """int32 (S, C*H*W)."""
    z: np.ndarray
    """bool (S, T, C)."""


def expect(net: NetFile, mode: str, bits: ChipBits, first: int, samples: int,
           images: np.ndarray | None,
           on_samples: Callable[[int], None] = lambda done: None) -> Expected:
    """Run the reference over samples `first` ... and count its spikes as a probe would.

    Args:
        images: graded input int32 (samples, C*H*W), or None.
        on_samples: called with a number of samples done.
    """
    reference = Reference(net, mode)
    schedule, program = reference.schedule, reference.program
    drawn = program.draws[0].name
    beats = schedule.dilation * np.arange(net.ticks)
    counts: dict[str, np.ndarray] = {}
    voltage, z = [], []
    for start in range(0, samples, SIDE_BY_SIDE):
        n = min(SIDE_BY_SIDE, samples - start)
        result = reference.run_samples(bits, first + start, n,
                                       None if images is None else images[start:start + n])
        voltage.append(result.voltage)
        z.append(result.spikes[drawn])
        for population in (p for p in program.waves if p.spiking):
            spikes = sent_by(population, result.spikes[population.like])
            total = counts.setdefault(population.name, np.zeros(
                (schedule.period, population.size), np.int32))
            total[beats] += spikes.sum(axis=0, dtype=np.int32)
        on_samples(n)
    since = RING_COUNTED_FROM - 1
    for name, raster in bits.rasters(first, since + samples * schedule.period):
        window = raster[since:].reshape(samples, schedule.period, -1)
        counts[name] = window.sum(axis=0, dtype=np.int32)
    return Expected(counts, np.concatenate(voltage), np.concatenate(z))


def compare_with_expected(run: ChipRun, expected: Expected, net: NetFile, mode: str
                          ) -> tuple[Comparison, int]:
    """Images and z of a chip against the reference, and how many timesteps late z came.

    Its adapter's delay is not public: up to MOST_DELAY timesteps are tried, the smallest that
    differs least is taken. Every delay is tried on z of all samples, whole.

    Raises:
        ValueError: the recording of z ends before the last of it could have arrived.
    """
    program = build_program(net, mode)
    schedule, drawn, readout = program.schedule, program.draws[0], program.readout
    began = drawn.phase - 1 + schedule.period * run.first
    ended = schedule.last_wave(drawn.phase, len(expected.z) - 1 + run.first)
    if len(run.z) < ended + MOST_DELAY:
        raise ValueError(f"z was recorded for {len(run.z)} timesteps, expected "
                         f"{ended + MOST_DELAY}")
    wanted = np.zeros((ended - began, drawn.size), bool)
    for sample, of_sample in enumerate(expected.z):
        wanted[schedule.timesteps(drawn.phase, sample + run.first) - 1 - began] = of_sample
    wrong = [np.argwhere(run.z[began + delay:ended + delay] != wanted)
             for delay in range(MOST_DELAY + 1)]
    delay = int(np.argmin([len(where) for where in wrong]))
    found = []
    if len(wrong[delay]):
        step, neuron = wrong[delay][0]
        at = began + int(step)
        found.append((at + 1, f"{drawn.name}, neuron {neuron}, timestep {at + 1}: chip "
                      f"{int(run.z[at + delay, neuron])}, reference {int(wanted[step, neuron])}"))
    pixels = np.argwhere(run.voltage != expected.voltage)
    if len(pixels):
        sample, pixel = pixels[0]
        at = schedule.last_wave(readout.phase, int(sample) + run.first)
        found.append((at, f"{readout.name}, neuron {pixel}, timestep {at}: chip "
                      f"{run.voltage[sample, pixel]}, reference {expected.voltage[sample, pixel]}"))
    return Comparison(
        len(wanted),
        (Compared(drawn.name, drawn.part, int(wanted.sum()), expected.z.size, wanted.size,
                  len(wrong[delay]), awaited=True),
         Compared(readout.name, readout.part, int(np.count_nonzero(expected.voltage)), 0,
                  expected.voltage.size, len(pixels), awaited=True)),
        min(found)[1] if found else None), delay
