"""Unrolled matrices against torch's convolutions; pieces add up to the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lava_models import Conv, ConvT, Lif
from lava_models.synapse import split_bias, unroll

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
