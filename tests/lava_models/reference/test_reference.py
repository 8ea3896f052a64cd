"""The reference simulator's arithmetic, against plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_models import Conv, ConvT, Dense, HostBits, Lif, Reference, encode_images
from lava_models.net.synapse import neuron_bias, unroll
from lava_models.reference.simulator import LayerCell
from lava_models.reference.sums import make_sums


@given(st.integers(-(2**23) + 1, 2**23 - 1), st.integers(0, 4095), st.sampled_from([1, 2, 4]))
def test_leak_rounds_towards_zero(v, decay, dilation):
    silent = Lif(decay, 131071, spiking=False)
    cell = LayerCell(Dense(np.zeros((1, 1), np.int32), np.zeros(1, np.int32), silent), dilation)
    cell.start(1)
    cell.v[:] = v
    expected = v
    for _ in range(dilation):
        product = expected * int(cell.neurons.keep * 4096)
        expected = product // 4096 if product >= 0 else -(-product // 4096)
    assert cell.step(np.zeros((1, 1), bool))[0, 0] == expected


def test_fires_strictly_above_threshold():
    layer = Dense(np.array([[10], [12]], np.int32), np.zeros(2, np.int32), Lif(3072, 10))
    cell = LayerCell(layer, 1)
    cell.start(1)
    assert cell.step(np.ones((1, 1), bool)).tolist() == [[False], [True]]
    assert cell.v.tolist() == [[640], [0]]  # 10 * 64 stays, the one that fired is reset


@pytest.mark.parametrize("value", [254, -254])
def test_sums_are_exact_at_the_port_limit(value):
    """Sums of +-32766, the largest the file format admits, come out exact."""
    layer = Dense(np.full((3, 129), value, np.int32), np.zeros(3, np.int32), Lif(3072, 10))
    assert (_sums(layer, np.ones((129, 2), bool)) == 129 * value).all()


def _sums(layer, signal):
    sums = make_sums(layer)
    sums.start(signal.shape[1])
    return sums(signal) / 64


def test_convolutions_agree_with_unrolled_matrices(net_factory):
    rng = np.random.default_rng(0)
    for name, layer in net_factory(channels=3).named_layers():
        size = int(np.prod(layer.input_shape))
        top = 17 if name == "encoder.0" else 2
        signal = rng.integers(1 - top if top > 2 else 0, top, (size, 5))
        wanted = unroll(layer) @ signal + neuron_bias(layer)[:, None]
        assert np.array_equal(_sums(layer, signal), wanted), name


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolutions_of_any_shape(kernel, stride):
    """The sub-pixel form against the unrolled matrix, paddings and output paddings included."""
    rng = np.random.default_rng(kernel * 10 + stride)
    for padding in range(kernel):
        for output_padding in range(stride):
            layer = ConvT(rng.integers(-9, 10, (2, 3, kernel, kernel)).astype(np.int32),
                          rng.integers(-9, 10, 3).astype(np.int32), Lif(3072, 10), (2, 4, 5),
                          stride, padding, output_padding)
            if min(layer.shape) < 1:
                continue
            signal = rng.integers(0, 2, (40, 3))
            wanted = unroll(layer) @ signal + neuron_bias(layer)[:, None]
            assert np.array_equal(_sums(layer, signal), wanted), (padding, output_padding)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolutions_of_any_shape(kernel, stride):
    rng = np.random.default_rng(kernel * 10 + stride)
    for padding in range(kernel):
        layer = Conv(rng.integers(-9, 10, (3, 2, kernel, kernel)).astype(np.int32),
                     rng.integers(-9, 10, 3).astype(np.int32), Lif(3072, 10), (2, 6, 5), stride,
                     padding)
        signal = rng.integers(0, 2, (60, 3))
        wanted = unroll(layer) @ signal + neuron_bias(layer)[:, None]
        assert np.array_equal(_sums(layer, signal), wanted), padding


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
