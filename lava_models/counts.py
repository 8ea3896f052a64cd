"""Counts spikes, synops and neuron updates of a run, exactly, per layer and timestep.

Every population is counted over its own S periods of P timesteps, from its first wave on (the ring
of random bits from timestep graph.RING_COUNTED_FROM on), so that totals are S times a sample
whatever the pipeline's filling and draining. A synop is one synaptic event: a spike times one of
its non-zero synapses, booked on the receiving layer at the timestep in which the spike was sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lava_models.graph import FEEDBACK
from lava_models.latents import Selection
from lava_models.netfile import NetFile
from lava_models.rule30 import POPULATIONS, Ring, ring_synapses
from lava_models.schedule import SELECTION, latent_part, layer_order, schedule_for
from lava_models.synapse import neuron_bias, selection_synapses, split_bias, unroll

CLOCK, SILENCE, IMAGES, RANDOM_BITS = "clock", "silence", "images", "random bits"


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


@dataclass(frozen=True)
class _Synapses:
    """Synapses from one population to one layer: how many non-zero ones each spike meets."""

    source: str
    target: str
    fan_out: np.ndarray
    """int64 (n_source,)."""


def _fan_out(matrix) -> np.ndarray:
    return np.diff(matrix.tocsc().indptr).astype(np.int64)


def _connections(net: NetFile, mode: str) -> Iterator[_Synapses]:
    """Every connection of the graph in `mode`, clock and random bits included."""
    layers, order = dict(net.named_layers()), layer_order(net, mode)
    cells, rule, bits = POPULATIONS
    to_rule, to_cells, to_bits = ring_synapses(Ring(net.latent * net.random_bits))
    yield _Synapses(cells, rule, _fan_out(to_rule))
    yield _Synapses(rule, cells, _fan_out(to_cells))
    yield _Synapses(cells, bits, _fan_out(to_bits))
    upstream = IMAGES if mode == "reconstruct" else None
    for name in order:
        if name == SELECTION:
            # Two copies of the selection neuron: one for the decoder, one for the feedback, and
            # only that one is silenced.
            sources = {"zeta_in": (upstream, 2), "bits_in": (bits, 2), "silence": (SILENCE, 1)}
            parts = selection_synapses(Selection(net.k, net.random_bits), net.latent,
                                       min(net.lag, net.ticks))
            for port, matrix, _ in parts:
                source, copies = sources[port]
                yield _Synapses(source, name, copies * _fan_out(matrix))
        else:
            layer = layers[name]
            fan_out = _fan_out(unroll(layer))
            split = len(fan_out) - (net.latent if name == f"{latent_part(mode)}.0" else 0)
            if split:
                yield _Synapses(upstream, name, fan_out[:split])
            if split < len(fan_out):
                yield _Synapses(FEEDBACK, name, fan_out[split:])
            bias = sum(np.count_nonzero(w) for w, _ in split_bias(neuron_bias(layer)))
            yield _Synapses(f"{CLOCK}.{name}", name, np.array([bias]))
        upstream = name


def count_run(net: NetFile, mode: str, samples: int, spikes: Mapping[str, np.ndarray],
              images: np.ndarray | None) -> list[LayerCount]:
    """Count a run of `samples` samples.

    Args:
        spikes: of every population, per timestep of the period and neuron, integers (P, n),
            summed over the samples (`GraphRun.counts`).
        images: graded input int32 (samples, C*H*W), or None.
    """
    schedule, order, layers = schedule_for(net, mode), layer_order(net, mode), dict(
        net.named_layers())
    period, d = schedule.period, schedule.dilation
    beats = d * np.arange(net.ticks)  # the waves, relative to a population's phase

    def waves(per_tick: np.ndarray) -> np.ndarray:
        out = np.zeros((period, per_tick.shape[-1]), np.int64)
        out[beats] = per_tick
        return out

    sent: dict[str, np.ndarray] = {name: n.astype(np.int64) for name, n in spikes.items()}
    if images is not None:
        sent[IMAGES] = waves(np.repeat((images != 0).sum(axis=0)[None], net.ticks, axis=0))
    for name in order:
        if name != SELECTION:
            sent[f"{CLOCK}.{name}"] = waves(np.full((net.ticks, 1), samples))
    silent = np.zeros((net.ticks, min(net.lag, net.ticks)), np.int64)
    silent[-silent.shape[1]:] = samples * np.eye(silent.shape[1], dtype=np.int64)
    sent[SILENCE] = waves(silent)

    targets = [*order, *POPULATIONS]
    synops = {name: np.zeros(period, np.int64) for name in targets}
    synapses = dict.fromkeys(targets, 0)
    for connection in _connections(net, mode):
        synops[connection.target] += sent[connection.source] @ connection.fan_out
        synapses[connection.target] += int(connection.fan_out.sum())

    def total(*names: str) -> np.ndarray:
        return sum((sent[n].sum(axis=1) for n in names if n in sent), np.zeros(period, np.int64))

    counts = []
    if images is not None:
        counts.append(LayerCount(IMAGES, "input", False, images.shape[1], 0, total(IMAGES),
                                 np.zeros(period, np.int64), 0))
    for name in targets:
        if name == SELECTION:
            neurons, part, out = 2 * net.latent, "latent", total(SELECTION, FEEDBACK)
        elif name in POPULATIONS:
            neurons, part, out = sent[name].shape[1], RANDOM_BITS, total(name)
        else:
            neurons, out = math.prod(layers[name].shape), total(name)  # the readout: none
            part = name.split(".")[0] if layers[name].neuron.spiking else "readout"
        counts.append(LayerCount(name, part, True, neurons, synapses[name], out, synops[name],
                                 neurons * period * samples))
    clocks = [f"{CLOCK}.{n}" for n in order if n != SELECTION] + [SILENCE]
    neurons = sum(sent[n].shape[1] for n in clocks)
    counts.append(LayerCount(CLOCK, "clock", True, neurons, 0, total(*clocks),
                             np.zeros(period, np.int64), neurons * period * samples))
    return counts
