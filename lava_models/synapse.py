"""Synapses as explicit matrices, and as the even 8-bit pieces the chip stores them in."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from lava_models.netfile import Conv, ConvT, Layer


def unroll(layer: Layer) -> sparse.csr_matrix:
    """The layer's synapses as int32 (n_out, n_in), maps flattened in (C, H, W) order."""
    if layer.type == "dense":
        return sparse.csr_matrix(layer.weight)
    return _unroll_conv(layer) if isinstance(layer, Conv) else _unroll_conv_transposed(layer)


def _unroll_conv(layer: Conv) -> sparse.csr_matrix:
    # Seen from its output, a convolution is a transposed one with the two ends exchanged.
    mirrored = ConvT(layer.weight, layer.bias, layer.neuron, layer.shape, layer.stride,
                     layer.padding, 0)
    return _unroll_conv_transposed(mirrored, layer.input_shape).T.tocsr()


def _unroll_conv_transposed(layer: ConvT, shape: tuple[int, int, int] | None = None):
    """Output (o, stride*i - padding + a) gets weight[c, o, a] from input (c, i)."""
    shape = shape or layer.shape
    n_in, n_out = int(np.prod(layer.input_shape)), int(np.prod(shape))
    c, o, a, b = np.nonzero(layer.weight)
    values = layer.weight[c, o, a, b]
    i, j = (grid.ravel()[:, None] for grid in np.indices(layer.input_shape[1:]))
    y, x = layer.stride * i - layer.padding + a, layer.stride * j - layer.padding + b
    inside = (y >= 0) & (y < shape[1]) & (x >= 0) & (x < shape[2])
    rows = (o * shape[1] + y) * shape[2] + x
    columns = (c * layer.input_shape[1] + i) * layer.input_shape[2] + j
    data = np.broadcast_to(values, inside.shape)[inside]
    return sparse.csr_matrix((data, (rows[inside], columns[inside])), shape=(n_out, n_in),
                             dtype=np.int32)


def neuron_bias(layer: Layer) -> np.ndarray:
    """The per-channel bias spread over the map: int32 (n_out,)."""
    return np.repeat(layer.bias, int(np.prod(layer.shape[1:], dtype=int)))


def split_bias(bias: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """An even 13-bit bias as [(weights, exponent)], sum(weights << exponent) == bias.

    A fine synapse and, where needed, a coarse one: even weights in [-254, 254] each.
    """
    coarse = 2 * np.round(bias / 128).astype(np.int32)
    coarse[np.abs(bias) <= 254] = 0
    fine = bias - (coarse << 6)
    return [(w, e) for w, e in ((fine, 0), (coarse, 6)) if w.any()]


def split_exponents(weights: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Single-sign integers of any size as 8-bit mantissas: [(mantissas, exponent)], same shape.

    Every weight sits in exactly one of the parts, so a spike still costs one synop each.

    Raises:
        ValueError: a weight has more than 8 significant bits.
    """
    parts, rest = [], np.asarray(weights, dtype=np.int64)
    exponent = 0
    while rest.any():
        here = np.where((np.abs(rest) >> exponent <= 255) & (rest % (1 << exponent) == 0), rest, 0)
        if here.any():
            parts.append(((here >> exponent).astype(np.int32), exponent))
            rest = rest - here
        exponent += 1
        if exponent > 16:
            raise ValueError(f"weights {np.unique(rest[rest != 0])} need more than 8 bits")
    return parts
