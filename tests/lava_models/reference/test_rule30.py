"""The ring of random bits: the rule, its start, its wiring."""

from __future__ import annotations

import numpy as np
import pytest

from lava_models import ChipBits
from lava_models.net.ring import GAP, MASK, STRIDE, Ring, random_bits, ring_synapses
from lava_models.net.schedule import Schedule


def _schedule(dilation: int, ticks: int = 8) -> Schedule:
    return Schedule(ticks, 4 // dilation, dilation, {})


def test_it_is_rule_30():
    """The eight neighbourhoods, and the pattern that grows from one cell (Wolfram 1983)."""
    ring = Ring(64)
    cells = np.zeros(ring.cells, bool)
    cells[100] = True
    for row in ("111", "11001", "1101111", "110010001", "11011110111"):
        cells = ring.step(cells)
        half = len(row) // 2
        assert "".join(str(int(c)) for c in cells[100 - half:101 + half]) == row
    rng = np.random.default_rng(0)
    cells = rng.random((3, ring.cells)) < 0.5
    wanted = np.roll(cells, 1, axis=1) ^ (cells | np.roll(cells, -1, axis=1))
    assert np.array_equal(ring.step(cells), wanted)


@pytest.mark.parametrize("bits", [16, 256, 1024, 1536])
def test_wiring(bits):
    """N is prime; each bit has a cell of its own; no two bits are near each other in both cells."""
    ring = Ring(bits)
    assert all(ring.cells % d for d in range(2, int(ring.cells**0.5) + 1))
    own, mask = ring.pairs
    assert len(set(own)) == bits
    assert own.max() + GAP < mask.min()
    assert ring.cells - mask.max() > GAP
    apart = np.arange(1, bits)
    in_mask = STRIDE * apart % MASK
    in_mask = np.minimum(in_mask, MASK - in_mask)
    assert np.maximum(apart, in_mask).min() >= min(STRIDE, bits)


def test_synapses_compute_rule_and_bits():
    """Thresholded sums of the matrices give the three populations; weights the chip can hold."""
    ring = Ring(48)
    to_rule, to_cells, to_bits = ring_synapses(ring)
    cells = np.random.default_rng(0).random(ring.cells) < 0.5
    rule = to_rule @ cells.astype(int) > 2
    assert np.array_equal(rule, ring.rule(cells))
    assert np.array_equal(to_cells @ rule.astype(int) > 1, ring.step(cells))
    assert np.array_equal(to_bits @ cells.astype(int) > 1, ring.observe(cells))
    assert not np.any(to_cells.data % 2)  # mixed signs: even only
    for matrix in (to_rule, to_cells, to_bits):
        assert np.abs(matrix).sum(axis=1).max() * 64 < 4096  # dv = 4095 leaves nothing of it


def test_observed_bits_are_the_xor():
    ring = Ring(12)
    cells = np.random.default_rng(0).random((5, ring.cells)) < 0.5
    bits = random_bits(ring.observe(cells), channels=3)
    assert bits.shape == (5, 3, 4)
    for channel in range(3):
        for i in range(4):
            own, mask = ring.pairs[:, i * 3 + channel]
            assert np.array_equal(bits[:, channel, i], cells[:, own] ^ cells[:, mask])


def test_only_constant_states_die():
    """N coprime to 6: the constant states lead to all zeros and have no other predecessors. Shown
    for every state of small rings; on a ring of 9 cells, a state with period 3 dies too."""
    for n in (5, 7, 11, 13):
        states = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
        after = np.roll(states, 1, axis=1) ^ (states | np.roll(states, -1, axis=1))
        dying = ~after.any(axis=1) | after.all(axis=1)
        assert dying.sum() == 2 and dying[0] and dying[-1]
    period_3 = np.tile([1, 0, 0], 3).astype(bool)
    assert (np.roll(period_3, 1) ^ (period_3 | np.roll(period_3, -1))).all()


def test_a_constant_digest_is_drawn_again(monkeypatch):
    import hashlib

    from lava_models.net import ring

    class Digest:
        def __init__(self, name):
            self.name = name

        def digest(self, size):
            if b"attempt 0" in self.name:
                return bytes(size)
            return b"\xff" * size if b"attempt 1" in self.name else real(self.name).digest(size)

    real = hashlib.shake_256
    monkeypatch.setattr(ring.hashlib, "shake_256", Digest)
    start = Ring(16).start(0, 0)
    assert start.any() and not start.all()


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_no_stream_is_dead(dilation):
    """Seeds 0 to 63: every bit of every channel takes both values within 64 ticks."""
    for seed in range(64):
        bits = ChipBits(8, 6, _schedule(dilation), 5, seed).samples(0, 8).reshape(64, -1)
        ones = bits.sum(axis=0)
        assert ones.min() > 0 and ones.max() < 64


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_samples_replay_in_any_order(dilation):
    """Sample i has the same bits alone, in a batch, and from a ring started at its timestep."""
    schedule = _schedule(dilation, ticks=7)
    source = ChipBits(4, 5, schedule, 5, 9)
    together = source.samples(0, 6)
    assert np.array_equal(together[3:5], source.samples(3, 2))
    assert np.array_equal(together[1], ChipBits(4, 5, schedule, 5, 9).samples(1, 1)[0])
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(together, ChipBits(4, 5, schedule, 5, 10).samples(0, 6))
    first, second = source.start(4)
    ring = source.ring
    at = dict(source.rasters(4, 12))["random_bits.cells"]
    assert np.array_equal(at[0], first) and np.array_equal(at[1], second)
    assert np.array_equal(at[2], ring.step(first)) and np.array_equal(at[3], ring.step(second))


def test_going_back_and_forth(monkeypatch):
    """Cells at any timestep, in any order, are those of a plain walk."""
    from lava_models.reference import rule30

    monkeypatch.setattr(rule30, "CHECKPOINT", 8)
    source = ChipBits(4, 5, _schedule(1), 5, 9)
    cells = [source.ring.start(9, 1), source.ring.start(9, 0)]
    for _ in range(98):
        cells.append(source.ring.step(cells[-2]))
    for timestep in np.random.default_rng(0).permutation(100)[:60]:
        assert np.array_equal(source.cells_at(int(timestep) + 1), cells[timestep]), timestep


def test_one_stream_is_left_out_where_it_is_not_read():
    for dilation, running in ((1, (True, True)), (2, (True, False)), (4, (True, False))):
        starts = ChipBits(4, 5, _schedule(dilation), 5, 0).start(0)
        assert tuple(cells.any() for cells in starts) == running
