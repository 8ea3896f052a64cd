"""Random bits drawn on the chip: a Rule 30 ring of LIF neurons, masked by a part of itself.

A cell becomes left XOR (centre OR right), which two neurons compute from the ring and a third
puts together, so that a step takes two timesteps:

    any  = 1[left + centre + right >= 1]          (rule, first half)
    turn = 1[2 left + centre + right >= 3]        (rule, second half: left AND (centre OR right))
    cell = any AND NOT turn

Cells fire at odd timesteps or at even ones: two rings in one, which never meet. A dilation D of
2 or 4 reads one of them and only that one is started; D = 1 reads both in turn.

Why not read cells directly: each column alone is exactly i.i.d. for a uniformly random start
(the rule is left-permutive), over any window shorter than the light cone, but two columns are
correlated along one diagonal, x_i(t+m) with x_(i-m)(t), by -1/2, 1/4, -1/4, .16, -.08 ... for
m = 1, 2, ...; below .006 only from m = 13 on. So neighbours, and also cells with one or a few
between them, fail a test across channels. Bit j is therefore the XOR of a cell of its own and a
mask cell, chosen such that two bits that are near each other in one (less than STRIDE cells) are
far apart in the other: their correlation is a product of two of which one is next to nothing.

    R_j = x_j XOR x_(mask of j) ,  as  either AND NOT both  at the synapses of the reader

What a start needs: nothing but not being constant. On a ring whose size is coprime to 6 the
constant states have no other predecessors, so no other start ever dies; a prime size also rules
out starts that repeat around the ring. The seed is expanded by SHAKE-256.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

MASK, STRIDE = 257, 16
"""Mask cells, and how far apart the masks of neighbouring bits are. The lattice of distances
(d, STRIDE * d mod MASK) has no point nearer to 0 than 16 in both coordinates."""
GAP = 32
"""Unobserved cells between the two observed ranges."""
POPULATIONS = CELLS, RULE, BITS = ("random_bits.cells", "random_bits.rule", "random_bits.bits")
"""Neurons: N cells; N any + N turn; n either + n both."""


@dataclass(frozen=True)
class Ring:
    """The wiring of a ring that serves `bits` random bits at a time."""

    bits: int
    """n = C * b."""

    @cached_property
    def cells(self) -> int:
        """N, a prime."""
        size = self.bits + MASK + 2 * GAP
        while any(size % divisor == 0 for divisor in range(2, int(size**0.5) + 1)):
            size += 1
        return size

    @cached_property
    def pairs(self) -> np.ndarray:
        """The two cells behind each bit: int64 (2, n)."""
        own = np.arange(self.bits)
        return np.stack([own, self.bits + GAP + own * STRIDE % MASK])

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Neurons of the three POPULATIONS."""
        return self.cells, 2 * self.cells, 2 * self.bits

    def rule(self, cells: np.ndarray) -> np.ndarray:
        """`any` and `turn` from cells: bool (..., N) to (..., 2N)."""
        around = np.concatenate([cells[..., -1:], cells, cells[..., :1]], axis=-1)
        left, right = around[..., :-2], around[..., 2:]
        centre_or_right = cells | right
        return np.concatenate([left | centre_or_right, left & centre_or_right], axis=-1)

    def join(self, rule: np.ndarray) -> np.ndarray:
        """The next cells from `any` and `turn`: bool (..., 2N) to (..., N)."""
        return rule[..., :self.cells] & ~rule[..., self.cells:]

    def step(self, cells: np.ndarray) -> np.ndarray:
        """One step of Rule 30: bool (..., N)."""
        return self.join(self.rule(cells))

    def observe(self, cells: np.ndarray) -> np.ndarray:
        """`either` and `both` of each bit's two cells: bool (..., N) to (..., 2n)."""
        own, mask = cells[..., self.pairs[0]], cells[..., self.pairs[1]]
        return np.concatenate([own | mask, own & mask], axis=-1)

    def start(self, seed: int, stream: int) -> np.ndarray:
        """Cells a run starts from, bool (N,); never constant."""
        for attempt in range(256):
            name = f"rule 30, seed {seed}, stream {stream}, attempt {attempt}"
            digest = hashlib.shake_256(name.encode()).digest(-(-self.cells // 8))
            cells = np.unpackbits(np.frombuffer(digest, np.uint8), count=self.cells).astype(bool)
            if cells.any() and not cells.all():
                return cells
        raise AssertionError("SHAKE-256 gave 256 constant digests")


def ring_synapses(ring: Ring) -> tuple[sparse.csr_matrix, sparse.csr_matrix, sparse.csr_matrix]:
    """Synapses of a Rule 30 ring of N cells for n bits, all int32, thresholds aside:

    cells -> rule (2N, N), rule -> cells (N, 2N), cells -> bits (2n, N).
    """
    n, here = ring.cells, np.arange(ring.cells)
    left, right = np.roll(here, 1), np.roll(here, -1)
    # vth 2: 3 for each of the three, so that one suffices; 2 + 1, so that it takes the left one.
    rows = np.concatenate([here, here, here, n + here, n + here, n + here])
    columns = np.concatenate([left, here, right] * 2)
    to_rule = sparse.csr_matrix((np.repeat([3, 3, 3, 2, 1, 1], n), (rows, columns)), (2 * n, n),
                                dtype=np.int32)
    # vth 1
    to_cells = sparse.hstack([sparse.identity(n), -sparse.identity(n)], format="csr") * 2
    # vth 1: 2 from each of the two, so that one suffices; 1 from each, so that it takes both.
    bits = np.arange(ring.bits)
    rows = np.concatenate([bits, bits, ring.bits + bits, ring.bits + bits])
    to_bits = sparse.csr_matrix((np.repeat([2, 1], 2 * ring.bits),
                                 (rows, np.tile(ring.pairs.ravel(), 2))), (2 * ring.bits, n),
                                dtype=np.int32)
    return to_rule, to_cells.astype(np.int32), to_bits


def random_bits(observed: np.ndarray, channels: int, spare: int = 0) -> np.ndarray:
    """The bits behind `either` and `both`: bool (..., 2n) to uint8 (..., C, b).

    Bit i of channel c is number i * C + c: a channel's bits are C cells apart. The last `spare` are
    not among them (`spare_bits`).
    """
    half = observed.shape[-1] // 2
    bits = (observed[..., :half] & ~observed[..., half:])[..., :half - spare]
    bits = bits.reshape(*bits.shape[:-1], (half - spare) // channels, channels)
    return np.swapaxes(bits, -1, -2).astype(np.uint8)


def spare_bits(observed: np.ndarray, spare: int) -> np.ndarray:
    """The last bits behind `either` and `both`: bool (..., 2n) to bool (..., spare)."""
    half = observed.shape[-1] // 2
    return (observed[..., :half] & ~observed[..., half:])[..., half - spare:]
