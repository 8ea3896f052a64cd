"""Latents as the chip draws them: 1-of-k selection by threshold, and the random bits it needs.

Picking one of a channel's k candidate spikes at random is a Bernoulli draw with probability
n/k, n the number of candidates that fired. One threshold neuron per channel does it,

    z = 1[ n * w_zeta - R * w_random > theta ],   R uniform on b random bits,

with g = gcd(2^b, k), w_zeta = 2^b/g, w_random = k/g and theta half a unit of R, so that the
probability is n/k rounded to the nearest multiple of 2^-b (exact for k a power of two <= 2^b).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

import numpy as np


@dataclass(frozen=True)
class Selection:
    """The threshold neuron's integers for k candidates and b random bits."""

    k: int
    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.k <= 64:
            raise ValueError(f"k = {self.k}: expected 2 to 64 candidates per channel")
        if not 4 <= self.bits <= 12:
            raise ValueError(f"bits = {self.bits}: expected 4 to 12 random bits per channel")

    @property
    def zeta_weight(self) -> int:
        """Weight of each candidate spike."""
        return 2**self.bits // gcd(2**self.bits, self.k)

    @property
    def random_weight(self) -> int:
        """Weight of one unit of R; bit i of R weighs `random_weight * 2**i`."""
        return self.k // gcd(2**self.bits, self.k)

    @property
    def threshold(self) -> int:
        """theta, in units of the synaptic sum."""
        return self.random_weight // 2

    @property
    def silence_weight(self) -> int:
        """Weight that keeps the neuron quiet whatever its candidates do; 8 significant bits."""
        most = self.k * self.zeta_weight
        exponent = max(0, most.bit_length() - 8)
        return -(((most >> exponent) + 1) << exponent)

    @property
    def worst_sum(self) -> int:
        """Largest |synaptic sum| the neuron can see."""
        return (2**self.bits - 1) * self.random_weight - self.silence_weight

    def probability(self, n: int) -> Fraction:
        """P(z = 1 | n of k candidates fired), exactly."""
        draws = sum(n * self.zeta_weight - r * self.random_weight > self.threshold
                    for r in range(2**self.bits))
        return Fraction(draws, 2**self.bits)

    @property
    def worst_error(self) -> Fraction:
        """Largest |P(z = 1 | n) - n/k| over n = 0..k, exactly."""
        return max(abs(self.probability(n) - Fraction(n, self.k)) for n in range(self.k + 1))

    def select(self, zeta: np.ndarray, random: np.ndarray) -> np.ndarray:
        """z for candidate spikes `zeta` (B, C*k) bool and R `random` (B, C): bool (B, C)."""
        n = zeta.reshape(*random.shape, self.k).sum(axis=-1, dtype=np.int64)
        return n * self.zeta_weight - random * self.random_weight > self.threshold


@dataclass(frozen=True)
class HostBits:
    """Random bits made on the host (Philox, counter-based), until the chip draws its own.

    Sample i of a run always gets the same bits for the same seed, whatever the dilation, the
    number of samples or the order in which they run.
    """

    seed: int
    ticks: int
    channels: int
    bits: int

    def sample(self, index: int) -> np.ndarray:
        """Bits of sample `index`: uint8 (T, C, b), bit i of R at [..., i]."""
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, index, 0]))
        return generator.integers(0, 2, (self.ticks, self.channels, self.bits), dtype=np.uint8)

    def samples(self, first: int, count: int) -> np.ndarray:
        """Bits of `count` samples from `first` on: uint8 (count, T, C, b)."""
        return np.stack([self.sample(i) for i in range(first, first + count)])


def random_values(bits: np.ndarray) -> np.ndarray:
    """R from its bits: uint8 (..., b) to int64 (...)."""
    return (bits.astype(np.int64) << np.arange(bits.shape[-1])).sum(axis=-1)
