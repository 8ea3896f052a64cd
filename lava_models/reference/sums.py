"""Synaptic sums of a wave as one matrix product per layer, for a batch of samples side by side.

Batch last, (n, B): a product's output is then in the neurons' order, and what is copied to build
its input are contiguous rows. Where 15 % of the inputs fire, BLAS on all of them is 4 (one sample)
to 9 times (64) as fast as adding up the columns of those that did (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lava_models.net.layers import Conv, ConvT, Layer
from lava_models.net.synapse import subpixel


def make_sums(layer: Layer) -> Sums:
    """The layer's sums as one matrix product per wave."""
    if layer.type == "dense":
        return Sums(layer)
    if layer.type == "conv":
        return ConvSums(layer)
    few = layer.stride == 1 and layer.shape[0] < layer.input_shape[0]  # the readout
    return TapSums(layer) if few else ConvTSums(layer)


class Sums:
    """Sums of a wave times 64, (n_in, B) -> float32 (n_out, B); here of a dense layer.

    The matrix has a last column for the bias, the inputs a last row of ones.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.matrix = 64 * np.concatenate(
            [self._rows(layer), self._bias(layer)[:, None]], axis=1).astype(np.float32)

    def _rows(self, layer: Layer) -> np.ndarray:
        return layer.weight

    def _bias(self, layer: Layer) -> np.ndarray:
        return layer.bias

    @property
    def bytes_per_sample(self) -> int:
        """Float32 columns in, sums out, and the sums once more in the neurons' order."""
        columns, rows = self.matrix.shape[1], 2 * self.matrix.shape[0]
        return 4 * self.positions() * (columns + rows)

    def start(self, batch: int) -> None:
        """Make room for a batch."""
        self.batch = batch
        self.columns = np.zeros((self.matrix.shape[1], self.positions() * batch), np.float32)
        self.columns[-1] = 1
        self.out = np.empty((len(self.matrix), self.columns.shape[1]), np.float32)

    def positions(self) -> int:
        """Places at which the matrix is applied."""
        return 1

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        self._spread(signal, self.columns[:-1])
        return self._gather(np.matmul(self.matrix, self.columns, out=self.out))

    def _spread(self, signal: np.ndarray, columns: np.ndarray) -> None:
        columns[:] = signal

    def _gather(self, out: np.ndarray) -> np.ndarray:
        return out.reshape(-1, self.batch)


class ConvSums(Sums):
    """A column for every output pixel: the window it sees; what lies outside stays 0."""

    def _rows(self, layer: Conv) -> np.ndarray:
        return layer.weight.reshape(len(layer.weight), -1)

    def positions(self) -> int:
        return math.prod(self.layer.shape[1:])

    def _spread(self, signal: np.ndarray, columns: np.ndarray) -> None:
        layer = self.layer
        (c, h, w), (_, oh, ow), k = layer.input_shape, layer.shape, layer.kernel
        columns = columns.reshape(c, k, k, oh, ow, self.batch)
        x = signal.reshape(c, h, w, self.batch)
        for a, (rows, y) in enumerate(_taps(h, oh, k, layer.stride, layer.padding)):
            for b, (cols, z) in enumerate(_taps(w, ow, k, layer.stride, layer.padding)):
                columns[:, a, b, rows, cols] = x[:, y, z]


def _taps(size: int, out: int, k: int, stride: int, padding: int) -> Iterator[tuple[slice, slice]]:
    """For each tap along one axis: the outputs that see an input, and those inputs."""
    for tap in range(k):
        first = max(0, -(-(padding - tap) // stride))
        last = min(out - 1, (size - 1 + padding - tap) // stride)
        begin = first * stride + tap - padding
        yield slice(first, last + 1), slice(begin, begin + (last - first) * stride + 1, stride)


class ConvTSums(Sums):
    """Sub-pixel form: stride^2 output pixels per input position, each from the same small window of
    inputs, then a pixel shuffle (synapse.subpixel)."""

    def __init__(self, layer: ConvT) -> None:
        window, self.low = subpixel(layer)
        self.window = window.shape[-1]
        # Input positions that cover the output, which may be larger than stride * input.
        self.grid = tuple(-(-n // layer.stride) for n in layer.shape[1:])
        super().__init__(layer)

    def _rows(self, layer: ConvT) -> np.ndarray:
        return subpixel(layer)[0].reshape(layer.shape[0] * layer.stride**2, -1)

    def _bias(self, layer: ConvT) -> np.ndarray:
        return np.repeat(layer.bias, layer.stride**2)

    def positions(self) -> int:
        return math.prod(self.grid)

    def _spread(self, signal: np.ndarray, columns: np.ndarray) -> None:
        (c, h, w), (gh, gw), n = self.layer.input_shape, self.grid, self.window
        columns = columns.reshape(c, n, n, gh, gw, self.batch)
        x = signal.reshape(c, h, w, self.batch)
        for i, (rows, y) in enumerate(_taps(h, gh, n, 1, -self.low)):
            for j, (cols, z) in enumerate(_taps(w, gw, n, 1, -self.low)):
                columns[:, i, j, rows, cols] = x[:, y, z]

    def _gather(self, out: np.ndarray) -> np.ndarray:
        s, (o, oh, ow), (gh, gw) = self.layer.stride, self.layer.shape, self.grid
        shuffled = out.reshape(o, s, s, gh, gw, self.batch).transpose(0, 3, 1, 4, 2, 5)
        whole = shuffled.reshape(o, gh * s, gw * s, self.batch)[:, :oh, :ow]
        return whole.reshape(o * oh * ow, self.batch)


class TapSums(Sums):
    """Stride-1 transposed convolution to few channels: multiply by every tap, then add shifted.

    Better than windows of inputs where there are more channels in than out.
    """

    def _rows(self, layer: ConvT) -> np.ndarray:
        c, o, k, _ = layer.weight.shape
        return layer.weight.transpose(1, 2, 3, 0).reshape(o * k * k, c)

    def _bias(self, layer: ConvT) -> np.ndarray:
        bias = np.zeros((layer.shape[0], layer.kernel**2), np.int64)
        return bias.ravel()  # not per tap: see _gather

    def positions(self) -> int:
        return math.prod(self.layer.input_shape[1:])

    def _spread(self, signal: np.ndarray, columns: np.ndarray) -> None:
        columns.reshape(signal.shape)[:] = signal

    def _gather(self, out: np.ndarray) -> np.ndarray:
        layer = self.layer
        (_, h, w), (o, oh, ow), k = layer.input_shape, layer.shape, layer.kernel
        taps = out.reshape(o, k, k, h, w, self.batch)
        sums = np.empty((o, oh, ow, self.batch), np.float32)
        sums[:] = 64 * layer.bias[:, None, None, None]
        for a in range(k):  # output y gets tap a of input y + padding - a
            ys = slice(max(0, a - layer.padding), min(oh, h + a - layer.padding))
            for b in range(k):
                xs = slice(max(0, b - layer.padding), min(ow, w + b - layer.padding))
                sums[:, ys, xs] += taps[:, a, b,
                                        ys.start + layer.padding - a:ys.stop + layer.padding - a,
                                        xs.start + layer.padding - b:xs.stop + layer.padding - b]
        return sums.reshape(-1, self.batch)
