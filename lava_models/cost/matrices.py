"""Matrices on cores: a layer whose synapses are lists per axon, split into consecutive neurons."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from hw_configs import CoreLimits
from lava_models.cost.description import LayerDescription, Network, Synapses
from lava_models.cost.reach import reach_of_pixels
from lava_models.cost.words import (
    BIAS_AXONS,
    HEADER_BITS,
    INDEX_BITS,
    STORED_BITS,
    WORD,
    CoreUse,
    Worst,
    channel_parts,
    no_core,
    words_of,
)


class Rows:
    """Consecutive neurons of a layer whose synapses are lists per axon."""

    def __init__(self, network: Network, layer: LayerDescription, before: list) -> None:
        self.network, self.layer = network, layer
        self.neurons, self.state = network.neurons(layer.name), layer.state_words
        channels = network.shape(layer.name)[0]
        self.axon_map = len(channel_parts(channels)) / channels if before else 1.0
        self.reached = sum(tile.cores for _, tile in before)
        self.unrolled = layer.kind in ("conv", "convT")
        self.groups = [] if self.unrolled else network.synapses(layer)
        self.bias_axons = BIAS_AXONS * layer.clocked
        sources = [network.by_name[s] for s in network.sources(layer) if s in network.by_name]
        self.by_words = layer.kind == "dense" and layer.density is None and not any(
            s.kind in ("conv", "convT") for s in sources)

    def use(self, chunk: int) -> list[CoreUse]:
        n = np.diff(np.append(np.arange(0, self.neurons, chunk), self.neurons))
        axons, words = np.zeros((2, len(n)), np.int64)
        for group in self.groups:
            bits = STORED_BITS.get(group.bits, group.bits) + INDEX_BITS
            if group.pattern is None:
                axons += group.axons
                words += group.axons * words_of(np.ceil(n * group.density).astype(np.int64), bits)
            else:
                reached = self._reached(group, chunk, len(n))
                axons += np.count_nonzero(reached, axis=0)
                words += np.where(reached, words_of(reached, bits), 0).sum(axis=0)
        if self.unrolled:
            for core, reached in enumerate(reach_of_rows(self.network, self.layer, chunk)):
                reached = reached[reached > 0]
                bits = STORED_BITS[self.layer.weight_bits[0]] + INDEX_BITS
                copies = self.network.shape(self.network.sources(self.layer)[0])[0]
                copies //= self.layer.groups
                axons[core] += copies * reached.size
                words[core] += copies * int(words_of(reached, bits).sum())
        words += self.bias_axons * words_of(n, STORED_BITS[8] + INDEX_BITS)
        axons += self.bias_axons
        mapped = np.ceil(n * self.axon_map).astype(np.int64)
        memory = -(-mapped * self.reached // 4)
        return [CoreUse(int(n_) * self.state, int(w), int(a), int(m), int(mem))
                for n_, w, a, m, mem in zip(n, words, axons, mapped, memory)]

    @staticmethod
    def _reached(group: Synapses, chunk: int, parts: int) -> np.ndarray:
        """Targets per axon and part: int64 (axons, parts)."""
        pattern = group.pattern
        axon = np.repeat(np.arange(pattern.shape[1]), np.diff(pattern.indptr))
        key = axon * parts + pattern.indices // chunk
        return np.bincount(key, minlength=pattern.shape[1] * parts).reshape(-1, parts)

    def split(self, worst: Worst, core: CoreLimits, where: str) -> int:
        """Neurons per core."""
        if self.by_words and max(map(worst, self.use(self.neurons)))[0] > 1:
            chunk = self._filling_words(worst, core)
            if chunk:
                return chunk
        parts = 1
        while True:
            chunk = math.ceil(self.neurons / parts)
            excess, column = max(map(worst, self.use(chunk)))
            if excess <= 1:
                return chunk
            if chunk == 1:
                raise no_core(where, (excess, column))
            parts = min(parts * math.ceil(excess), self.neurons)

    def _filling_words(self, worst: Worst, core: CoreLimits) -> int | None:
        """Neurons of which every axon fills the largest power of two of words that fits."""
        bits = max(STORED_BITS.get(g.bits, g.bits) for g in self.groups) + INDEX_BITS
        words = 1 << (core.synapse_words.value.bit_length() - 1)
        while words:
            chunk = (words * WORD - HEADER_BITS) // bits
            if 0 < chunk < self.neurons and max(map(worst, self.use(chunk)))[0] <= 1:
                return chunk
            words //= 2
        return None


def reach_of_rows(network: Network, layer: LayerDescription, chunk: int) -> Iterator[np.ndarray]:
    """`convolution_reach` of an unrolled convolution on cores of `chunk` neurons."""
    c, h, w = network.shape(layer.name)
    pixels = h * w
    begin = np.arange(layer.groups)[:, None] * (c // layer.groups * pixels)
    at = np.arange(pixels)
    for first in range(0, c * pixels, chunk):
        low, high = (np.clip(n, begin, begin + c // layer.groups * pixels)
                     for n in (first, first + chunk))
        # How many channels of each group and pixel are on the core: neurons low to high, channel
        # by channel.
        here = (high - 1 - at) // pixels - (low - 1 - at) // pixels
        yield reach_of_pixels(network, layer, here.reshape(-1, h, w))
