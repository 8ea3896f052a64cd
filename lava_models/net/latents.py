"""Latents as the chip draws them: a random threshold per channel, and how often it errs.

Picking one of a channel's k candidate spikes at random is a Bernoulli draw with probability
n/k, n the number of candidates that fired. One threshold neuron per channel does it,

    z = 1[ n * w_zeta - sum_i(bit_i * w_i) > theta ],   b random bits.

With g = gcd(2^b, k), w_zeta = 2^b/g, w_i = 2^i * k/g and theta half of w_0 the probability is
n/k rounded to the nearest multiple of 2^-b (exact for k a power of two <= 2^b). Where that
overflows the neuron's 16-bit port (large b, and k with a large odd factor), the w_i are rounded
to the best integers that fit. `Selection.probability` says what comes out, exactly.

Poisson counts are drawn by the same neurons (`Thinning`): a spike at each of T ticks with chance
p = lambda / T, which arrives as the integer q = round(2^b p) in place of the candidates. Rates are
Selections of k = T, their candidates a channel's own T spikes; to generate, the sums of the prior's
last layer come in place of the candidates (`Clipped`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import gcd
from typing import ClassVar, NamedTuple

import numpy as np

from hw_configs import load_chip

MOST_THINNING_BITS = 15
"""2^15 - 1 is the largest sum of random bits that the port takes."""
PORT_MAX = load_chip().activation_max
"""Largest synaptic sum the neuron's signed 16-bit port takes."""


@dataclass(frozen=True)
class Selection:
    """The threshold neuron's integers for k candidates and b random bits."""

    k: int
    bits: int

    @property
    def candidates(self) -> int:
        """Spikes per channel that it picks from."""
        return self.k

    def __post_init__(self) -> None:
        if not 2 <= self.k <= 64:
            raise ValueError(f"k = {self.k}: expected 2 to 64 candidates per channel")
        if not 4 <= self.bits <= 12:
            raise ValueError(f"bits = {self.bits}: expected 4 to 12 random bits per channel")

    @property
    def zeta_weight(self) -> int:
        """Weight of each candidate spike."""
        return self._integers.zeta

    @property
    def random_weights(self) -> np.ndarray:
        """Weight of each random bit, to be subtracted: int64 (b,)."""
        return np.array(self._integers.random)

    @property
    def threshold(self) -> int:
        """theta, in units of the synaptic sum."""
        return self._integers.theta

    @property
    def silence_weight(self) -> int:
        """Weight that keeps the neuron quiet whatever its candidates do."""
        return self.threshold - self.k * self.zeta_weight

    @property
    def worst_sum(self) -> int:
        """Largest |synaptic sum| the neuron can see: all random bits and the silence."""
        return int(self.random_weights.sum()) - self.silence_weight

    @cached_property
    def _integers(self) -> _Integers:
        common = gcd(2**self.bits, self.k)
        unit = self.k // common
        exact = _Integers(2**self.bits // common, tuple(unit << i for i in range(self.bits)),
                          unit // 2)
        top = self.k * exact.zeta
        if sum(exact.random) + top - exact.theta <= PORT_MAX:
            return exact
        # Random bits and silence share the port, so that candidates may use half of it.
        most = PORT_MAX // 2 // self.k
        tries = (_Integers(zeta, tuple((self.k * zeta << i) >> self.bits for i in range(self.bits)),
                           theta)
                 for zeta in range(max(most - 8, 1), most + 1)
                 for theta in range(self.k * zeta >> self.bits))
        return min(tries, key=lambda integers: _errors(self, integers).max())

    def probability(self, n: int) -> Fraction:
        """P(z = 1 | n of k candidates fired), exactly."""
        return Fraction(int(_draws(self, self._integers)[n]), 2**self.bits)

    @property
    def worst_error(self) -> Fraction:
        """Largest |P(z = 1 | n) - n/k| over n = 0..k, exactly."""
        return Fraction(int(_errors(self, self._integers).max()), self.k * 2**self.bits)

    def select(self, zeta: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """z for candidate spikes `zeta` (C*k, B) and random `bits` (B, C, b): bool (C, B)."""
        n = zeta.reshape(-1, self.k, len(bits)).sum(axis=1, dtype=np.int64)
        return n * self.zeta_weight - (bits @ self.random_weights).T > self.threshold


@dataclass(frozen=True)
class Thinning:
    """z = 1[ q - sum_i(bit_i * 2^i) > 0 ]: a spike with chance q / 2^b exactly, 0 <= q < 2^b."""

    bits: int
    candidates: ClassVar[int] = 1
    zeta_weight: ClassVar[int] = 1
    threshold: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 4 <= self.bits <= MOST_THINNING_BITS:
            raise ValueError(f"bits = {self.bits}: expected 4 to {MOST_THINNING_BITS} random bits "
                             "per unit")

    @property
    def random_weights(self) -> np.ndarray:
        """As Selection's."""
        return 1 << np.arange(self.bits)

    def chances(self, rates: np.ndarray, ticks: int) -> np.ndarray:
        """q, int32, of expected counts in `ticks` ticks; more than 1 per tick is cut."""
        q = np.round(np.asarray(rates, np.float64) / ticks * 2**self.bits)
        return np.minimum(q, 2**self.bits - 1).astype(np.int32)

    def select(self, q: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """z for chances `q` int32 (C, B) and random `bits` (B, C, b): bool (C, B)."""
        return q > (bits @ self.random_weights).T


@dataclass(frozen=True)
class Clipped:
    """z = 1[ q - sum_i(bit_i * 2^i * w) > w/2 ], w = unit / 2^b: a spike with chance q / unit, cut
    to 0 ... 1, rounded to a multiple of 2^-b. q is any integer."""

    bits: int
    unit: int
    """q of chance 1, a multiple of 2^b."""
    candidates: ClassVar[int] = 1
    zeta_weight: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 4 <= self.bits <= 12 or self.unit < 1 or self.unit % 2**self.bits:
            raise ValueError(f"bits = {self.bits}, unit = {self.unit}: expected 4 to 12 random "
                             "bits per channel, and a multiple of 2^bits")

    @property
    def random_weights(self) -> np.ndarray:
        """As Selection's."""
        return (self.unit >> self.bits) << np.arange(self.bits)

    @property
    def threshold(self) -> int:
        """theta."""
        return (self.unit >> self.bits) // 2

    def select(self, q: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """z for sums `q` (C, B) and random `bits` (B, C, b): bool (C, B)."""
        return q - (bits @ self.random_weights).T > self.threshold


DrawRule = Selection | Thinning | Clipped


class _Integers(NamedTuple):
    zeta: int
    random: tuple[int, ...]
    theta: int


def _draws(selection: Selection, integers: _Integers) -> np.ndarray:
    """How many of the 2^b values of the bits give z = 1, for n = 0..k: int64 (k + 1,)."""
    sums = np.zeros(1, np.int64)
    for weight in integers.random:
        sums = np.concatenate([sums, sums + weight])
    n = np.arange(selection.k + 1)
    return np.searchsorted(np.sort(sums), n * integers.zeta - integers.theta, side="left")


def _errors(selection: Selection, integers: _Integers) -> np.ndarray:
    """|P - n/k| in units of 1 / (k * 2^b), for n = 0..k."""
    n = np.arange(selection.k + 1)
    return np.abs(_draws(selection, integers) * selection.k - (n << selection.bits))


@dataclass(frozen=True)
class HostBits:
    """Random bits of cryptographic quality made on the host (SHAKE-256): the standard that the
    chip's own (lava_models.reference.rule30) are tested against.

    Sample i of a run always gets the same bits for the same seed, whatever the dilation, the
    number of samples or the order in which they run.
    """

    seed: int
    ticks: int
    channels: int
    bits: int

    def sample(self, index: int) -> np.ndarray:
        """Bits of sample `index`: uint8 (T, C, b), bit i of R at [..., i]."""
        shape = self.ticks, self.channels, self.bits
        count = int(np.prod(shape))
        name = f"host bits, seed {self.seed}, sample {index}"
        digest = hashlib.shake_256(name.encode()).digest(-(-count // 8))
        return np.unpackbits(np.frombuffer(digest, np.uint8), count=count).reshape(shape)

    def samples(self, first: int, count: int) -> np.ndarray:
        """Bits of `count` samples from `first` on: uint8 (count, T, C, b)."""
        return np.stack([self.sample(i) for i in range(first, first + count)])

