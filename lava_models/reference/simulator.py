"""The integer reference simulator: the meaning of a model.net, tick by tick, in numpy.

Whatever runs the file (Lava on the CPU, fused or stock, or a chip) must give these spikes.
Any batch size; no Lava, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from lava_models.net.layers import Layer
from lava_models.net.netfile import NetFile
from lava_models.net.schedule import SELECTION, latent_part, layer_order, schedule_for
from lava_models.reference.host_encoder import host_chances
from lava_models.reference.neurons import make_neurons
from lava_models.reference.sums import make_sums


def encode_images(net: NetFile, images: np.ndarray) -> np.ndarray:
    """Float images in [-1, 1] (B, C, H, W) to the graded spikes of the input: int32 (B, C*H*W), or
    (B, K) chances of Poisson latents."""
    if net.poisson is not None:
        return host_chances(net, images)
    return np.round(images * net.input_scale).astype(np.int32).reshape(len(images), -1)


def decode_images(net: NetFile, voltage: np.ndarray) -> np.ndarray:
    """Readout voltages (B, C*H*W) to images in [-1, 1], float32 (B, C, H, W)."""
    if net.output_offset is not None:
        image = np.clip(voltage / net.output_scale + net.output_offset, -1, 1)
        return image.astype(np.float32).reshape(-1, *net.image_shape)
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
        self.selection = net.selection
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
            images: graded input int32 of `encode_images`; reconstruct mode only.
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
        if frames is None and net.poisson is not None:
            frames = net.poisson.prior[:, None]  # constants on the chip
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
    """One layer's synapses and neurons for a batch of B samples, batch last: (n, B)."""

    def __init__(self, layer: Layer, dilation: int) -> None:
        self.neurons = make_neurons(layer, dilation)
        self.spiking, self.size = self.neurons.spiking, self.neurons.size
        self.sums = make_sums(layer)
        self.batch = 0

    @property
    def v(self) -> np.ndarray:
        """Membranes, integers in float64 (n, B)."""
        return self.neurons.v

    @property
    def bytes_per_sample(self) -> int:
        """Room a sample takes: membranes, spikes, and the synapses' columns and sums."""
        return 9 * self.size + self.sums.bytes_per_sample

    def start(self, batch: int) -> None:
        """Begin with new samples: membranes at 0."""
        if batch != self.batch:
            self.batch = batch
            self.sums.start(batch)
        self.neurons.start(batch)
        self._frame = self._frame_sums = None

    def step(self, signal: np.ndarray) -> np.ndarray:
        """One tick of the synapses and the neurons.

        Args:
            signal: spikes bool or uint8, or graded input int32, (n_in, B).

        Returns:
            bool (n, B); the readout's voltages float64 (n, B).
        """
        return self.neurons.step(self._current(signal))

    def _current(self, signal: np.ndarray) -> np.ndarray:
        """Synaptic sums and bias, times 64: float32 (n, B). An image that stays is summed once."""
        if signal.dtype != np.int32:
            return self.sums(signal)
        if self._frame is None or not np.array_equal(signal, self._frame):
            self._frame, self._frame_sums = signal.copy(), self.sums(signal).copy()
        return self._frame_sums
