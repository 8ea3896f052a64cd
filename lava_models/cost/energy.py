"""What a run costs on a chip, modelled: energy per sample, time per timestep.

Nothing here was measured on a chip. Counts are exact (lava_models.cost.counts); what a count costs
comes from named sets of published constants (`hw_configs/energy`), none of which is a per-operation
figure of Loihi 2. Every result is an interval.

    energy of a sample = static + synapses + neurons + spikes + messages
      static    chips in use x power of a chip at rest x time of the sample
      synapses  synops x energy of one, by the form they are stored in
      neurons   neurons x timesteps x energy of an update
      spikes    spikes x energy of sending one
      messages  spikes x cores they go to x (energy of a message + hops x energy of a hop)

    time of a timestep >= max(synchronisation, busiest core's synops, busiest core's neuron passes,
                              busiest link between two chips)

The time is a lower bound, and therefore the static energy too: congestion of the mesh and host
input and output are not in it. Its `high` is the sum of the four instead of the largest, or what
measured timesteps were as a multiple of the bound, if that is more. What validation finds outside
an interval widens it: `measured_over_bound`, `measured_over_modelled` (`hw_configs/VALIDATION.md`).
Where neurons are placed is not known: cores are taken in the order of the layers, a
message crosses no tile (low), the mean distance in a square of tiles that holds the cores in use,
or all of it (high).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hw_configs import EnergyConstants, Quantity
from lava_models.cost.counts import spikes_sent
from lava_models.cost.description import LayerDescription, Network
from lava_models.cost.mapper import Fit, LayerFit
from lava_models.cost.reach import convolution_reach
from lava_models.net.netfile import NetFile
from lava_models.net.program import CLOCK, Program, build_program

CORES_PER_TILE = 4
"""Assumed, as on Loihi 1; see the placement above."""
SYNAPSE_CONSTANT = {"shared convolution": "synop_conv", "sparse": "synop_sparse"}
KINDS = ("synapses", "neurons", "spikes", "messages")


@dataclass(frozen=True)
class Interval:
    """A modelled number: nominal, between low and high."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, quantity: Quantity) -> Interval:
        return cls(quantity.value, *quantity.interval)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, other: Interval | float) -> Interval:
        if not isinstance(other, Interval):
            other = Interval(other, other, other)
        return Interval(self.value * other.value, self.low * other.low, self.high * other.high)

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def total(intervals: Iterable[Interval]) -> Interval:
    """Sum of intervals."""
    return sum(intervals, Interval(0.0, 0.0, 0.0))


@dataclass(frozen=True)
class LayerActivity:
    """What one layer does in a sample, means over the samples."""

    name: str
    part: str
    form: str
    """How its synapses are stored (LayerFit.form)."""
    neurons: np.ndarray
    """Per core: int64 (cores,)."""
    synops: np.ndarray
    """Received per core: float64 (rows, cores); each row stands for `repeat` timesteps."""
    spikes: float
    """Sent."""
    messages: float
    """Spikes it receives times the cores each of them goes to."""


@dataclass(frozen=True)
class Activity:
    """What a network does in a sample."""

    layers: tuple[LayerActivity, ...]
    timesteps: int
    links: np.ndarray
    """Spikes that cross from chip to chip: float64 (rows, chips, chips)."""

    @property
    def repeat(self) -> float:
        """Timesteps per row."""
        return self.timesteps / len(self.links)


@dataclass(frozen=True)
class Estimate:
    """Energy of a sample in joules by one set of constants, and its time."""

    constants: EnergyConstants
    timestep_us: Interval
    """Mean over the sample's timesteps; `value` and `low` are lower bounds."""
    sample_ms: Interval
    waits: dict[str, float]
    """Share of the timesteps that wait for each: synchronisation, synops, neurons, links."""
    static: Interval
    by_kind: dict[str, Interval]
    """Dynamic energy: synapses, neurons, spikes, messages."""
    by_part: dict[str, Interval]
    """The same by part of the network."""

    @property
    def dynamic(self) -> Interval:
        return total(self.by_kind.values())

    @property
    def total(self) -> Interval:
        return self.static + self.dynamic


# --- activity ---------------------------------------------------------------------------------


def activity_of_run(net: NetFile, mode: str, samples: int, spikes: Mapping[str, np.ndarray],
                    pixels: np.ndarray | None, fit: Fit) -> Activity:
    """What every core does, from the spikes of a run (arguments as in counts.count_run)."""
    return activity_of_program(build_program(net, mode), samples, spikes, pixels, fit)


def activity_of_program(program: Program, samples: int, spikes: Mapping[str, np.ndarray],
                        pixels: np.ndarray | None, fit: Fit) -> Activity:
    """What every core does in any program; arguments as in `activity_of_run`."""
    period = program.schedule.period
    sent = spikes_sent(program, samples, spikes, pixels)
    per_sample = {name: np.roll(n / samples, program[name].phase, axis=0)
                  for name, n in sent.items()}
    book = _Book(fit, period)
    for connection in program.connections:
        source, target = program[connection.source], program[connection.target].compiled
        first, chips = program.first_in(connection.target), None
        if source.on_chip:
            chips = book.chips_of(source.compiled, source.size, program.first_in(source.name))
        for matrix, _ in connection.synapses.parts():
            reach = _by_core(matrix.tocsc(), book.fits[target], first)
            book.add(target, reach, per_sample[source.name], chips)
    for name, n in per_sample.items():
        if program[name].on_chip:
            book.spikes[program[name].compiled] += n.sum()
    return book.close(period)


def activity_at_rate(network: Network, fit: Fit, rate: float, timesteps: int) -> Activity:
    """What every core would do if every neuron fired with probability `rate` in every timestep.

    Only synapses per core and axon are counted, no matrix is made. Weights count as synapses where
    the description does not say how many of them are zero.
    """
    book = _Book(fit, 1)
    for layer in network.layers:
        if not layer.on_chip:
            continue
        book.spikes[layer.name] += rate * network.neurons(layer.name) * timesteps
        neurons = book.fits[layer.name].neurons
        if layer.clocked:
            book.add_all(CLOCK, layer.name, 1, neurons, rate)
        if layer.kind in ("conv", "convT"):
            book.add_convolution(network, layer, rate)
        for group in network.synapses(layer):
            if group.pattern is None:
                book.add_all(group.source, layer.name, group.axons, neurons * group.density, rate)
            else:
                reach = _by_core(group.pattern, book.fits[layer.name])
                chips = book.chips_of(group.source, reach.shape[1]) if (
                    group.source in book.fits) else None
                book.add(layer.name, reach, np.full((1, reach.shape[1]), rate), chips)
    return book.close(timesteps)


class _Book:
    """Adds up what arrives at every core."""

    def __init__(self, fit: Fit, rows: int) -> None:
        self.fit, self.rows = fit, rows
        self.fits = {layer.name: layer for layer in fit.layers}
        self.first = {name: fit.first_core(name) for name in self.fits}
        self.synops = {name: np.zeros((rows, len(la.cores))) for name, la in self.fits.items()}
        self.messages, self.spikes = dict.fromkeys(self.fits, 0.0), dict.fromkeys(self.fits, 0.0)
        self.links = np.zeros((rows, fit.chips, fit.chips))
        self._cores_per_chip = fit.board.cores_per_chip

    def chips_of(self, name: str, neurons: int, first: int = 0) -> np.ndarray:
        """The chip of each of `neurons` neurons of a layer from `first` on."""
        core = self.first[name] + np.resize(self.fits[name].core_of[first:], neurons)
        return core // self._cores_per_chip

    def add(self, target: str, reach: np.ndarray, sent: np.ndarray,
            source_chips: np.ndarray | None) -> None:
        """Book spikes (rows, n) that meet `reach` (cores, n) synapses per core and source."""
        self.synops[target] += sent @ reach.T
        self.messages[target] += float((sent.sum(axis=0) * np.count_nonzero(reach, axis=0)).sum())
        if source_chips is None:
            return
        chips = (self.first[target] + np.arange(len(reach))) // self._cores_per_chip
        for to in np.unique(chips):
            reached = reach[chips == to].any(axis=0)
            for of in np.unique(source_chips):
                if of != to:
                    self.links[:, of, to] += sent[:, reached & (source_chips == of)].sum(axis=1)

    def add_all(self, source: str, target: str, axons: int, synapses: np.ndarray, rate: float
                ) -> None:
        """Book `axons` that reach every core, with so many `synapses` (cores,) each."""
        self.synops[target] += rate * axons * synapses
        self.messages[target] += rate * axons * len(synapses)
        if source in self.fits:
            chips = (self.first[target] + np.arange(len(synapses))) // self._cores_per_chip
            leave = np.bincount(self.chips_of(source, axons), minlength=self.fit.chips)
            for to in np.unique(chips):
                self.links[:, :, to] += rate * np.where(np.arange(len(leave)) == to, 0, leave)

    def add_convolution(self, network: Network, layer: LayerDescription, rate: float) -> None:
        """Book what a convolution receives, core by core."""
        source, placed = network.sources(layer)[0], self.fits[layer.name]
        inputs, *size = network.shape(source)
        each = inputs // layer.groups
        to_chip = (self.first[layer.name] + np.arange(len(placed.cores))) // self._cores_per_chip
        needed = np.zeros((self.fit.chips, layer.groups, 1, *size), bool)
        for core, reach in enumerate(convolution_reach(network, layer, placed.core_of,
                                                       len(placed.cores))):
            self.synops[layer.name][:, core] += rate * each * reach.sum()
            self.messages[layer.name] += rate * each * np.count_nonzero(reach)
            needed[to_chip[core], :, 0] |= reach > 0
        if source in self.fits:
            of = self.chips_of(source, network.neurons(source)).reshape(-1, each, *size)
            for to in np.unique(to_chip):
                leave = np.bincount(of[np.broadcast_to(needed[to], of.shape)],
                                    minlength=self.fit.chips)
                leave[to] = 0
                self.links[:, :, to] += rate * leave

    def close(self, timesteps: int) -> Activity:
        repeat = timesteps / self.rows
        return Activity(tuple(
            LayerActivity(name, layer.part, layer.form, layer.neurons, self.synops[name],
                          self.spikes[name], self.messages[name] * repeat)
            for name, layer in self.fits.items()), timesteps, self.links)


def _by_core(matrix: sparse.csc_matrix, layer: LayerFit, first: int = 0) -> np.ndarray:
    """Synapses per core and source, of targets from neuron `first` of the layer on: int64 (cores,
    n_source)."""
    source = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
    key = layer.core_of[first + matrix.indices].astype(np.int64) * matrix.shape[1] + source
    cores = len(layer.cores)
    return np.bincount(key, minlength=cores * matrix.shape[1]).reshape(cores, -1)


# --- cost -------------------------------------------------------------------------------------


def estimate(activity: Activity, fit: Fit, constants: EnergyConstants,
             static_power: Quantity | None = None) -> Estimate:
    """Energy and time of a sample.

    Args:
        static_power: of a chip at rest, in W (default: the published readings of the board, or of
            all boards where there is none of it).
    """
    timestep, waits = _timestep_us(activity, fit)
    seconds = timestep * (activity.timesteps * 1e-6)
    power = static_power or fit.board.chip.static_power_w(fit.board.name)
    parts: dict[str, Interval] = {}
    kinds = dict.fromkeys(KINDS, Interval(0.0, 0.0, 0.0))
    per_message = (Interval.of(constants.message)
                   + Interval.of(constants.hop) * _hops(fit)) * 1e-12
    for layer in activity.layers:
        synop = getattr(constants, SYNAPSE_CONSTANT.get(layer.form, "synop_dense"))
        own = {
            "synapses": Interval.of(synop) * (layer.synops.sum() * activity.repeat * 1e-12),
            "neurons": Interval.of(constants.neuron_update) * (
                float(layer.neurons.sum()) * activity.timesteps * 1e-12),
            "spikes": Interval.of(constants.spike) * (layer.spikes * 1e-12),
            "messages": per_message * layer.messages,
        }
        if constants.measured_over_modelled is not None:
            known = _around_one(constants.measured_over_modelled)
            own = {kind: value * known for kind, value in own.items()}
        kinds = {kind: kinds[kind] + own[kind] for kind in KINDS}
        parts[layer.part] = total((parts.get(layer.part, Interval(0.0, 0.0, 0.0)), *own.values()))
    return Estimate(constants, timestep, timestep * (activity.timesteps * 1e-3), waits,
                    Interval.of(power) * fit.chips * seconds, kinds, parts)


def _around_one(ratio: Quantity) -> Interval:
    """What a published measurement widens a modelled number by; its nominal stays."""
    low, high = ratio.interval
    return Interval(1.0, min(low, 1.0), max(high, 1.0))


def timestep_terms(activity: Activity, fit: Fit, end: int | None = None) -> dict[str, np.ndarray]:
    """What each timestep waits for, in us: float64 (rows,) per cause.

    Args:
        end: of the constants' intervals, 0 for the fast one and 1 for the slow (default: nominal).
    """
    timing = fit.board.chip.timing
    step = timing.step_one_chip if fit.chips == 1 else timing.step_more_chips
    synops = np.max([layer.synops.max(axis=1) for layer in activity.layers], axis=0)
    neurons = max(int(layer.neurons.max()) for layer in activity.layers)
    links = activity.links.max(axis=(1, 2))
    one = np.ones(len(links))

    def pick(quantity: Quantity, fast_is_high: bool = False) -> float:
        return quantity.value if end is None else quantity.interval[end ^ fast_is_high]

    return {"synchronisation": pick(step) * one, "synops": pick(timing.synop) * synops / 1e3,
            "neurons": pick(timing.neuron_pass) * pick(timing.passes) * neurons / 1e3 * one,
            "links": links / pick(timing.link, fast_is_high=True)}


def _timestep_us(activity: Activity, fit: Fit) -> tuple[Interval, dict[str, float]]:
    """Mean time of a timestep, and what how many of them wait for."""
    nominal = timestep_terms(activity, fit)
    longest = np.max(list(nominal.values()), axis=0)
    low = np.max(list(timestep_terms(activity, fit, 0).values()), axis=0)
    high = np.sum(list(timestep_terms(activity, fit, 1).values()), axis=0)
    known = fit.board.chip.timing.measured_over_bound
    if known is not None:
        high = np.maximum(high, longest * known.interval[1])
    names = np.array(list(nominal))[np.argmax(list(nominal.values()), axis=0)]
    return (Interval(float(longest.mean()), float(low.mean()), float(high.mean())),
            {name: float(np.mean(names == name)) for name in nominal})


def _hops(fit: Fit) -> Interval:
    """Tiles a message crosses: none, the mean of a square that holds a chip's cores, all of it."""
    tiles = math.ceil(min(fit.cores, fit.board.cores_per_chip) / CORES_PER_TILE)
    side = math.ceil(math.sqrt(tiles))
    # Mean distance along both axes of two tiles drawn at random, and the farthest two.
    return Interval(2 * (side**2 - 1) / (3 * side), 0.0, 2.0 * (side - 1))
