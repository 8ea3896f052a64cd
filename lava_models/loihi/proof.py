"""What a chip is to give, by the integer reference, and whether it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lava_models.graph.compare import SIDE_BY_SIDE, sent_by
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
                          ) -> tuple[bool, str]:
    """Images and z of a chip against the reference: (equal, verdict).

    z may come up to MOST_DELAY timesteps late: its adapter's delay is not public.
    """
    program = build_program(net, mode)
    schedule, drawn, readout = program.schedule, program.draws[0], program.readout
    samples = len(expected.voltage)
    wanted = np.zeros((len(run.z), run.z.shape[1]), bool)
    for sample, of_sample in enumerate(expected.z):
        at = schedule.timesteps(drawn.phase, sample + run.first) - 1
        wanted[at] = of_sample
    began = drawn.phase - 1 + schedule.period * run.first
    ended = schedule.last_wave(drawn.phase, samples - 1 + run.first)
    best = None
    for delay in range(MOST_DELAY + 1):
        got = run.z[began + delay:ended + delay]
        wrong = np.argwhere(got != wanted[began:began + len(got)])
        if best is None or len(wrong) < len(best[1]):
            best = delay, wrong
    delay, wrong = best
    late = f", z {delay} timesteps late through its adapter" if delay else ""
    pixels = np.argwhere(run.voltage != expected.voltage)
    if not len(wrong) and not len(pixels):
        spikes = int(expected.z.sum())
        return True, (f"{samples} samples on the chip against the integer reference: equal: "
                      f"{spikes} latent spikes, {run.voltage.size} readout voltages{late}")
    if len(wrong):
        step, neuron = wrong[0]
        at = began + int(step) + 1
        where = (f"{len(wrong)} latent spikes differ, first {drawn.name}, neuron {neuron}, "
                 f"timestep {at}: chip {int(run.z[at - 1 + delay, neuron])}, reference "
                 f"{int(wanted[at - 1, neuron])}")
    else:
        sample, pixel = pixels[0]
        where = (f"{len(pixels)} readout voltages differ, first {readout.name}, "
                 f"neuron {pixel}, timestep "
                 f"{schedule.last_wave(readout.phase, int(sample) + run.first)}: chip "
                 f"{run.voltage[sample, pixel]}, reference {expected.voltage[sample, pixel]}")
    return False, (f"{samples} samples on the chip against the integer reference: NOT equal: "
                   f"{where}{late}")
