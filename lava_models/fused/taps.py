"""Synaptic sums, tap by tap: every tap of a kernel is one product of matrices over a whole map.

Maps are cut into phase planes, so that a stride is a choice of plane and every tap a shift within
one:

    out[plane r][i] += W[tap] @ in[plane q][i + shift]

A convolution of stride s reads s planes per axis and writes one, a transposed one the other way
round; each synapse is multiplied once (a sub-pixel window multiplies 16 taps where a kernel of 3
has 9). A plane is padded with zeros and flat, so that a shift is an offset and no window is
copied. Batch last, (n, B).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from lava_models.net.layers import Conv, ConvT, Dense, Layer

ROWS = 32
"""Rows that the products of several taps of few channels are stacked to."""
COLUMNS = 2048
"""Columns of a product that are multiplied and added up at a time."""


def make_taps(layer: Layer) -> DenseTaps | Taps:
    """The sums of a layer."""
    return DenseTaps(layer) if isinstance(layer, Dense) else Taps(layer)


class DenseTaps:
    """Sums of a dense layer: uint8, bool or int32 (n_in, B) -> float32 (n_out, B); no bias."""

    def __init__(self, layer: Dense) -> None:
        self.weight = layer.weight.astype(np.float32)

    @property
    def bytes_per_sample(self) -> int:
        """Float32 values that a lane takes."""
        return 4 * sum(self.weight.shape)

    def start(self, batch: int) -> None:
        """Make room for a batch."""

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        return self.weight @ signal.astype(np.float32)


@dataclass(frozen=True)
class _Axis:
    """How one axis of a map is cut, and what a kernel does along it."""

    taps: tuple[tuple[int, int, int, int], ...]
    """(tap, plane read, plane written, shift >= 0)."""
    read: int
    """Planes of the input."""
    written: int
    """Planes of the output."""
    low: int
    """Zeros before an input plane (negative: what it leaves out)."""
    grid: int
    """Places of an output plane."""

    @property
    def length(self) -> int:
        """Places of a padded input plane."""
        return self.grid + max(shift for *_, shift in self.taps)

    @classmethod
    def of(cls, layer: Conv | ConvT, axis: int) -> _Axis:
        s, p, size = layer.stride, layer.padding, layer.shape[1 + axis]
        if isinstance(layer, Conv):  # output i sees input s * i + tap - p
            taps = [(a, (a - p) % s, 0, (a - p) // s) for a in range(layer.kernel)]
            read, written = s, 1
        else:  # output s * i + r sees input i + (r + p - tap) / s
            taps = [(a, 0, r, (r + p - a) // s) for r in range(s) for a in range(layer.kernel)
                    if (r + p - a) % s == 0]
            read, written = 1, s
        low = min(shift for *_, shift in taps)
        return cls(tuple((a, q, r, shift - low) for a, q, r, shift in taps), read, written, -low,
                   math.ceil(size / written))


class Taps:
    """Sums of a convolution, as DenseTaps'."""

    def __init__(self, layer: Conv | ConvT) -> None:
        self.layer, self.axes = layer, (_Axis.of(layer, 0), _Axis.of(layer, 1))
        kernels = layer.weight if isinstance(layer, Conv) else layer.weight.swapaxes(0, 1)
        width, self.channels = self.axes[1].length, kernels.shape[0]
        by_plane: dict[tuple[int, int], list] = {}
        for (a, q, r, dy), (b, p, t, dx) in itertools.product(*(x.taps for x in self.axes)):
            weight = kernels[:, :, a, b].astype(np.float32)
            by_plane.setdefault((q, p), []).append((weight, (r, t), dy * width + dx))
        each = max(1, ROWS // self.channels)
        self.products = [
            (plane, np.concatenate([w for w, *_ in taps[i:i + each]]),
             [place for _, *place in taps[i:i + each]])
            for plane, taps in by_plane.items() for i in range(0, len(taps), each)]
        """(plane read, stacked weights, [(plane written, offset)])."""

    @property
    def bytes_per_sample(self) -> int:
        """Float32 planes read and written, one product, and the sums in the neurons' order."""
        (y, x), out = self.axes, self.layer.shape[0]
        place, rows = y.length * x.length, max(len(w) for _, w, _ in self.products)
        planes = self.layer.input_shape[0] * y.read * x.read + out * y.written * x.written
        return 4 * (place * (planes + rows) + math.prod(self.layer.shape))

    def start(self, batch: int) -> None:
        """Make room for a batch."""
        (y, x), channels, out = self.axes, self.layer.input_shape[0], self.layer.shape[0]
        self.batch = batch
        self.read = {key: np.zeros((channels, y.length, x.length, batch), np.float32)
                     for key in itertools.product(range(y.read), range(x.read))}
        self.count = ((y.grid - 1) * x.length + x.grid) * batch
        self.written = {key: np.zeros((out, y.grid * x.length * batch), np.float32)
                        for key in itertools.product(range(y.written), range(x.written))}
        self.sums = np.empty((*self.layer.shape, batch), np.float32)

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        self._cut(signal.reshape(*self.layer.input_shape, self.batch))
        # Stacked taps overlap: the few channels that are stacked go in one piece.
        piece = COLUMNS if self.channels >= ROWS else self.count
        for begin in range(0, self.count, piece):
            self._multiply(begin, min(begin + piece, self.count))
        return self._joined()

    def _multiply(self, begin: int, end: int) -> None:
        """Columns `begin` ... `end` - 1 of every plane written; what is added up stays in the
        cache."""
        begun = set()
        for plane, weight, places in self.products:
            flat = self.read[plane].reshape(len(self.read[plane]), -1)
            shifts = [offset * self.batch for _, offset in places]
            first = begin + min(shifts)
            product = weight @ flat[:, first:end + max(shifts)]
            for i, ((target, _), shift) in enumerate(zip(places, shifts)):
                at = begin + shift - first
                part = product[i * self.channels:(i + 1) * self.channels, at:at + end - begin]
                sums = self.written[target][:, begin:end]
                if target in begun:
                    np.add(sums, part, out=sums)
                else:
                    np.copyto(sums, part)
                    begun.add(target)

    def _cut(self, maps: np.ndarray) -> None:
        """Spread maps (C, H, W, B) over the padded planes."""
        (y, x), (_, height, width) = self.axes, self.layer.input_shape
        for (q, p), plane in self.read.items():
            rows, at_y = _inside(q, y, height)
            columns, at_x = _inside(p, x, width)
            plane[:, at_y, at_x] = maps[:, rows, columns]

    def _joined(self) -> np.ndarray:
        """Interleave the planes written: float32 (n_out, B). One that no tap reaches stays 0."""
        y, x = self.axes
        _, height, width = self.layer.shape
        for (r, t), plane in self.written.items():
            part = self.sums[:, r::y.written, t::x.written]
            rows, columns = part.shape[1:3]
            shaped = plane.reshape(len(plane), y.grid, x.length, self.batch)
            part[:] = shaped[:, :rows, :columns]
        return self.sums.reshape(-1, self.batch)


def _inside(plane: int, axis: _Axis, size: int) -> tuple[slice, slice]:
    """Of one plane: the entries of an input axis of `size` that it holds, and where they lie."""
    # Place i of the plane is entry read * (i - low) + plane of the axis.
    first = max(0, axis.low)
    begin = axis.read * (first - axis.low) + plane
    count = max(0, min(axis.length - first, -(-(size - begin) // axis.read)))
    return slice(begin, begin + axis.read * count, axis.read) if count else slice(0, 0), \
        slice(first, first + count)
