"""Synapses of a convolution per core and source neuron, counted by geometry, without a matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lava_models.cost.description import LayerDescription, Network


def convolution_reach(network: Network, layer: LayerDescription, core_of: np.ndarray, cores: int
                      ) -> Iterator[np.ndarray]:
    """Synapses that an input pixel of a convolution has on each core.

    Args:
        core_of: as LayerFit.core_of.

    Yields core by core int64 (groups, H_in, W_in), the same for all input channels of a group.
    """
    c, h, w = network.shape(layer.name)
    pixels, each = h * w, c // layer.groups * h * w
    by_core = np.argsort(core_of, kind="stable")
    ends = np.cumsum(np.bincount(core_of, minlength=cores))
    for neurons in np.split(by_core, ends[:-1]):
        here = np.bincount(neurons // each * pixels + neurons % pixels,
                           minlength=layer.groups * pixels)
        yield reach_of_pixels(network, layer, here.reshape(-1, h, w))


def convolution_synapses(network: Network, layer: LayerDescription) -> int:
    """Synapses of a convolution in all, were it unrolled."""
    c, h, w = network.shape(layer.name)
    inputs = network.shape(network.sources(layer)[0])[0]
    reach = reach_of_pixels(network, layer, np.full((1, h, w), c // layer.groups))
    return inputs * int(reach.sum())


def reach_of_pixels(network: Network, layer: LayerDescription, here: np.ndarray) -> np.ndarray:
    """Synapses of an input pixel where `here` (groups, H, W) counts the channels of each output
    pixel.

    Returns int64 (groups, H_in, W_in), the same for all input channels of a group.
    """
    _, height, width = network.shape(network.sources(layer)[0])
    (sy, sx), (py, px), (dy, dx) = layer.stride, layer.padding, layer.dilation
    reach = np.zeros((len(here), height, width), np.int64)
    rows, columns = (np.flatnonzero(here.any(axis=axis)) for axis in ((0, 2), (0, 1)))
    if not rows.size:
        return reach
    top, left = rows[0], columns[0]
    here = here[:, top:rows[-1] + 1, left:columns[-1] + 1]
    for a in range(layer.kernel[0]):
        for b in range(layer.kernel[1]):
            if layer.kind == "conv":  # input = output * stride - padding + tap * dilation
                y, x = top * sy - py + a * dy, left * sx - px + b * dx
                _add_strided(reach, here, (y, x), (sy, sx))
            else:  # output = input * stride - padding + tap
                y0, x0 = (-(-(n + p - t) // s) for n, p, t, s in
                          ((top, py, a, sy), (left, px, b, sx)))
                part = here[:, y0 * sy - py + a - top::sy, x0 * sx - px + b - left::sx]
                _add_strided(reach, part, (y0, x0), (1, 1))
    return reach


def _add_strided(to: np.ndarray, part: np.ndarray, first: tuple[int, int],
                 stride: tuple[int, int]) -> None:
    """Add the maps of `part` at every stride-th place from `first` on; what lies outside is left
    out."""
    low = [max(0, math.ceil(-f / s)) for f, s in zip(first, stride)]
    high = [min(n, -(-(size - f) // s)) for n, size, f, s in
            zip(part.shape[1:], to.shape[1:], first, stride)]
    if any(b <= a for a, b in zip(low, high)):
        return
    y, x = (slice(f + a * s, f + (b - 1) * s + 1, s) for f, a, b, s in
            zip(first, low, high, stride))
    to[:, y, x] += part[:, low[0]:high[0], low[1]:high[1]]
