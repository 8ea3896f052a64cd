"""Selection probabilities are exact; host bits replay."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lava_models import HostBits, Selection
from lava_models.latents import random_values
from lava_models.synapse import split_exponents


@pytest.mark.parametrize("k", [2, 4, 8, 16, 32, 64])
def test_exact_for_powers_of_two(k):
    assert Selection(k, max(4, k.bit_length() - 1)).worst_error == 0


@pytest.mark.parametrize("k", range(2, 65))
@pytest.mark.parametrize("bits", [4, 8])
def test_error_is_at_most_half_a_step(k, bits):
    selection = Selection(k, bits)
    assert selection.worst_error <= Fraction(1, 2 ** (bits + 1))
    assert selection.probability(0) == 0
    assert selection.probability(k) == 1


def test_select_is_the_stated_probability():
    """All 256 values of R, every count n: the draw agrees with `probability` exactly."""
    selection = Selection(20, 8)
    r = np.arange(256)[:, None]
    for n in range(21):
        zeta = np.zeros((256, 20), bool)
        zeta[:, :n] = True
        assert Fraction(int(selection.select(zeta, r).sum()), 256) == selection.probability(n)


@pytest.mark.parametrize(("k", "bits"), [(1, 8), (65, 8), (20, 3), (20, 13)])
def test_refuses_sizes(k, bits):
    with pytest.raises(ValueError, match="expected"):
        Selection(k, bits)


@pytest.mark.parametrize("k", [7, 20, 63])
def test_weights_fit_eight_bits_with_exponents(k):
    for bits in range(4, 13):
        s = Selection(k, bits)
        row = np.append(-s.random_weight * 2 ** np.arange(bits), s.silence_weight)
        parts = split_exponents(row)
        assert np.array_equal(sum(m.astype(int) << e for m, e in parts), row)
        assert all(np.abs(m).max() <= 255 for m, _ in parts)
        assert sum(np.count_nonzero(m) for m, _ in parts) == len(row)  # one synapse each


def test_host_bits_replay_per_sample():
    bits = HostBits(7, ticks=5, channels=3, bits=8)
    assert np.array_equal(bits.samples(2, 2)[1], bits.sample(3))
    assert not np.array_equal(bits.sample(0), bits.sample(1))
    assert not np.array_equal(bits.sample(0), HostBits(8, 5, 3, 8).sample(0))


def test_random_values_are_little_endian():
    assert random_values(np.array([[1, 0, 1]], np.uint8)).tolist() == [5]
