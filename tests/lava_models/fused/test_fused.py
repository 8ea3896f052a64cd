"""The fused processes' own arithmetic: sums against the unrolled matrix, neurons against plain
integers, registers that overflow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lava_models.fused.cells import FusedDraw, make_cell
from lava_models.fused.taps import make_taps
from lava_models.net.layers import Conv, ConvT, Dense, Glif, Lif
from lava_models.net.populations import Draw, Neurons, Population
from lava_models.net.program import build_program
from lava_models.net.schedule import dilate_decay
from lava_models.net.synapse import unroll


def _convolutions():
    rng = np.random.default_rng(0)
    for kernel, stride, padding, more, height, width in itertools.product(
            (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (0, 1), (1, 2, 5), (3, 6)):
        if padding >= kernel or more >= stride:
            continue
        for out in (2, 40):  # stacked taps, and not
            shape, lif = (3, height, width), Lif(0, 1)
            weight = rng.integers(-9, 10, (out, 3, kernel, kernel)).astype(np.int32)
            none = np.zeros(out, np.int32)
            if not more and min(height, width) + 2 * padding >= kernel:
                yield Conv(weight, none, lif, shape, stride, padding)
            layer = ConvT(weight.swapaxes(0, 1), none, lif, shape, stride, padding, more)
            if min(layer.shape) > 0:
                yield layer


def test_sums_are_the_unrolled_matrix_s():
    """Kernels, strides, paddings and maps of all sizes, for spikes and integers, twice each."""
    rng, count = np.random.default_rng(1), 0
    for layer in _convolutions():
        taps, matrix = make_taps(layer), unroll(layer)
        taps.start(2)
        for low, high, kind in ((0, 2, np.uint8), (-99, 100, np.int32)):
            signal = rng.integers(low, high, (matrix.shape[1], 2)).astype(kind)
            assert np.array_equal(taps(signal), matrix @ signal.astype(np.int32)), layer
        count += 1
    assert count > 300


def _dense(neuron, n_out=300, n_in=40) -> Dense:
    rng = np.random.default_rng(2)
    return Dense(2 * rng.integers(-100, 100, (n_out, n_in)).astype(np.int32),
                 2 * rng.integers(-500, 500, n_out).astype(np.int32), neuron)


def _population(layer) -> Population:
    return Population("some.0", "some", Neurons(layer), layer.shape, 2)


def _cut(product: int) -> int:
    """/ 4096, towards zero."""
    return product // 4096 if product >= 0 else -(-product // 4096)


@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize("decay", [0, 819, 3072, 4095])
def test_lif_in_plain_integers(decay, dilation):
    layer = _dense(Lif(decay, 400))
    cell, rng = make_cell(_population(layer), (), dilation), np.random.default_rng(3)
    for _ in range(2):  # nothing is left of the sample before
        cell.start(2)
        v = [[0, 0] for _ in range(300)]
        for _ in range(5):
            x = rng.random((40, 2)) < 0.5
            spikes, sums = cell.step(x.view(np.uint8)), layer.weight @ x + layer.bias[:, None]
            for n, lane in itertools.product(range(300), range(2)):
                for _ in range(dilation):
                    v[n][lane] = _cut(v[n][lane] * (4096 - dilate_decay(decay, dilation)))
                v[n][lane] += 64 * int(sums[n, lane])
                assert spikes[n, lane] == (v[n][lane] > 64 * 400)
                v[n][lane] *= not spikes[n, lane]
            assert cell.v.tolist() == v
            assert 0 < spikes.mean() < 1


def test_gated_is_the_reference_s(gated_net_factory):
    """Two codes for one definition (the reference's is held to plain integers elsewhere)."""
    from lava_models.reference.simulator import LayerCell

    layer = gated_net_factory(ticks=6).posterior[1]
    assert isinstance(layer.neuron, Glif)
    ours, theirs = make_cell(_population(layer), (), 4), LayerCell(layer, 4)
    rng, fired = np.random.default_rng(2), 0
    ours.start(3)
    theirs.start(3)
    for _ in range(6):
        x = rng.random((10, 3)) < 0.6
        spikes = ours.step(x.view(np.uint8))
        assert np.array_equal(spikes, theirs.step(x)) and np.array_equal(ours.v, theirs.v)
        fired += spikes.sum()
    assert fired > 20


@pytest.mark.parametrize(("weight", "decay", "waves", "what"), [
    (250, 4095, 1, "synaptic sum"), (200, 0, 100, "membrane")])
def test_registers_that_overflow_are_an_error(weight, decay, waves, what):
    """In both arithmetics; Lava's ports would widen."""
    from lava_models.reference.simulator import LayerCell

    n_in = 140 if what == "synaptic sum" else 10
    layer = Dense(np.full((1, n_in), weight, np.int32), np.zeros(1, np.int32),
                  Lif(decay, 2**17 - 1, spiking=False))
    for cell in (make_cell(_population(layer), (), 1), LayerCell(layer, 1)):
        cell.start(1)
        with pytest.raises(OverflowError, match=what):
            for _ in range(waves):
                cell.step(np.ones((n_in, 1), np.uint8))


@pytest.mark.parametrize(("k", "bits"), [(4, 6), (5, 8), (13, 12)])
def test_draws_on_the_program_s_synapses(net_factory, k, bits):
    """Against what a draw means: n w_zeta - sum(bits w) > theta."""
    net = net_factory(k=k, random_bits=bits)
    program = build_program(net, "generate")
    drawn, rng = program.draws[0], np.random.default_rng(0)
    assert isinstance(drawn.kind, Draw)
    cell = FusedDraw(drawn.kind, tuple(program.into(drawn.name)))
    zeta = rng.random((net.latent * k, 500)) < 0.5
    random = rng.integers(0, 2, (500, net.latent, bits))
    either = random.transpose(2, 1, 0).reshape(bits * net.latent, 500)  # bit, then channel
    both = rng.integers(0, 2, either.shape)
    observed = np.concatenate([either | both, both])
    z = cell.step(zeta_in=zeta.view(np.uint8), bits_in=observed)
    random = (either | both) & ~both & 1
    random = random.reshape(bits, net.latent, 500).transpose(2, 1, 0)
    n = zeta.reshape(net.latent, k, 500).sum(1)
    selection = net.selection
    wanted = (n * selection.zeta_weight - (random @ selection.random_weights).T
              > selection.threshold)
    assert np.array_equal(z, wanted) and 0.1 < z.mean() < 0.9
