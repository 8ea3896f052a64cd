"""model.net: the whole contract between training and running, as small frozen dataclasses.

Weights, biases and thresholds are the integers the chip gets; decays are per tick, in 1/4096.
Maps are (C, H, W), flattened in that order. The file itself: lava_models.hdf5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hw_configs import Chip, load_chip
from lava_models.files import UserError
from lava_models.latents import MOST_THINNING_BITS, Selection, Thinning

PARTS = ("encoder", "posterior", "prior", "decoder")


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
    """Gated neurons (train.glif), int32 arrays per channel. In the D timesteps of a tick and at its
    wave:

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
class PoissonLatents:
    """Latents that are Poisson counts, thinned to spikes (lava_models.latents.Thinning), and the
    encoder that the host computes, exponential included: chances = exp(log prior + encoder)/T."""

    prior: np.ndarray
    """int32 (K,): chance of a spike per tick from the prior, in 1/2^b."""
    log_prior: np.ndarray
    """float32 (K,): log of the prior's rates, in counts per image."""
    log_rate_max: float
    """Soft upper bound of log rates."""
    encoder: tuple[HostLayer, ...]
    """Pixels in [0, 1] to log ratios of posterior and prior rate."""


@dataclass(frozen=True)
class HostLayer:
    """A layer of the encoder on the host, in floating point: linear, then leaky ReLU."""

    weight: np.ndarray
    """float32 (out, in), or (out, in, 3, 3): stride 2, padding 1."""
    bias: np.ndarray
    """float32 (out,)."""
    slope: float
    """Of what is negative; 1 where there is no nonlinearity."""


@dataclass(frozen=True)
class NetFile:
    """Everything needed to run a trained network; every field below is an attribute or a group."""

    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    ticks: int
    """T."""
    lag: int
    """L."""
    latent: int
    """C, latent channels."""
    k: int
    """Candidate spikes per latent channel."""
    random_bits: int
    """b, random bits per latent draw."""
    input_scale: float
    """Pixels in [-1, 1] enter as round(x * input_scale)."""
    output_scale: float
    """image = tanh(readout voltage / output_scale); without tanh where there is an offset."""
    provenance: str
    """JSON: how the file came to be."""
    encoder: tuple[Layer, ...]
    posterior: tuple[Layer, ...]
    prior: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    poisson: PoissonLatents | None = None
    """Instead of encoder, posterior and prior; lag and k are 0 then."""
    output_offset: np.ndarray | None = None
    """float32 (C*H*W,), with `poisson`: image = voltage / output_scale + offset, cut to [-1, 1]."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def loops(self) -> bool:
        """Whether z is fed back."""
        return self.poisson is None

    @property
    def selection(self) -> Selection | Thinning:
        """How a latent spike is drawn."""
        return Selection(self.k, self.random_bits) if self.loops else Thinning(self.random_bits)

    def named_layers(self, *parts: str) -> Iterator[tuple[str, Layer]]:
        """(name, layer) of the given parts (default: all) in order, e.g. ("encoder.0", ...)."""
        for part in parts or PARTS:
            for i, layer in enumerate(getattr(self, part)):
                yield f"{part}.{i}", layer


def fan_in_bound(layer: Layer, input_max: int) -> np.ndarray:
    """Worst-case |sum(w * s) + bias| per output channel: int64 (out,).

    Interval bound over the integer weights: inputs are 0 or 1 (`input_max` = 1, spikes) or
    anything in [-input_max, input_max] (graded input).
    """
    axes = (0, 2, 3) if layer.type == "convT" else tuple(range(1, layer.weight.ndim))
    weight, bias = layer.weight.astype(np.int64), layer.bias.astype(np.int64)
    if layer.type == "convT" and layer.stride > 1:
        # An output pixel meets only the taps of its own sub-pixel phase: bound each phase.
        s = layer.stride
        phases = [weight[:, :, a::s, b::s] for a in range(s) for b in range(s)]
        return np.max([_bound(w, bias, axes, input_max) for w in phases], axis=0)
    return _bound(weight, bias, axes, input_max)


def _bound(weight: np.ndarray, bias: np.ndarray, axes: tuple[int, ...], input_max: int):
    if input_max > 1:
        return np.abs(weight).sum(axis=axes) * input_max + np.abs(bias)
    high = np.maximum(weight, 0).sum(axis=axes) + bias
    low = np.minimum(weight, 0).sum(axis=axes) + bias
    return np.maximum(high, -low)


def membrane_bound(layer: Layer, input_max: int, ticks: int) -> int:
    """Worst-case |v| after `ticks` ticks: the geometric sum of the worst input."""
    neuron = layer.neuron
    keep = (4096 - neuron.decay) / 4096
    if isinstance(neuron, Glif):
        wave = fan_in_bound(layer, input_max) * 64 * (neuron.gain.max(axis=0) / 4096)
        wave += neuron.leak + neuron.subtract
        return math.ceil((wave * sum(keep**t for t in range(ticks))).max())
    return math.ceil(fan_in_bound(layer, input_max).max() * 64 * sum(keep**t for t in range(ticks)))


# --- what a file must satisfy -----------------------------------------------------------------


def check(net: NetFile, chip: Chip | None = None) -> None:
    """Refuse a network the chip cannot hold or whose layers do not fit together.

    Raises:
        UserError: names the layer, what was found and what was expected.
    """
    chip = chip or load_chip()

    def need(ok: bool, message: str) -> None:
        if not ok:
            raise UserError(message)

    need(len(net.image_shape) == 3 and min(net.image_shape) >= 1,
         f"image_shape {net.image_shape}: expected (channels, height, width)")
    for name in ("ticks", "latent", *(("lag",) if net.loops else ())):
        need(getattr(net, name) >= 1, f"{name} = {getattr(net, name)}: expected at least 1")
    if net.loops:
        need(2 <= net.k <= 64, f"k = {net.k}: expected 2 to 64")
        need(4 <= net.random_bits <= 12, f"random_bits = {net.random_bits}: expected 4 to 12")
    else:
        _check_poisson(net, need)
    for name in ("input_scale", "output_scale"):
        value = getattr(net, name)
        need(math.isfinite(value) and value > 0,
             f"{name} = {value}: expected a finite positive number")

    sizes = {"encoder": math.prod(net.image_shape), "posterior": 2 * net.latent,
             "prior": net.latent, "decoder": net.latent}
    ends = {"encoder": net.latent, "posterior": net.latent * net.k, "prior": net.latent * net.k,
            "decoder": math.prod(net.image_shape)}
    for part in PARTS if net.loops else PARTS[-1:]:
        layers = getattr(net, part)
        need(len(layers) > 0, f"/{part}/layer: no layers")
        size = sizes[part]
        for name, layer in net.named_layers(part):
            need(math.prod(layer.input_shape) == size,
                 f"{name} ({layer.type}): takes {math.prod(layer.input_shape)} inputs, "
                 f"gets {size}")
            size = math.prod(layer.shape)
            readout = part == "decoder" and layer is layers[-1]
            need(layer.neuron.spiking != readout, f"{name} ({layer.type}): "
                 + ("the last decoder layer is the readout and must not spike" if readout
                    else "must spike; only the last decoder layer is a readout"))
            graded = round(net.input_scale) if name == "encoder.0" else 1
            _check_layer(layer, f"{name} ({layer.type})", graded, net.ticks, chip, need)
        need(size == ends[part], f"/{part}: ends in {size} neurons, expected {ends[part]}")


def _check_layer(layer: Layer, name: str, input_max: int, ticks: int, chip: Chip, need) -> None:
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
    worst = int(fan_in_bound(layer, input_max).max())
    need(worst <= chip.activation_max, f"{name}: synaptic sums reach {worst}, "
         f"the {chip.activation_bits.value}-bit port takes {chip.activation_max}")
    limit = chip.state_max if neuron.spiking else neuron.threshold << chip.activation_shift.value
    reach = membrane_bound(layer, input_max, ticks)
    need(reach <= limit, f"{name}: the membrane reaches {reach}, it holds {limit}")


def _check_poisson(net: NetFile, need) -> None:
    p, pixels, bits = net.poisson, math.prod(net.image_shape), net.random_bits
    need(4 <= bits <= MOST_THINNING_BITS,
         f"random_bits = {bits}: expected 4 to {MOST_THINNING_BITS}")
    need(net.lag == net.k == 0 and not (net.encoder or net.posterior or net.prior),
         f"lag = {net.lag}, k = {net.k}: Poisson latents have neither, and no encoder, posterior "
         "or prior on the chip")
    for name, size in (("prior", net.latent), ("log_prior", net.latent)):
        values = getattr(p, name)
        need(values.shape == (size,) and bool(np.isfinite(values).all()),
             f"host/{name} has shape {values.shape}, expected {size} finite numbers")
    need(math.isfinite(p.log_rate_max), f"host/log_rate_max {p.log_rate_max}: not finite")
    need(0 <= p.prior.min() and p.prior.max() < 2**bits,
         f"host/prior {p.prior.min()}...{p.prior.max()}, expected 0 to {2**bits - 1}")
    offset = net.output_offset
    need(offset is not None and offset.shape == (pixels,) and bool(np.isfinite(offset).all()),
         f"host/offset: expected {pixels} finite numbers")
    shape: tuple[int, ...] = net.image_shape
    for i, layer in enumerate(p.encoder):
        w, name = layer.weight, f"host/encoder/{i}"
        if w.ndim == 4 and shape == (pixels,):
            shape = net.image_shape
        inputs = shape[0] if w.ndim == 4 else math.prod(shape)
        need(w.ndim in (2, 4) and w.shape[1] == inputs and (w.ndim == 2 or w.shape[2:] == (3, 3)
                                                            and len(shape) == 3),
             f"{name}: weight of shape {w.shape} does not take {shape}")
        need(layer.bias.shape == w.shape[:1] and math.isfinite(layer.slope)
             and bool(np.isfinite(w).all() and np.isfinite(layer.bias).all()),
             f"{name}: expected {len(w)} biases, and finite numbers only")
        shape = w.shape[:1] if w.ndim == 2 else (len(w), *(-(-n // 2) for n in shape[1:]))
    need(shape == (net.latent,), f"host/encoder: ends in {shape}, expected {net.latent} numbers")


def _check_gated(neuron: Glif, name: str, channels: int, ticks: int, chip: Chip, need) -> None:
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
