"""Unrolled matrices against torch's convolutions; pieces add up to the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lava_models import Conv, ConvT, Lif, UserError
from lava_models.net.synapse import shared_kernel, split_bias, unroll

LIF = Lif(3072, 10)


@pytest.mark.parametrize(("stride", "output_padding", "size"), [(1, 0, 5), (2, 1, 4), (2, 0, 5)])
def test_transposed_convolution(stride, output_padding, size):
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 10, (3, 4, 3, 3)).astype(np.int32)
    layer = ConvT(weight, np.zeros(4, np.int32), LIF, (3, size, size), stride, 1, output_padding)
    x = rng.integers(0, 2, (3, size, size))
    wanted = F.conv_transpose2d(torch.tensor(x)[None].double(), torch.tensor(weight).double(),
                                stride=stride, padding=1, output_padding=output_padding)[0]
    assert layer.shape == tuple(wanted.shape)
    assert np.array_equal(unroll(layer) @ x.ravel(), wanted.numpy().ravel())


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution(stride):
    rng = np.random.default_rng(1)
    weight = rng.integers(-9, 10, (4, 3, 3, 3)).astype(np.int32)
    layer = Conv(weight, np.zeros(4, np.int32), LIF, (3, 8, 6), stride, 1)
    x = rng.integers(0, 2, (3, 8, 6))
    wanted = F.conv2d(torch.tensor(x)[None].double(), torch.tensor(weight).double(),
                      stride=stride, padding=1)[0]
    assert layer.shape == tuple(wanted.shape)
    assert np.array_equal(unroll(layer) @ x.ravel(), wanted.numpy().ravel())


def test_every_even_bias_splits_exactly():
    bias = np.arange(-4094, 4096, 2, dtype=np.int32)
    parts = split_bias(bias)
    assert np.array_equal(sum(w << e for w, e in parts), bias)
    assert all(np.abs(w).max() <= 254 and not (w % 2).any() for w, _ in parts)


def test_zero_bias_needs_no_synapse():
    assert split_bias(np.zeros(3, np.int32)) == []


@pytest.mark.parametrize(("stride", "kernel", "padding", "output_padding"), [
    (1, 3, 1, 0), (2, 3, 1, 1), (2, 2, 0, 0), (2, 4, 1, 0), (3, 3, 0, 0), (3, 5, 1, 0)])
def test_shared_kernel_is_the_transposed_convolution(stride, kernel, padding, output_padding):
    """Flipped back, correlated by torch and shuffled: the unrolled matrix's sums."""
    rng = np.random.default_rng(0)
    layer = ConvT(rng.integers(-9, 10, (3, 2, kernel, kernel)).astype(np.int32),
                  np.zeros(2, np.int32), LIF, (3, 4, 5), stride, padding, output_padding)
    weight, step, pad = shared_kernel(layer)
    x = rng.integers(0, 2, (3, 4, 5))
    correlated = F.conv2d(torch.tensor(x)[None].double(), torch.tensor(
        np.flip(weight.transpose(0, 3, 2, 1), (2, 3)).copy()).double(), stride=step, padding=pad)
    shuffled = F.pixel_shuffle(correlated, stride)[0]
    assert np.array_equal(unroll(layer) @ x.ravel(), shuffled.numpy().ravel())


def test_shared_kernel_needs_whole_multiples():
    layer = ConvT(np.ones((1, 1, 3, 3), np.int32), np.zeros(1, np.int32), LIF, (1, 4, 4), 2, 1, 0)
    with pytest.raises(UserError, match=r"from \(1, 4, 4\) to \(1, 7, 7\) has no shared-weight"):
        shared_kernel(layer)
