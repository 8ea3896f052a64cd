"""Synapses as explicit matrices, and as the even 8-bit pieces the chip stores them in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from hw_configs.files import UserError
from lava_models.net.latents import DrawRule
from lava_models.net.layers import Conv, ConvT, Layer


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


def subpixel(layer: ConvT) -> tuple[np.ndarray, int]:
    """A transposed convolution as a stride-1 one with stride^2 times the channels.

    Output stride * i + r gets tap a of input i + j where stride * j = r + padding - a. Returns the
    weights int32 (C_out, r_y, r_x, C_in, window, window), zeros where there is no tap, and the
    smallest j.
    """
    s, k, p = layer.stride, layer.kernel, layer.padding
    taps = [(r, a, (r + p - a) // s) for r in range(s) for a in range(k) if (r + p - a) % s == 0]
    low, high = min(j for *_, j in taps), max(j for *_, j in taps)
    c, o = layer.weight.shape[:2]
    window = np.zeros((o, s, s, c, high - low + 1, high - low + 1), np.int32)
    for r, a, i in taps:
        for q, b, j in taps:
            window[:, r, q, :, i - low, j - low] = layer.weight[:, :, a, b].T
    return window, low


def shared_kernel(layer: Conv | ConvT) -> tuple[np.ndarray, int, int]:
    """The layer as one of Lava's Conv processes: (weight (O, x, y, C_in), stride, padding).

    A transposed convolution becomes its sub-pixel form, O = (C_out, r_y, r_x): a pixel shuffle,
    which only renames neurons, makes the map of it. Lava convolves where torch correlates, hence
    the flip.

    Raises:
        UserError: the output is not exactly stride times the input, so that a kernel with equal
            padding on both sides cannot give it.
    """
    if layer.type == "conv":
        kernel, stride, padding = layer.weight, layer.stride, layer.padding
    else:
        if any(n != layer.stride * i for n, i in zip(layer.shape[1:], layer.input_shape[1:],
                                                     strict=True)):
            raise UserError(f"a transposed convolution from {layer.input_shape} to {layer.shape} "
                            "has no shared-weight form, which needs stride times the size; use "
                            "--convolutions unrolled")
        window, low = subpixel(layer)
        padding = max(-low, low + window.shape[-1] - 1)
        o, s, _, c, n, _ = window.shape
        kernel = np.zeros((o * s * s, c, 2 * padding + 1, 2 * padding + 1), np.int32)
        inside = slice(padding + low, padding + low + n)
        kernel[:, :, inside, inside] = window.reshape(-1, c, n, n)
        stride = 1
    return np.flip(kernel, (2, 3)).transpose(0, 3, 2, 1), stride, padding


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
    """Single-sign integers up to 32767 as 8-bit mantissas with exponents 0 to 7.

    Returns [(mantissas, exponent)], each of the shape of `weights`, the shifted mantissas adding
    up to the weights. A weight of at most 8 significant bits sits in one of the parts, so that a
    spike costs one synop there; others need a fine and a coarse synapse.

    Raises:
        ValueError: a weight is larger, or both signs occur (those need even mantissas).
    """
    size = np.abs(np.asarray(weights, dtype=np.int64))
    sign = -1 if np.any(np.asarray(weights) < 0) else 1
    if np.any(np.asarray(weights) * sign < 0) or size.max(initial=0) > 32767:
        raise ValueError(f"weights {np.min(weights)}...{np.max(weights)}: expected one sign, "
                         "at most 32767")
    lowest = np.minimum(size & -size, 128)  # the last bit that is set, or 2^7
    fine = np.where(size > 255 * lowest, size & 127, 0)  # of those that no exponent holds whole
    parts = []
    for exponent in range(8):
        whole = (size >> exponent <= 255) & (size % (1 << exponent) == 0)
        here = np.where(whole, size, fine if exponent == 0 else 0)
        if here.any():
            parts.append(((sign * (here >> exponent)).astype(np.int32), exponent))
            size = size - here
    return parts


def selection_synapses(selection: DrawRule, channels: int, silencers: int, spare: int = 0
                       ) -> Iterator[tuple[str, sparse.csr_matrix, int]]:
    """Synapses of one population of `channels` threshold neurons: (port, matrix, exponent).

    Ports as in processes.selection: zeta_in (C*k, or C of Thinning), bits_in (2 * C*b; `either`
    takes a bit's weight away, `both` gives it back), silence (silencers). The ring's last `spare`
    bits are not read.
    """
    per_channel = sparse.identity(channels, dtype=np.int32)

    def csr(matrix) -> sparse.csr_matrix:
        return sparse.csr_matrix(matrix, dtype=np.int32)

    candidates = np.full(selection.candidates, selection.zeta_weight)
    for mantissas, exponent in split_exponents(candidates):
        yield "zeta_in", csr(sparse.kron(per_channel, mantissas[None])), exponent
    for half, sign in (([1, 0], -1), ([0, 1], 1)):
        for mantissas, exponent in split_exponents(sign * selection.random_weights):
            of_half = sparse.kron(mantissas[None], per_channel)
            if spare:
                of_half = sparse.hstack([of_half, sparse.csr_matrix((channels, spare))])
            yield "bits_in", csr(sparse.kron([half], of_half)), exponent
    if not silencers:
        return
    silence = np.full((channels, silencers), selection.silence_weight)
    for mantissas, exponent in split_exponents(silence):
        yield "silence", csr(mantissas), exponent
