"""Counts spikes, synops and neuron updates of a run, exactly, per layer and timestep.

Every population is counted over its own S periods of P timesteps, from its first wave on (the ring
of random bits from timestep graph.RING_COUNTED_FROM on), so that totals are S times a sample
whatever the pipeline's filling and draining. A synop is one synaptic event: a spike times one of
its non-zero synapses, booked on the receiving layer at the timestep in which the spike was sent.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from hw_configs.files import UserError, replacing
from lava_models.graph.lava_graph import RING_COUNTED_FROM
from lava_models.net.netfile import NetFile
from lava_models.net.schedule import (
    CLOCK,
    FEEDBACK,
    SELECTION,
    SILENCE,
    clocked,
    latent_part,
    layer_order,
    schedule_for,
)
from lava_models.net.synapse import (
    neuron_bias,
    selection_synapses,
    split_bias,
    split_exponents,
    unroll,
)
from lava_models.reference.rule30 import POPULATIONS, Ring, ring_synapses

IMAGES, RANDOM_BITS = "images", "random bits"


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
class Connection:
    """Synapses from one population to another."""

    source: str
    target: str
    matrix: sparse.csc_matrix
    """(n_target, n_source); a synapse where it is not zero."""

    @property
    def fan_out(self) -> np.ndarray:
        """Synapses of each source neuron: int64 (n_source,)."""
        return np.diff(self.matrix.indptr).astype(np.int64)


def connections(net: NetFile, mode: str) -> Iterator[Connection]:
    """Every connection of the graph in `mode`, clock and random bits included."""
    layers, order = dict(net.named_layers()), layer_order(net, mode)
    cells, rule, bits = POPULATIONS
    to_rule, to_cells, to_bits = ring_synapses(Ring(net.latent * net.random_bits))
    yield Connection(cells, rule, to_rule.tocsc())
    yield Connection(rule, cells, to_cells.tocsc())
    yield Connection(cells, bits, to_bits.tocsc())
    upstream = IMAGES if mode == "reconstruct" else None
    for name in order:
        if name == SELECTION:
            # Two copies of the selection neuron: one for the decoder, one for the feedback, and
            # only that one is silenced.
            sources = {"zeta_in": upstream, "bits_in": bits, "silence": SILENCE}
            parts = selection_synapses(net.selection, net.latent, min(net.lag, net.ticks))
            for port, matrix, _ in parts:
                if port == "zeta_in" and upstream is None:  # chances that are constants
                    for weights, _ in split_exponents(net.poisson.prior):
                        yield Connection(f"{CLOCK}.{SELECTION}", SELECTION,
                                         sparse.csc_matrix(weights[:, None]))
                    continue
                if net.loops:
                    yield Connection(sources[port], FEEDBACK, matrix.tocsc())
                if port != "silence":
                    yield Connection(sources[port], SELECTION, matrix.tocsc())
        else:
            layer = layers[name]
            matrix = unroll(layer).tocsc()
            n = matrix.shape[1]
            split = n - (net.latent if name == f"{latent_part(mode)}.0" else 0)
            if split:
                yield Connection(upstream, name, matrix[:, :split])
            if split < n:
                yield Connection(FEEDBACK, name, matrix[:, split:])
            for weights, _ in split_bias(neuron_bias(layer)):
                yield Connection(f"{CLOCK}.{name}", name, sparse.csc_matrix(weights[:, None]))
        upstream = name


def pixels_used(images: np.ndarray | None) -> np.ndarray | None:
    """In how many samples each pixel of graded images (samples, n) is sent: int64 (1, n)."""
    return None if images is None else (images != 0).sum(axis=0)[None]


def spikes_sent(net: NetFile, mode: str, samples: int, spikes: Mapping[str, np.ndarray],
                pixels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Spikes of everything that sends any, images and clocks included.

    Arguments as in `count_run`. Returns int64 (P, n) per sender, summed over the samples, from the
    sender's own first wave on (`first_timestep`).
    """
    schedule = schedule_for(net, mode)
    beats = schedule.dilation * np.arange(net.ticks)  # the waves, relative to the first

    def waves(per_tick: np.ndarray) -> np.ndarray:
        out = np.zeros((schedule.period, per_tick.shape[-1]), np.int64)
        out[beats] = per_tick
        return out

    sent: dict[str, np.ndarray] = {name: n.astype(np.int64) for name, n in spikes.items()}
    if pixels is not None:
        sent[IMAGES] = waves(np.repeat(pixels, net.ticks, axis=0))
    for name in clocked(net, mode):
        sent[f"{CLOCK}.{name}"] = waves(np.full((net.ticks, 1), samples))
    if not net.loops:
        return sent
    silent = np.zeros((net.ticks, min(net.lag, net.ticks)), np.int64)
    silent[-silent.shape[1]:] = samples * np.eye(silent.shape[1], dtype=np.int64)
    sent[SILENCE] = waves(silent)
    return sent


def first_timestep(net: NetFile, mode: str, sender: str) -> int:
    """Timestep (1-based) of the first row of a sender's `spikes_sent`."""
    phases = schedule_for(net, mode).phases
    if sender in POPULATIONS:
        return RING_COUNTED_FROM
    if sender == IMAGES:
        return phases[layer_order(net, mode)[0]] - 1
    if sender in (FEEDBACK, SILENCE):
        return phases[SELECTION] - (sender == SILENCE)
    if sender.startswith(f"{CLOCK}."):
        return phases[sender[len(CLOCK) + 1:]] - 1
    return phases[sender]


def count_run(net: NetFile, mode: str, samples: int, spikes: Mapping[str, np.ndarray],
              pixels: np.ndarray | None) -> list[LayerCount]:
    """Count a run of `samples` samples.

    Args:
        spikes: of every population, per timestep of the period and neuron, integers (P, n),
            summed over the samples (`GraphRun.counts`).
        pixels: of the graded input, `pixels_used`, or None.
    """
    order, layers = layer_order(net, mode), dict(net.named_layers())
    period = schedule_for(net, mode).period
    sent = spikes_sent(net, mode, samples, spikes, pixels)
    targets = [*order, *POPULATIONS]
    synops = {name: np.zeros(period, np.int64) for name in targets}
    synapses = dict.fromkeys(targets, 0)
    for connection in connections(net, mode):
        target = SELECTION if connection.target == FEEDBACK else connection.target
        synops[target] += sent[connection.source] @ connection.fan_out
        synapses[target] += connection.matrix.nnz

    def total(*names: str) -> np.ndarray:
        return sum((sent[n].sum(axis=1) for n in names if n in sent), np.zeros(period, np.int64))

    counts = []
    if pixels is not None:
        counts.append(LayerCount(IMAGES, "input", False, pixels.shape[1], 0, total(IMAGES),
                                 np.zeros(period, np.int64), 0))
    for name in targets:
        if name == SELECTION:
            neurons, part, out = (1 + net.loops) * net.latent, "latent", total(SELECTION, FEEDBACK)
        elif name in POPULATIONS:
            neurons, part, out = sent[name].shape[1], RANDOM_BITS, total(name)
        else:
            neurons, out = math.prod(layers[name].shape), total(name)  # the readout: none
            part = name.split(".")[0] if layers[name].neuron.spiking else "readout"
        counts.append(LayerCount(name, part, True, neurons, synapses[name], out, synops[name],
                                 neurons * period * samples))
    clocks = [f"{CLOCK}.{n}" for n in clocked(net, mode)] + [SILENCE] * net.loops
    neurons = sum(sent[n].shape[1] for n in clocks)
    if clocks:
        counts.append(LayerCount(CLOCK, "clock", True, neurons, 0, total(*clocks),
                                 np.zeros(period, np.int64), neurons * period * samples))
    return counts


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
    try:
        with np.load(path) as file:
            spikes = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run-lava writes it beside the images") from None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged ({error}); run run-lava again") from None
    return spikes, spikes.pop(IMAGES, None)
