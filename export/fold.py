"""From the trained model to plain float layers: tdBN folded into weight and bias."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from lava_models.net.layers import lif_obstacles
from train.layers.blocks import Conv, ConvT
from train.layers.glif import Glif
from train.layers.integers import IntegerLif
from train.models.spiking import SpikingVae


@dataclass(frozen=True)
class FloatGlif:
    """Gated neurons as they act (train.layers.glif.GlifValues), float64 per channel."""

    keep: np.ndarray
    leak: np.ndarray
    reset: np.ndarray
    subtract: np.ndarray
    threshold: np.ndarray
    gain: np.ndarray
    """(T, C)."""

    def fractions(self) -> dict[str, np.ndarray]:
        """What is a share, in 1/4096: decay, reset and gain, int32."""
        return {name: np.round(4096 * values).astype(np.int32) for name, values in
                (("decay", 1 - self.keep), ("reset", self.reset), ("gain", self.gain))}

    def obstacles(self) -> list[str]:
        """What of them the chip's own LIF cannot express."""
        return lif_obstacles(subtract=self.subtract, **self.fractions())


@dataclass(frozen=True)
class FloatLayer:
    """One layer as real numbers: v <- keep * v + weight * s + bias, spike if v > threshold."""

    name: str
    kind: str
    """dense, conv or convT."""
    weight: np.ndarray
    """float64; (out, in), (out, in, k, k) or, for convT, (in, out, k, k)."""
    bias: np.ndarray
    """float64 (out,)."""
    threshold: float | None
    """None for the readout, which does not fire."""
    keep_register: int
    """Membrane kept per tick, in 1/4096."""
    input_shape: tuple[int, ...]
    gated: FloatGlif | None = None
    """Gated neurons that a LIF cannot express; threshold and keep_register say nothing then."""
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    scale: float | None = None
    """Integer weight per unit of weight, where integer arithmetic was trained on; else open."""
    input_max: int = 1
    """With `scale`: integers per unit of input."""

    @property
    def out_axis(self) -> int:
        """Axis of `weight` that counts output channels."""
        return 1 if self.kind == "convT" else 0


def fold(model: SpikingVae) -> list[FloatLayer]:
    """All layers of the four parts, in the order of the file, as they act in evaluation."""
    c = model.config
    starts = {"encoder.0": (c.image_channels, c.image_size, c.image_size),
              "decoder.0": model.bottom}
    layers, shape = [], ()
    for name, block in model.named_layers():
        shape = starts.get(name, shape)
        layers.append(_layer(name, block, shape))
        if layers[-1].kind != "dense":
            shape = _output_shape(layers[-1])
    return layers


def _layer(name: str, block, shape: tuple[int, ...]) -> FloatLayer:
    weight = block.synapse.weight.detach().double().cpu().numpy()[..., 0]
    neuron, gated = block.neuron, isinstance(block.neuron, Glif)
    common = {"name": name, "keep_register": 0 if gated else neuron.keep_register,
              "threshold": 1.0 if gated else neuron.threshold}
    if isinstance(neuron, IntegerLif):
        common |= {"scale": float(neuron.weight_scale), "input_max": int(neuron.input_max)}
    if isinstance(block, Conv):
        layer = FloatLayer(kind="conv", weight=weight, bias=np.zeros(len(weight)),
                           input_shape=shape, stride=2, padding=1, **common)
    elif isinstance(block, ConvT):
        layer = FloatLayer(kind="convT", weight=weight, bias=np.zeros(weight.shape[1]),
                           input_shape=shape, stride=block.synapse.stride[0], padding=1,
                           output_padding=block.synapse.output_padding[0], **common)
    else:
        weight = weight.reshape(len(weight), -1)
        layer = FloatLayer(kind="dense", weight=weight, bias=np.zeros(len(weight)),
                           input_shape=weight.shape[1:], **common)
    if neuron.norm is None:  # the readout
        return replace(layer, bias=block.bias.detach().double().cpu().numpy(), threshold=None)
    layer = _scaled(layer, *(v.detach().double().cpu().numpy() for v in neuron.norm.fold()))
    return _gate(layer, neuron) if gated else layer


def _scaled(layer: FloatLayer, gain: np.ndarray, bias: np.ndarray) -> FloatLayer:
    """Weights times `gain` per output channel; the bias given."""
    spread = [1] * layer.weight.ndim
    spread[layer.out_axis] = -1
    return replace(layer, weight=layer.weight * gain.reshape(spread), bias=bias)


def _gate(layer: FloatLayer, neuron: Glif) -> FloatLayer:
    """A layer of gated neurons, as plain LIF where that is the same.

    The chip's LIFs of a layer share a threshold: everything is divided by the channel's own, which
    leaves the spikes as they are. A linear leak acts once per tick, as a bias does.
    """
    with torch.no_grad():
        v = FloatGlif(**{name: value.double().cpu().numpy()
                         for name, value in vars(neuron.values()).items()})
    if v.obstacles():
        return replace(layer, gated=v)
    gain = v.gain[0] / v.threshold
    plain = _scaled(layer, gain, layer.bias * gain - v.leak / v.threshold)
    return replace(plain, threshold=1.0, keep_register=4096 - int(v.fractions()["decay"][0]))


def _output_shape(layer: FloatLayer) -> tuple[int, ...]:
    _, h, w = layer.input_shape
    if layer.kind == "conv":
        return (layer.weight.shape[0], h // 2, w // 2)
    return (layer.weight.shape[1], h * layer.stride, w * layer.stride)
