"""One layer of model.net: synapses, bias and neurons as integers, and what a chip's registers hold.

Weights, biases and thresholds are the integers the chip gets; decays are per tick, in 1/4096.
Maps are (C, H, W), flattened in that order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hw_configs import Chip

MEMORYLESS = 4095
"""The decay, in 1/4096, that leaves nothing of sums up to 63 and next to nothing of others."""
LONG_RUN = 1024
"""Ticks beyond which a membrane's bound is the limit of the geometric series."""
Need = Callable[[bool, str], None]
"""Refuses with the text unless the first argument holds."""


@dataclass(frozen=True)
class Lif:
    """Loihi's LIF without current memory.

        a = sum(w * s) + bias ;  v <- trunc(v * (4096 - decay) / 4096) + a * 64
        spike if v > threshold * 64, then v <- 0
    """

    decay: int
    """Leak per tick, in 1/4096 (NetX vDecay)."""
    threshold: int
    """vth mantissa (NetX vThMant); the largest one where the neuron is not to fire."""
    spiking: bool = True
    """False for the readout, whose voltage is read instead."""


@dataclass(frozen=True)
class Glif:
    """Gated neurons (train.layers.glif), int32 arrays per channel. In the D timesteps of a tick and
    at its wave:

        v <- trunc(v * (4096 - decay) / 4096)                  D times, decay spread over them
        a = sum(w * s) + bias ;  v <- v + trunc(a * 64 * gain_t / 4096) - leak - subtract * s'
        spike s if v > threshold, then v <- trunc(v * (4096 - reset) / 4096)

    s' is the neuron's own spike at the wave before. It fires at its waves only. The chip's own
    neuron cannot do this (`obstacles`); it would need microcode, which is not run on hardware.
    """

    decay: np.ndarray
    """Leak per tick, in 1/4096: (C,)."""
    threshold: np.ndarray
    """In units of the membrane, 64 per unit of the synaptic sum: (C,)."""
    reset: np.ndarray
    """Share of the membrane that a spike takes, in 1/4096: (C,)."""
    leak: np.ndarray
    """Linear leak per tick, in units of the membrane: (C,)."""
    subtract: np.ndarray
    """What a spike takes from the next tick's membrane: (C,)."""
    gain: np.ndarray
    """Of the synaptic sum at each tick, in 1/4096: (T, C)."""

    spiking: ClassVar[bool] = True

    def obstacles(self) -> list[str]:
        """What of it the chip's own LIF cannot express."""
        return lif_obstacles(self.decay, self.reset, self.subtract, self.gain)


def lif_obstacles(decay: np.ndarray, reset: np.ndarray, subtract: np.ndarray, gain: np.ndarray
                  ) -> list[str]:
    """What stands between gated neurons and a LIF layer, in words; arguments as Glif's fields."""
    def span(values: np.ndarray) -> str:
        return f"{values.min() / 4096:.3f} to {values.max() / 4096:.3f}"

    found = []
    if decay.min() != decay.max():
        found.append(f"decay per channel ({span(decay)})")
    if reset.min() < 4096:
        found.append(f"soft reset gamma ({span(reset)})")
    if subtract.max() > 0:
        found.append("v_re")
    if (gain != gain[:1]).any():
        found.append(f"conductance c_t (gain {span(gain)})")
    return found


LIF_CAN = "a LIF has one decay per layer, resets to 0 and weighs every tick alike"
Neuron = Lif | Glif


@dataclass(frozen=True)
class Dense:
    """Fully connected synapses and their neurons."""

    weight: np.ndarray
    """int32 (out, in)."""
    bias: np.ndarray
    """int32 (out,), delivered once per tick."""
    neuron: Neuron
    type: str = field(default="dense", init=False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.weight.shape[1],)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.weight.shape[0],)


@dataclass(frozen=True)
class Conv:
    """2-d convolution as in torch.nn.Conv2d, and its neurons."""

    weight: np.ndarray
    """int32 (C_out, C_in, kernel, kernel)."""
    bias: np.ndarray
    """int32 (C_out,)."""
    neuron: Neuron
    input_shape: tuple[int, int, int]
    """(C_in, H, W)."""
    stride: int
    padding: int
    type: str = field(default="conv", init=False)

    @property
    def kernel(self) -> int:
        return self.weight.shape[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        out = (n + 2 * self.padding - self.kernel for n in self.input_shape[1:])
        return (self.weight.shape[0], *(n // self.stride + 1 for n in out))


@dataclass(frozen=True)
class ConvT:
    """2-d transposed convolution as in torch.nn.ConvTranspose2d, and its neurons."""

    weight: np.ndarray
    """int32 (C_in, C_out, kernel, kernel), torch's (and SLAYER's) order."""
    bias: np.ndarray
    """int32 (C_out,)."""
    neuron: Neuron
    input_shape: tuple[int, int, int]
    """(C_in, H, W)."""
    stride: int
    padding: int
    output_padding: int
    type: str = field(default="convT", init=False)

    @property
    def kernel(self) -> int:
        return self.weight.shape[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.weight.shape[1], *(
            (n - 1) * self.stride - 2 * self.padding + self.kernel + self.output_padding
            for n in self.input_shape[1:]))


Layer = Dense | Conv | ConvT


@dataclass(frozen=True)
class Interval:
    """What a signal may be, both ends included."""

    low: int
    high: int


SPIKE = Interval(0, 1)


def graded(most: int) -> Interval:
    """Signed integers of a graded message."""
    return Interval(-most, most)


def fan_in_bound(layer: Layer, signal: Interval) -> np.ndarray:
    """Worst-case |sum(w * s) + bias| per output channel: int64 (out,).

    Interval bound over the integer weights; what comes in may be anything in `signal`.
    """
    axes = (0, 2, 3) if layer.type == "convT" else tuple(range(1, layer.weight.ndim))
    weight, bias = layer.weight.astype(np.int64), layer.bias.astype(np.int64)
    if layer.type == "convT" and layer.stride > 1:
        # An output pixel meets only the taps of its own sub-pixel phase: bound each phase.
        s, starts = layer.stride, range(min(layer.stride, layer.kernel))
        phases = [weight[:, :, a::s, b::s] for a in starts for b in starts]
        return np.max([_bound(w, bias, axes, signal) for w in phases], axis=0)
    return _bound(weight, bias, axes, signal)


def _bound(weight: np.ndarray, bias: np.ndarray, axes: tuple[int, ...], signal: Interval):
    excited, inhibited = (part.sum(axis=axes) for part in
                          (np.maximum(weight, 0), np.minimum(weight, 0)))
    high = excited * signal.high + inhibited * signal.low + bias
    low = excited * signal.low + inhibited * signal.high + bias
    return np.maximum(high, -low)


def membrane_bound(layer: Layer, signal: Interval, ticks: int) -> int:
    """Worst-case |v| after `ticks` ticks: the geometric sum of the worst input."""
    neuron = layer.neuron
    wave = fan_in_bound(layer, signal) * 64
    if isinstance(neuron, Glif):
        wave = wave * (neuron.gain.max(axis=0) / 4096) + neuron.leak + neuron.subtract
    return math.ceil((wave * _waves_held(neuron.decay, ticks)).max())


def _waves_held(decay: int | np.ndarray, ticks: int) -> np.ndarray:
    """How many times a constant wave is in the membrane after `ticks` ticks, at most."""
    keep = (4096 - np.asarray(decay)) / 4096
    if ticks <= LONG_RUN:
        return sum(keep**t for t in range(ticks))
    least_leak = 1 / 4096
    return np.where(keep < 1, 1 / np.maximum(1 - keep, least_leak), ticks)


# --- what a layer must satisfy ----------------------------------------------------------------


def check_geometry(layer: Layer, name: str, need: Need) -> None:
    """Refuse a convolution whose output is not what its weights and sizes say."""
    if isinstance(layer, Dense):
        return
    channels = layer.weight.shape[1 if layer.type == "conv" else 0]
    need(len(layer.input_shape) == 3 and layer.input_shape[0] == channels
         and min(layer.input_shape) >= 1,
         f"{name}: inputShape is {layer.input_shape}, expected ({channels}, height, width)")
    need(1 <= layer.stride <= layer.kernel,
         f"{name}: stride {layer.stride}, expected 1 to the kernel's {layer.kernel}")
    need(0 <= layer.padding < layer.kernel,
         f"{name}: padding {layer.padding}, expected 0 to {layer.kernel - 1}, less than the kernel")
    if isinstance(layer, ConvT):
        need(0 <= layer.output_padding < layer.stride, f"{name}: outputPadding "
             f"{layer.output_padding}, expected 0 to {layer.stride - 1}, less than the stride")
    need(min(layer.shape) >= 1, f"{name}: has an output of {layer.shape}, expected one")


def check_layer(layer: Layer, name: str, signal: Interval, ticks: int, chip: Chip, need: Need
                ) -> None:
    """Refuse a layer that the chip cannot hold; `signal` is what comes in."""
    weight, bias, neuron = layer.weight, layer.bias, layer.neuron
    lo, hi = int(weight.min()), int(weight.max())
    if lo < 0 < hi:
        odd = int(np.count_nonzero(weight % 2))
        need(odd == 0, f"{name}: {odd} odd weights in a mixed-sign layer, expected even integers "
                       f"(the chip drops the last bit)")
        need(chip.weight_mixed_min.value <= lo and hi <= chip.weight_mixed_max.value,
             f"{name}: weights {lo}...{hi}, expected {chip.weight_mixed_min.value}"
             f"...{chip.weight_mixed_max.value}")
    else:
        top = chip.weight_single_sign_max.value
        need(max(-lo, hi) <= top, f"{name}: weights {lo}...{hi}, expected at most {top} in size")
    need(bias.shape == (layer.shape[0],),
         f"{name}: {bias.size} biases, expected one per channel ({layer.shape[0]})")
    need(not np.any(bias % 2) and np.abs(bias).max(initial=0) <= chip.bias_max,
         f"{name}: biases must be even and at most {chip.bias_max} in size, "
         f"got {bias.min()}...{bias.max()}")
    if isinstance(neuron, Glif):
        _check_gated(neuron, name, len(bias), ticks, chip, need)
    else:
        need(0 <= neuron.decay < chip.decay_one,
             f"{name}: vDecay {neuron.decay}, expected 0 to {chip.decay_one - 1}")
        need(0 < neuron.threshold <= chip.threshold_max,
             f"{name}: vThMant {neuron.threshold}, expected 1 to {chip.threshold_max}")
    worst = int(fan_in_bound(layer, signal).max())
    need(worst <= chip.activation_max, f"{name}: synaptic sums reach {worst}, "
         f"the {chip.activation_bits.value}-bit port takes {chip.activation_max}")
    limit = chip.state_max if neuron.spiking else neuron.threshold << chip.activation_shift.value
    reach = membrane_bound(layer, signal, ticks)
    need(reach <= limit, f"{name}: the membrane reaches {reach}, it holds {limit}")


def _check_gated(neuron: Glif, name: str, channels: int, ticks: int, chip: Chip, need: Need
                 ) -> None:
    one = chip.decay_one
    tops = {"decay": one - 1, "threshold": chip.state_max, "reset": one, "leak": chip.state_max,
            "subtract": chip.state_max, "gain": one}
    for key, top in tops.items():
        values, shape = getattr(neuron, key), (ticks, channels) if key == "gain" else (channels,)
        need(values.shape == shape, f"{name}: neuron/{key} has shape {values.shape}, expected "
             f"{shape}")
        least = 1 if key == "threshold" else 0
        need(least <= values.min() and values.max() <= top,
             f"{name}: neuron/{key} {values.min()}...{values.max()}, expected {least} to {top}")
