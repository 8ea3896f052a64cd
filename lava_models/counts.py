"""Counts spikes, synops and neuron updates of a run, exactly, per layer and timestep.

Every population is counted over its own S periods of P timesteps, from its first wave on, so
that totals are S times a sample whatever the pipeline's filling and draining. A synop is one
synaptic event: a spike times one of its non-zero synapses, booked on the receiving layer at the
timestep in which the spike was sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lava_models.latents import HostBits, Selection
from lava_models.netfile import NetFile
from lava_models.reference import SELECTION, latent_part, layer_order, schedule_for
from lava_models.synapse import neuron_bias, split_bias, unroll

CLOCK, RANDOM_BITS, IMAGES = "clock", "random_bits", "images"


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
    selection = Selection(net.k, net.random_bits)
    upstream = IMAGES if mode == "reconstruct" else None
    for name in order:
        if name == SELECTION:
            # Two copies of the selection neuron: one for the decoder, one for the feedback.
            for fan, source in ((selection.k, upstream), (selection.bits, RANDOM_BITS)):
                yield _Synapses(source, name, np.full(net.latent * fan, 2))
            yield _Synapses("silence", name, np.full(min(net.lag, net.ticks), net.latent))
        else:
            layer = layers[name]
            fan_out = _fan_out(unroll(layer))
            split = len(fan_out) - (net.latent if name == f"{latent_part(mode)}.0" else 0)
            if split:
                yield _Synapses(upstream, name, fan_out[:split])
            if split < len(fan_out):
                yield _Synapses(f"{SELECTION}.feedback", name, fan_out[split:])
            bias = sum(np.count_nonzero(w) for w, _ in split_bias(neuron_bias(layer)))
            yield _Synapses(f"{CLOCK}.{name}", name, np.array([bias]))
        upstream = name


def count_run(net: NetFile, mode: str, samples: int, rasters: Mapping[str, np.ndarray],
              bits: HostBits, images: np.ndarray | None) -> list[LayerCount]:
    """Count a run of `samples` samples.

    Args:
        rasters: spikes of every population, bool (steps, n), from Lava or the reference.
        bits: the random bits the run used.
        images: graded input int32 (samples, C*H*W), or None.
    """
    schedule, order, layers = schedule_for(net, mode), layer_order(net, mode), dict(
        net.named_layers())
    period, d = schedule.period, schedule.dilation
    beats = d * np.arange(net.ticks)  # the waves, relative to a population's phase

    def folded(name: str) -> np.ndarray:
        """Spikes of a population per timestep of the period and neuron: int64 (P, n)."""
        start = schedule.phases[name.removesuffix(".feedback")] - 1
        window = rasters[name][start:start + period * samples]
        full = np.zeros((period * samples, window.shape[1]), bool)
        full[:len(window)] = window  # what is missing are silent timesteps after the last wave
        return full.reshape(samples, period, -1).sum(axis=0)

    def waves(per_tick: np.ndarray) -> np.ndarray:
        out = np.zeros((period, per_tick.shape[-1]), np.int64)
        out[beats] = per_tick
        return out

    sent: dict[str, np.ndarray] = {name: folded(name) for name in rasters}
    sent[RANDOM_BITS] = waves(bits.samples(0, samples).reshape(samples, net.ticks, -1)
                              .sum(axis=0, dtype=np.int64))
    if images is not None:
        sent[IMAGES] = waves(np.repeat((images != 0).sum(axis=0)[None], net.ticks, axis=0))
    for name in order:
        if name != SELECTION:
            sent[f"{CLOCK}.{name}"] = waves(np.full((net.ticks, 1), samples))
    silent = np.zeros((net.ticks, min(net.lag, net.ticks)), np.int64)
    silent[-silent.shape[1]:] = samples * np.eye(silent.shape[1], dtype=np.int64)
    sent["silence"] = waves(silent)

    synops = {name: np.zeros(period, np.int64) for name in order}
    synapses = dict.fromkeys(order, 0)
    for connection in _connections(net, mode):
        synops[connection.target] += sent[connection.source] @ connection.fan_out
        synapses[connection.target] += int(connection.fan_out.sum())

    def spikes(*names: str) -> np.ndarray:
        return sum((sent[n].sum(axis=1) for n in names if n in sent), np.zeros(period, np.int64))

    counts = []
    if images is not None:
        counts.append(LayerCount(IMAGES, "input", False, images.shape[1], 0, spikes(IMAGES),
                                 np.zeros(period, np.int64), 0))
    for name in order:
        if name == SELECTION:
            neurons, part = 2 * net.latent, "latent"
            out = spikes(SELECTION, f"{SELECTION}.feedback")
        else:
            neurons, out = math.prod(layers[name].shape), spikes(name)  # the readout: none
            part = name.split(".")[0] if layers[name].neuron.spiking else "readout"
        counts.append(LayerCount(name, part, True, neurons, synapses[name], out, synops[name],
                                 neurons * period * samples))
    clocks = [f"{CLOCK}.{n}" for n in order if n != SELECTION] + ["silence"]
    neurons = sum(sent[n].shape[1] for n in clocks)
    nothing = np.zeros(period, np.int64)
    counts.append(LayerCount(CLOCK, "clock", True, neurons, 0, spikes(*clocks), nothing,
                             neurons * period * samples))
    counts.append(LayerCount(RANDOM_BITS, "random bits", False, sent[RANDOM_BITS].shape[1], 0,
                             spikes(RANDOM_BITS), nothing, 0))
    return counts
