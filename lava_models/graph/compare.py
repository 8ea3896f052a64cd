"""Are Lava's run of a model.net and the reference the same, spike for spike, at every timestep?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from lava_models.graph.lava_graph import GraphRun
from lava_models.net.netfile import NetFile
from lava_models.net.populations import Draw, Population, RingNeurons
from lava_models.net.program import Program
from lava_models.net.schedule import Schedule
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference

SIDE_BY_SIDE = 64
"""Samples the reference takes at a time, so that its memory stays small."""


@dataclass(frozen=True)
class Compared:
    """One population in the recorded timesteps of all lanes; of the readout its voltages."""

    name: str
    part: str
    spikes: int
    """Of the reference; of the readout: voltages that are not 0."""
    most: int
    """Spikes if every neuron had fired at every wave; 0 of the readout, which does not fire."""
    values: int
    """Neuron-timesteps, or voltages, compared."""
    differing: int
    """How many of them differ."""
    awaited: bool
    """Whether it is meant to fire."""

    @property
    def silent(self) -> bool:
        return self.awaited and not self.spikes

    @property
    def saturated(self) -> bool:
        return self.awaited and 0 < self.spikes == self.most


@dataclass(frozen=True)
class Comparison:
    """Verdict on one run against the reference."""

    steps: int
    """Timesteps compared."""
    populations: tuple[Compared, ...]
    first: str | None
    """Where the first difference is (layer, neuron, timestep), or None."""

    @property
    def spikes(self) -> int:
        """Spikes the reference has in them, the readout's voltages aside."""
        return sum(p.spikes for p in self.populations if p.most)

    @property
    def values(self) -> int:
        """Neuron-timesteps and readout voltages compared."""
        return sum(p.values for p in self.populations)

    @property
    def differing(self) -> int:
        """How many of them differ."""
        return sum(p.differing for p in self.populations)

    @property
    def silent(self) -> tuple[str, ...]:
        """Populations that never fired, so that their equality says nothing."""
        return tuple(p.name for p in self.populations if p.silent)

    @property
    def saturated(self) -> tuple[str, ...]:
        """Populations of which every neuron fired at every wave."""
        return tuple(p.name for p in self.populations if p.saturated)

    @property
    def idle_parts(self) -> tuple[str, ...]:
        """Parts of the network in which nothing ever fired, or all always did."""
        parts = dict.fromkeys(p.part for p in self.populations if p.awaited)
        return tuple(part for part in parts if all(
            p.silent or p.saturated for p in self.populations if p.awaited and p.part == part))

    @property
    def equal(self) -> bool:
        """Nothing differs, and there was something to compare in every part."""
        return bool(self.populations) and not self.differing and not self.idle_parts

    def __str__(self) -> str:
        counted = f"{self.spikes} spikes, {self.values} values, {self.steps} timesteps"
        if self.differing:
            text = f"NOT equal: {self.differing} of {self.values} values differ, first {self.first}"
        elif not self.equal:
            idle = ", ".join(self.idle_parts) or "every part"
            text = f"NOT proven: nothing differs in {counted}, but {idle} was silent or saturated"
        else:
            text = f"equal: {counted}"
        for word, names in (("silent", self.silent), ("saturated", self.saturated)):
            if names:
                text += f"; {word}: {', '.join(names)}"
        return text

    @classmethod
    def joined(cls, parts: list[Comparison]) -> Comparison:
        """Of runs of the same network, one after the other, as one."""
        populations = [replace(same[0], **{
            name: sum(getattr(p, name) for p in same)
            for name in ("spikes", "most", "values", "differing")})
            for same in zip(*(part.populations for part in parts), strict=True)]
        return cls(parts[0].steps, tuple(populations),
                   next((part.first for part in parts if part.first), None))

    def section(self) -> dict:
        """The populations as the report's entries."""
        return {"populations": [
            {"name": p.name, "part": p.part, "spikes": p.spikes, "values": p.values,
             "differing": p.differing} for p in self.populations],
            "silent": list(self.silent), "saturated": list(self.saturated)}

    @classmethod
    def of_section(cls, section: dict, program: Program, lanes: int) -> Comparison:
        """Inverse of `section`, of a run in so many lanes; where it first differs is not in it.

        Raises:
            ValueError: a population is missing, unknown, or not compared at every timestep.
        """
        entries = {entry["name"]: entry for entry in section["populations"]}
        wanted = {p.name for p in (*program.waves, *program.of(RingNeurons)) if p.spiking}
        wanted.add(program.readout.name)
        if set(entries) != wanted or len(entries) != len(section["populations"]):
            odd = sorted(set(entries) ^ wanted) or ["one of them"]
            raise ValueError(f"{odd[0]} is missing, unknown or there twice")
        steps, populations = 0, []
        for name, entry in entries.items():
            population, values, most = program[name], entry["values"], 0
            if name != program.readout.name:
                steps = steps or values // (lanes * population.size)
                if values != steps * lanes * population.size:
                    raise ValueError(f"{name} was not compared at each of {steps} timesteps")
                most = lanes * _waves(population, steps, program.schedule) * population.size
            populations.append(_compared(population, entry["spikes"], most, values,
                                         entry["differing"], program.schedule.ticks))
        return cls(steps, tuple(populations), None)

    def samples(self, program: Program) -> int:
        """Whose images were compared."""
        return sum(p.values // program.readout.size for p in self.populations
                   if p.name == program.readout.name)

    def verdict(self, program: Program) -> str:
        """What a report says of a run on Lava."""
        return f"{self.samples(program)} samples on Lava against the integer reference: {self}"


@dataclass(frozen=True)
class Lane:
    """What the reference says about one lane of a run: `samples` samples from `first` on."""

    voltage: np.ndarray
    """int32 (samples, C*H*W)."""
    rasters: dict[str, np.ndarray]
    """Every population at every timestep: bool (timesteps, n)."""


def reference_lane(reference: Reference, bits: ChipBits, first: int, samples: int,
                   images: np.ndarray | None) -> Lane:
    """Run the reference over samples `first` ... of a run and lay its spikes on the timesteps.

    Args:
        images: graded input of the lane, int32 (m, C*H*W), those after the last compared included;
            samples without one see zeros.
    """
    schedule, program = reference.schedule, reference.program
    steps = schedule.run_length(program.readout.phase, samples)
    # While the last sample drains through the decoder, the layers before it run on with the next.
    begun = math.ceil(steps / schedule.period)
    voltage, spikes = [], {}
    for start in range(first, first + begun, SIDE_BY_SIDE):
        count = min(SIDE_BY_SIDE, first + begun - start)
        batch = None
        if images is not None:
            batch = np.zeros((count, images.shape[1]), images.dtype)
            some = images[start - first:start - first + count]
            batch[:len(some)] = some
        result = reference.run_samples(bits, start, count, batch)
        voltage.append(result.voltage)
        for name, of_batch in result.spikes.items():
            spikes.setdefault(name, []).append(of_batch)
    rasters = dict(bits.rasters(first, steps))
    of_lane = {name: np.concatenate(parts) for name, parts in spikes.items()}
    for population in program.waves:
        if population.spiking:
            fired = sent_by(population, of_lane[population.like])
            rasters[population.name] = _raster(fired, schedule, population.phase, steps)
    return Lane(np.concatenate(voltage)[:samples], rasters)


def sent_by(population: Population, fired: np.ndarray) -> np.ndarray:
    """What a population sends of the spikes (samples, T, n) of its kind: the copy that feeds z
    back is silent in the last ticks."""
    if not (isinstance(population.kind, Draw) and population.kind.muted):
        return fired
    sent = fired.copy()
    sent[:, sent.shape[1] - population.kind.muted:] = False
    return sent


def _raster(spikes: np.ndarray, schedule: Schedule, phase: int, steps: int) -> np.ndarray:
    raster = np.zeros((steps, spikes.shape[-1]), bool)
    for sample, of_sample in enumerate(spikes):
        at = schedule.timesteps(phase, sample) - 1
        raster[at[at < steps]] = of_sample[at < steps]
    return raster


def compare(run: GraphRun, lanes: Iterator[Lane], program: Program) -> Comparison:
    """Compare every population at every recorded timestep, and the readout voltages.

    Args:
        run: a Lava run.
        lanes: the reference for each of its lanes, `run.recorded` samples long.
        program: what ran.
    """
    found: list[tuple[int, str]] = []  # (timestep, where)
    totals: dict[str, np.ndarray] = {}  # by population: spikes, most, values, differing
    steps = 0
    rasters = {name: run.raster(name) for name in run.spikes}
    for lane, expected in enumerate(lanes):
        where = f"lane {lane}, " if run.lanes > 1 else ""
        if set(rasters) != set(expected.rasters):
            raise ValueError("populations in one run only: "
                             f"{sorted(set(rasters) ^ set(expected.rasters))}")
        for name, wanted in expected.rasters.items():
            got, steps = rasters[name][lane], len(wanted)
            wrong = np.argwhere(got != wanted)
            if len(wrong):
                step, neuron = wrong[0]
                found.append((step + 1, f"{where}{name}, neuron {neuron}, timestep {step + 1}: "
                              f"Lava {int(got[step, neuron])}, reference "
                              f"{int(wanted[step, neuron])}"))
            waves = _waves(program[name], steps, program.schedule)
            _add(totals, name, int(wanted.sum()), waves * wanted.shape[1], wanted.size, len(wrong))
        first = lane * run.samples_per_lane
        got = run.voltage[first:first + run.recorded]
        wanted = expected.voltage[:len(got)]
        wrong = np.argwhere(got != wanted)
        if len(wrong):
            sample, pixel = wrong[0]
            found.append((steps + 1, f"readout voltage of sample {first + sample}, pixel {pixel}: "
                          f"Lava {got[sample, pixel]}, reference {wanted[sample, pixel]}"))
        _add(totals, program.readout.name, np.count_nonzero(wanted), 0, wanted.size, len(wrong))
    return Comparison(steps, tuple(_compared(program[name], *numbers, program.schedule.ticks)
                                   for name, numbers in totals.items()),
                      min(found)[1] if found else None)


def _waves(population: Population, steps: int, schedule: Schedule) -> int:
    """Timesteps at which it may fire."""
    return len(range(population.phase, steps + 1, schedule.dilation))


def _add(totals: dict[str, np.ndarray], name: str, *numbers: int) -> None:
    totals[name] = totals.get(name, 0) + np.array(numbers, np.int64)


def _compared(population: Population, spikes: int, most: int, values: int, differing: int,
              ticks: int) -> Compared:
    # A copy of z that is muted at every tick never fires, and the ring is proven by itself.
    kind = population.kind
    awaited = population.waves and not (isinstance(kind, Draw) and kind.muted == ticks)
    return Compared(population.name, population.part, int(spikes), int(most), int(values),
                    int(differing), awaited)


def compare_with_reference(run: GraphRun, net: NetFile, mode: str, bits: ChipBits,
                           images: np.ndarray | None, *,
                           on_lane: Callable[[int, int], None] = lambda done, total: None
                           ) -> Comparison:
    """`compare` a run with the reference run for it, lane by lane.

    Args:
        on_lane: called with (lanes done, lanes in all).
    """
    reference = Reference(net, mode)

    def lanes() -> Iterator[Lane]:
        each = run.samples_per_lane
        for lane in range(run.lanes):
            own = None if images is None else images[lane * each:(lane + 1) * each]
            yield reference_lane(reference, bits, lane * each, run.recorded, own)
            on_lane(lane + 1, run.lanes)

    return compare(run, lanes(), reference.program)
