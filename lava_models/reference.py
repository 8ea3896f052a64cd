"""The integer reference simulator: the meaning of a model.net, tick by tick, in numpy.

Whatever runs the file (Lava on the CPU, fused or stock, or a chip) must give these spikes.
Any batch size; no Lava, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from lava_models.latents import Selection
from lava_models.netfile import Conv, ConvT, Layer, NetFile
from lava_models.schedule import (
    SELECTION,
    dilate_decay,
    latent_part,
    layer_order,
    schedule_for,
)
from lava_models.synapse import subpixel


def encode_images(net: NetFile, images: np.ndarray) -> np.ndarray:
    """Float images in [-1, 1] (B, C, H, W) to the graded spikes of the input: int32 (B, C*H*W)."""
    return np.round(images * net.input_scale).astype(np.int32).reshape(len(images), -1)


def decode_images(net: NetFile, voltage: np.ndarray) -> np.ndarray:
    """Readout voltages (B, C*H*W) to images in [-1, 1], float32 (B, C, H, W)."""
    return np.tanh(voltage / net.output_scale).astype(np.float32).reshape(-1, *net.image_shape)


@dataclass(frozen=True)
class Result:
    """What a run gives, for B samples."""

    voltage: np.ndarray
    """Readout voltages at tick T, int32 (B, C*H*W)."""
    spikes: dict[str, np.ndarray]
    """For every watched population: bool (B, T, n)."""


class Reference:
    """Runs batches of samples of one network in one mode.

    Args:
        net: the network.
        mode: "reconstruct" (encoder, posterior, decoder) or "generate" (prior, decoder).
    """

    def __init__(self, net: NetFile, mode: str) -> None:
        self.net, self.mode = net, mode
        self.schedule = schedule_for(net, mode)
        self.selection = Selection(net.k, net.random_bits)
        layers = dict(net.named_layers())
        self.order = layer_order(net, mode)
        self.cells = {n: LayerCell(layers[n], self.schedule.dilation) for n in self.order
                      if n != SELECTION}
        self.spiking = [n for n in self.order if n == SELECTION or self.cells[n].spiking]

    def run(self, bits: np.ndarray, images: np.ndarray | None = None, *,
            watch: Collection[str] | None = None,
            on_tick: Callable[[], None] = lambda: None) -> Result:
        """Run B samples side by side.

        Args:
            bits: random bits uint8 (B, T, C, b).
            images: graded input int32 (B, C*H*W); reconstruct mode only.
            watch: populations whose spikes are wanted (default: all).
            on_tick: called after every tick, for a progress bar.
        """
        net, batch = self.net, len(bits)
        first = f"{latent_part(self.mode)}.0"
        for cell in self.cells.values():
            cell.start(batch)
        latents = [np.zeros((net.latent, batch), bool)] * net.lag
        watched = [n for n in self.spiking if watch is None or n in watch]
        spikes = {n: np.empty((net.ticks, self._size(n), batch), bool) for n in watched}
        frames = None if images is None else np.ascontiguousarray(images.T)
        for tick in range(net.ticks):
            signal = frames
            for name in self.order:
                if name == SELECTION:
                    signal = self.selection.select(signal, bits[:, tick])
                    latents.append(signal)
                else:
                    if name == first:  # [x^E ; z], or z alone
                        z = latents[tick]
                        signal = z if signal is None else np.concatenate([signal, z])
                    signal = self.cells[name].step(signal)
                if name in spikes:
                    spikes[name][tick] = signal
            on_tick()
        return Result(np.ascontiguousarray(self.cells[self.order[-1]].v.T, np.int32),
                      {n: np.ascontiguousarray(s.transpose(2, 0, 1)) for n, s in spikes.items()})

    def _size(self, name: str) -> int:
        return self.net.latent if name == SELECTION else self.cells[name].size


class LayerCell:
    """One layer's synapses and membranes for a batch of B samples, batch last: (n, B).

    All values are integers, held in floats wide enough for them: synaptic sums times 64 stay
    below 2^22 (the 16-bit port, which netfile.check proves), their partial sums below 2^24, so
    float32 is exact and BLAS can take the sums; the leak's product has 36 bits, so membranes are
    float64. That they cannot leave 24 bits is proved there, too.
    """

    def __init__(self, layer: Layer, dilation: int) -> None:
        self.layer = layer
        self.spiking = layer.neuron.spiking
        self.keep = (4096 - dilate_decay(layer.neuron.decay, dilation)) / 4096
        self.dilation = dilation
        self.threshold = layer.neuron.threshold * 64
        self.size = math.prod(layer.shape)
        self.synapses = make_synapses(layer)
        self.batch = 0

    @property
    def bytes_per_sample(self) -> int:
        """Room a sample takes: membranes, spikes, and the synapses' columns and sums."""
        return 9 * self.size + self.synapses.bytes_per_sample

    def start(self, batch: int) -> None:
        """Begin with new samples: membranes at 0."""
        if batch != self.batch:
            self.batch = batch
            self.synapses.start(batch)
        self.v = np.zeros((self.size, batch))
        self._frame = self._sums = None

    def step(self, signal: np.ndarray) -> np.ndarray:
        """One tick: leak D times, add the wave, fire, reset.

        Args:
            signal: spikes bool or uint8, or graded input int32, (n_in, B).

        Returns:
            bool (n, B); the readout's voltages float64 (n, B).
        """
        sums = self._current(signal)
        fired = np.empty(self.v.shape, bool)
        # In pieces that stay in the cache: there are about a dozen passes over each.
        v, sums, out = self.v.reshape(-1), sums.reshape(-1), fired.reshape(-1)
        for start in range(0, len(v), PIECE):
            piece = v[start:start + PIECE]
            for _ in range(self.dilation):
                piece *= self.keep
                np.trunc(piece, out=piece)  # towards zero, as the chip rounds
            piece += sums[start:start + PIECE]
            if self.spiking:
                over = np.greater(piece, self.threshold, out=out[start:start + PIECE])
                np.copyto(piece, 0, where=over)
        return fired if self.spiking else self.v

    def _current(self, signal: np.ndarray) -> np.ndarray:
        """Synaptic sums and bias, times 64: float32 (n, B). An image that stays is summed once."""
        if signal.dtype != np.int32:
            return self.synapses(signal)
        if self._frame is None or not np.array_equal(signal, self._frame):
            self._frame, self._sums = signal.copy(), self.synapses(signal).copy()
        return self._sums


PIECE = 16384
"""Membranes updated at a time: 128 KiB."""


def make_synapses(layer: Layer) -> _Synapses:
    """The layer's sums as one matrix product per wave."""
    if layer.type == "dense":
        return _Synapses(layer)
    if layer.type == "conv":
        return _ConvSynapses(layer)
    few = layer.stride == 1 and layer.shape[0] < layer.input_shape[0]  # the readout
    return _TapSynapses(layer) if few else _ConvTSynapses(layer)


class _Synapses:
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
        return 4 * self._positions() * (columns + rows)

    def start(self, batch: int) -> None:
        """Make room for a batch."""
        self.batch = batch
        self.columns = np.ones((self.matrix.shape[1], self._positions() * batch), np.float32)
        self.out = np.empty((len(self.matrix), self.columns.shape[1]), np.float32)

    def _positions(self) -> int:
        """Places at which the matrix is applied."""
        return 1

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        self._spread(signal, self.columns[:-1])
        return self._gather(np.matmul(self.matrix, self.columns, out=self.out))

    def _spread(self, signal: np.ndarray, columns: np.ndarray) -> None:
        columns[:] = signal

    def _gather(self, out: np.ndarray) -> np.ndarray:
        return out.reshape(-1, self.batch)


class _ConvSynapses(_Synapses):
    """A column for every output pixel: the window it sees."""

    def _rows(self, layer: Conv) -> np.ndarray:
        return layer.weight.reshape(len(layer.weight), -1)

    def _positions(self) -> int:
        return math.prod(self.layer.shape[1:])

    def _spread(self, signal: np.ndarray, columns: np.ndarray) -> None:
        layer = self.layer
        (c, h, w), (_, oh, ow), k = layer.input_shape, layer.shape, layer.kernel
        columns = columns.reshape(c, k, k, oh, ow, self.batch)
        x = signal.reshape(c, h, w, self.batch)
        for a, (rows, y) in enumerate(_taps(h, oh, k, layer.stride, layer.padding)):
            for b, (cols, z) in enumerate(_taps(w, ow, k, layer.stride, layer.padding)):
                # What lies outside the image was never written; it must be 0, not 1.
                columns[:, a, b, rows, cols] = x[:, y, z]

    def start(self, batch: int) -> None:
        super().start(batch)
        self.columns[:-1] = 0


def _taps(size: int, out: int, k: int, stride: int, padding: int) -> Iterator[tuple[slice, slice]]:
    """For each tap along one axis: the outputs that see an input, and those inputs."""
    for tap in range(k):
        first = max(0, -(-(padding - tap) // stride))
        last = min(out - 1, (size - 1 + padding - tap) // stride)
        begin = first * stride + tap - padding
        yield slice(first, last + 1), slice(begin, begin + (last - first) * stride + 1, stride)


class _ConvTSynapses(_Synapses):
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

    def _positions(self) -> int:
        return math.prod(self.grid)

    def _spread(self, signal: np.ndarray, columns: np.ndarray) -> None:
        (c, h, w), (gh, gw), n = self.layer.input_shape, self.grid, self.window
        columns = columns.reshape(c, n, n, gh, gw, self.batch)
        x = signal.reshape(c, h, w, self.batch)
        for i, (rows, y) in enumerate(_taps(h, gh, n, 1, -self.low)):
            for j, (cols, z) in enumerate(_taps(w, gw, n, 1, -self.low)):
                columns[:, i, j, rows, cols] = x[:, y, z]

    def start(self, batch: int) -> None:
        super().start(batch)
        self.columns[:-1] = 0

    def _gather(self, out: np.ndarray) -> np.ndarray:
        s, (o, oh, ow), (gh, gw) = self.layer.stride, self.layer.shape, self.grid
        shuffled = out.reshape(o, s, s, gh, gw, self.batch).transpose(0, 3, 1, 4, 2, 5)
        whole = shuffled.reshape(o, gh * s, gw * s, self.batch)[:, :oh, :ow]
        return whole.reshape(o * oh * ow, self.batch)


class _TapSynapses(_Synapses):
    """Stride-1 transposed convolution to few channels: multiply by every tap, then add shifted.

    Better than windows of inputs where there are more channels in than out.
    """

    def _rows(self, layer: ConvT) -> np.ndarray:
        c, o, k, _ = layer.weight.shape
        return layer.weight.transpose(1, 2, 3, 0).reshape(o * k * k, c)

    def _bias(self, layer: ConvT) -> np.ndarray:
        bias = np.zeros((layer.shape[0], layer.kernel**2), np.int64)
        return bias.ravel()  # not per tap: see _gather

    def _positions(self) -> int:
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
