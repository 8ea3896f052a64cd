"""The integer reference simulator: the meaning of a model.net, tick by tick, in numpy.

Whatever runs the file (Lava on the CPU, fused or stock, or a chip) must give these spikes.
Any batch size; no Lava, no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lava_models.latents import Selection
from lava_models.netfile import Dense, Layer, NetFile
from lava_models.schedule import (
    SELECTION,
    dilate_decay,
    latent_part,
    layer_order,
    schedule_for,
)
from lava_models.synapse import neuron_bias


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
    """For every spiking layer and the selection: bool (B, T, n)."""


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

    def run(self, bits: np.ndarray, images: np.ndarray | None = None, *,
            on_tick: Callable[[], None] = lambda: None) -> Result:
        """Run B samples side by side.

        Args:
            bits: random bits uint8 (B, T, C, b).
            images: graded input int32 (B, C*H*W); reconstruct mode only.
            on_tick: called after every tick, for a progress bar.
        """
        net, batch = self.net, len(bits)
        first = f"{latent_part(self.mode)}.0"
        for cell in self.cells.values():
            cell.start(batch)
        latents = [np.zeros((batch, net.latent), bool)] * net.lag
        spikes: dict[str, list[np.ndarray]] = {
            n: [] for n in self.order if n == SELECTION or self.cells[n].spiking}
        for tick in range(net.ticks):
            signal = images
            for name in self.order:
                if name == SELECTION:
                    signal = self.selection.select(signal, bits[:, tick])
                    latents.append(signal)
                else:
                    if name == first:  # [x^E ; z], or z alone
                        z = latents[tick]
                        signal = z if signal is None else np.concatenate([signal, z], axis=1)
                    signal = self.cells[name].step(signal)
                if name in spikes:
                    spikes[name].append(signal)
            on_tick()
        return Result(self.cells[self.order[-1]].v.reshape(batch, -1).copy(),
                      {n: np.stack(s, axis=1).reshape(batch, net.ticks, -1)
                       for n, s in spikes.items()})


class LayerCell:
    """One layer's synapses and membranes for a batch."""

    def __init__(self, layer: Layer, dilation: int) -> None:
        self.layer = layer
        self.spiking = layer.neuron.spiking
        self.keep = 4096 - dilate_decay(layer.neuron.decay, dilation)
        self.dilation = dilation
        self.threshold = layer.neuron.threshold * 64
        self.bias = neuron_bias(layer)
        self.weight = _matrix(layer)

    def start(self, batch: int) -> None:
        self.v = np.zeros((batch, len(self.bias)), np.int32)

    def step(self, signal: np.ndarray) -> np.ndarray:
        """One tick: leak D times, add the wave, fire, reset. bool (B, n); the readout: v."""
        v = self.v.astype(np.int64)  # v * 4096 needs 36 bits
        for _ in range(self.dilation):
            v *= self.keep
            v = (v + ((v >> 63) & 4095)) >> 12  # towards zero, as the chip rounds
        v += (_apply(self.layer, self.weight, signal) + self.bias).astype(np.int64) << 6
        np.clip(v, -(2**23 - 1), 2**23 - 1, out=v)
        if not self.spiking:
            self.v = v.astype(np.int32)
            return self.v
        fired = v > self.threshold
        v[fired] = 0
        self.v = v.astype(np.int32)
        return fired


# Synaptic sums are taken in float32 matrix products. They are exact: every partial sum is an
# integer of at most 2 * 32767 in size (the interval bound netfile.check proves), below 2^24.


def _matrix(layer: Layer) -> np.ndarray:
    """Weights as the left factor of a matrix product, float32."""
    weight = layer.weight.astype(np.float32)
    if isinstance(layer, Dense):
        return np.ascontiguousarray(weight.T)
    if layer.type == "conv":
        return weight.reshape(weight.shape[0], -1)
    return np.ascontiguousarray(weight.reshape(weight.shape[0], -1).T)


def _apply(layer: Layer, matrix: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Synaptic sums int32 (B, n_out) of a batch of signals (B, n_in)."""
    batch = len(signal)
    if isinstance(layer, Dense):
        return (signal.astype(np.float32) @ matrix).astype(np.int32)
    c, h, w = layer.input_shape
    k, s, p = layer.kernel, layer.stride, layer.padding
    o, oh, ow = layer.shape
    x = signal.reshape(batch, c, h, w).astype(np.float32)
    if layer.type == "conv":
        x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::s, ::s]
        columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(c * k * k, -1)
        out = (matrix @ columns).reshape(o, batch, oh, ow)
    else:
        taps = (matrix @ x.transpose(1, 0, 2, 3).reshape(c, -1)).reshape(o, k, k, batch, h, w)
        full = np.zeros((o, batch, (h - 1) * s + k + layer.output_padding,
                         (w - 1) * s + k + layer.output_padding), np.float32)
        for a in range(k):
            for b in range(k):
                full[:, :, a:a + (h - 1) * s + 1:s, b:b + (w - 1) * s + 1:s] += taps[:, a, b]
        out = full[:, :, p:p + oh, p:p + ow]
    return out.transpose(1, 0, 2, 3).reshape(batch, -1).astype(np.int32)
