"""Selection probabilities are exact; host bits replay."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lava_models import HostBits, Selection
from lava_models.net.latents import PORT_MAX
from lava_models.net.synapse import selection_synapses, split_exponents


@pytest.mark.parametrize("k", [2, 4, 8, 16, 32, 64])
def test_exact_for_powers_of_two(k):
    assert Selection(k, max(4, k.bit_length() - 1)).worst_error == 0


@pytest.mark.parametrize("k", range(2, 65))
def test_every_k_and_b_fits_the_port(k):
    """At most half a step of 2^-b wrong where the plain integers fit, two steps elsewhere; never
    wrong for no candidate and for all of them."""
    for bits in range(4, 13):
        s = Selection(k, bits)
        odd = k // np.gcd(2**bits, k)
        plain = s.random_weights[0] == odd
        assert s.worst_error <= Fraction(1 if plain else 4, 2 ** (bits + 1))
        assert plain or odd * 2 ** (bits + 1) > PORT_MAX
        assert s.probability(0) == 0
        assert s.probability(k) == 1
        assert max(s.worst_sum, k * s.zeta_weight) <= PORT_MAX


@pytest.mark.parametrize(("k", "bits"), [(20, 8), (7, 4), (61, 9), (63, 12)])
def test_select_is_the_stated_probability(k, bits):
    """All 2^b values of the bits, every count n: the draw agrees with `probability` exactly."""
    selection = Selection(k, bits)
    values = np.arange(2**bits)[:, None, None] >> np.arange(bits) & 1  # (2^b, 1 channel, b)
    for n in range(k + 1):
        zeta = np.zeros((k, 2**bits), bool)
        zeta[:n] = True
        drawn = int(selection.select(zeta, values).sum())
        assert Fraction(drawn, 2**bits) == selection.probability(n)


@pytest.mark.parametrize(("k", "bits"), [(20, 8), (7, 4), (61, 9), (63, 12)])
def test_synapses_are_the_selection(k, bits):
    """The matrices of the chip's neurons give the same sums as the formula, silence included."""
    rng = np.random.default_rng(0)
    s, channels = Selection(k, bits), 3
    zeta, own, mask = (rng.random((channels, n)) < 0.5 for n in (k, bits, bits))
    # bit i of channel c is number i * C + c; `either`, then `both`
    observed = np.concatenate([(own | mask).T.ravel(), (own & mask).T.ravel()])
    silence = np.array([True, False])
    spikes = {"zeta_in": zeta.ravel(), "bits_in": observed, "silence": silence}
    got = np.zeros(channels, int)
    for port, matrix, exponent in selection_synapses(s, channels, 2):
        assert np.abs(matrix.data).max() <= 255
        assert matrix.data.min() >= 0 or matrix.data.max() <= 0  # one sign: odd weights are safe
        assert exponent <= 7
        got += (matrix @ spikes[port].astype(int)) << exponent
    wanted = zeta.sum(axis=1) * s.zeta_weight - (own ^ mask) @ s.random_weights + s.silence_weight
    assert np.array_equal(got, wanted)
    assert (got <= s.threshold).all()


@pytest.mark.parametrize(("k", "bits"), [(1, 8), (65, 8), (20, 3), (20, 13)])
def test_refuses_sizes(k, bits):
    with pytest.raises(ValueError, match="expected"):
        Selection(k, bits)


def test_split_exponents_adds_up():
    """Every weight up to 15 bits: one synapse where 8 significant bits do, else two."""
    weights = np.arange(32768)
    for sign in (1, -1):
        parts = split_exponents(sign * weights)
        assert np.array_equal(sum(m.astype(int) << e for m, e in parts), sign * weights)
        assert all(np.abs(m).max() <= 255 and 0 <= e <= 7 for m, e in parts)
        used = sum((m != 0).astype(int) for m, _ in parts)
        lowest = weights & -weights
        assert np.array_equal(used, np.where(weights > 255 * np.minimum(lowest, 128), 2,
                                             np.minimum(weights, 1)))
    for wrong in ([1, -1], [32768]):
        with pytest.raises(ValueError, match="expected one sign, at most 32767"):
            split_exponents(np.array(wrong))


def test_host_bits_replay_per_sample():
    bits = HostBits(7, ticks=5, channels=3, bits=8)
    assert np.array_equal(bits.samples(2, 2)[1], bits.sample(3))
    assert not np.array_equal(bits.sample(0), bits.sample(1))
    assert not np.array_equal(bits.sample(0), HostBits(8, 5, 3, 8).sample(0))
