"""The reference simulator's arithmetic, against plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_models import ConvT, Dense, HostBits, Lif, Reference, encode_images
from lava_models.reference import LayerCell, _apply, _matrix
from lava_models.synapse import unroll


@given(st.integers(-(2**23) + 1, 2**23 - 1), st.integers(0, 4095), st.sampled_from([1, 2, 4]))
def test_leak_rounds_towards_zero(v, decay, dilation):
    silent = Lif(decay, 131071, spiking=False)
    cell = LayerCell(Dense(np.zeros((1, 1), np.int32), np.zeros(1, np.int32), silent), dilation)
    cell.v = np.array([[v]], np.int32)
    expected = v
    for _ in range(dilation):
        product = expected * cell.keep
        expected = product // 4096 if product >= 0 else -(-product // 4096)
    assert cell.step(np.zeros((1, 1), bool))[0, 0] == expected


def test_fires_strictly_above_threshold():
    layer = Dense(np.array([[10], [12]], np.int32), np.zeros(2, np.int32), Lif(3072, 10))
    cell = LayerCell(layer, 1)
    cell.start(1)
    assert cell.step(np.ones((1, 1), bool)).tolist() == [[False, True]]
    assert cell.v.tolist() == [[640, 0]]  # 10 * 64 stays, the one that fired is reset


@pytest.mark.parametrize("value", [254, -254])
def test_sums_are_exact_at_the_port_limit(value):
    """Sums of +-32766, the largest the file format admits, come out exact."""
    layer = Dense(np.full((3, 129), value, np.int32), np.zeros(3, np.int32), Lif(3072, 10))
    out = _apply(layer, _matrix(layer), np.ones((2, 129), bool))
    assert (out == 129 * value).all()


def test_convolutions_agree_with_unrolled_matrices(net_factory):
    rng = np.random.default_rng(0)
    for name, layer in net_factory(channels=3).named_layers():
        size = int(np.prod(layer.input_shape))
        top = 17 if name == "encoder.0" else 2
        signal = rng.integers(1 - top if top > 2 else 0, top, (5, size))
        wanted = (unroll(layer) @ signal.T).T
        assert np.array_equal(_apply(layer, _matrix(layer), signal), wanted), name


def test_stride_one_padding_zero_transposed():
    layer = ConvT(np.arange(18, dtype=np.int32).reshape(1, 2, 3, 3), np.zeros(2, np.int32),
                  Lif(3072, 10), (1, 4, 5), 1, 0, 0)
    signal = np.ones((1, 20), bool)
    assert np.array_equal(_apply(layer, _matrix(layer), signal)[0], unroll(layer) @ signal[0])


def test_batch_does_not_matter(net_factory):
    net = net_factory()
    rng = np.random.default_rng(2)
    images = encode_images(net, rng.uniform(-1, 1, (6, 1, 8, 8)))
    bits = HostBits(1, net.ticks, net.latent, net.random_bits)
    together = Reference(net, "reconstruct").run(bits.samples(0, 6), images)
    for i in range(6):
        alone = Reference(net, "reconstruct").run(bits.samples(i, 1), images[i:i + 1])
        assert np.array_equal(alone.voltage[0], together.voltage[i])
        for name, spikes in alone.spikes.items():
            assert np.array_equal(spikes[0], together.spikes[name][i])
