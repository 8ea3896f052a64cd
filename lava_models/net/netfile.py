"""model.net: the whole contract between training and running, as small frozen dataclasses.

Its layers: lava_models.net.layers. The file itself: lava_models.net.hdf5.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hw_configs import Chip, load_chip
from hw_configs.files import UserError
from hw_configs.reading import MOST_NEURONS, MOST_TICKS
from lava_models.net.latents import MOST_THINNING_BITS, Clipped, DrawRule, Selection, Thinning
from lava_models.net.layers import (
    MEMORYLESS,
    SPIKE,
    Dense,
    Layer,
    Lif,
    Need,
    check_geometry,
    check_layer,
    fan_in_bound,
    graded,
)

PARTS = ("encoder", "posterior", "prior", "decoder")
MODES = ("reconstruct", "generate")


@dataclass(frozen=True)
class PoissonLatents:
    """Latents that are Poisson counts, thinned to spikes (lava_models.net.latents.Thinning), and
    the encoder that the host computes, exponential included:
    chances = exp(log prior + encoder) / T."""

    prior: np.ndarray
    """int32 (K,): chance of a spike per tick from the prior, in 1/2^b."""
    log_prior: np.ndarray
    """float32 (K,): log of the prior's rates, in counts per image."""
    log_rate_max: float
    """Soft upper bound of log rates."""
    encoder: tuple[HostLayer, ...]
    """Pixels in [0, 1] to log ratios of posterior and prior rate."""


@dataclass(frozen=True)
class RateLatents:
    """Latents that are rates (after ESVAE): z is 1 at every tick with the chance n/T, n being the
    spikes of the encoder's output in the sample, k = T.

    The prior, if there is one, makes rates of random bits that are drawn once a sample and held.
    Its layers are memoryless. Each but the last takes the spikes of the one before and M bits of
    its own, so that a code can be drawn group by group of channels, every group given those
    before; the sums of the last are the rates.
    """

    prior_bits: int = 0
    """M, random bits that each layer of the prior but the last takes; 0 without a prior."""
    prior_unit: int = 0
    """Sum of the prior's last layer that is a rate of 1."""


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
    """Instead of encoder, posterior and prior, which are empty then; lag and k are 0."""
    output_offset: np.ndarray | None = None
    """float32 (C*H*W,), with `poisson`: image = voltage / output_scale + offset, cut to [-1, 1]."""
    rate: RateLatents | None = None
    """Instead of the posterior, which is empty then; lag is 0, k is T."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def loops(self) -> bool:
        """Whether z is fed back."""
        return self.lag > 0

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that are on the chip."""
        if self.poisson is not None:
            return ("decoder",)
        if self.rate is not None:
            return ("encoder", *(("prior",) if self.rate.prior_bits else ()), "decoder")
        return PARTS

    @property
    def modes(self) -> tuple[str, ...]:
        """What it can do: reconstruct, and generate if there is a prior."""
        return MODES[:1] if self.rate is not None and not self.rate.prior_bits else MODES

    @property
    def selection(self) -> Selection | Thinning:
        """How a latent spike is drawn from candidates or chances."""
        if self.poisson is not None:
            return Thinning(self.random_bits)
        return Selection(self.k, self.random_bits)

    def draw_rule(self, mode: str) -> DrawRule:
        """How a latent spike is drawn in `mode`."""
        if self.rate is not None and mode == "generate":
            return Clipped(self.random_bits, self.rate.prior_unit)
        return self.selection

    def named_layers(self, *parts: str) -> Iterator[tuple[str, Layer]]:
        """(name, layer) of the given parts (default: all) in order, e.g. ("encoder.0", ...)."""
        for part in parts or PARTS:
            for i, layer in enumerate(getattr(self, part)):
                yield f"{part}.{i}", layer


def origin_of(net: NetFile, key: str) -> str | None:
    """What a file's provenance says under a name, if that is a text."""
    try:
        said = json.loads(net.provenance)
    except (ValueError, RecursionError):
        return None
    found = said.get(key) if isinstance(said, dict) else None
    return found if isinstance(found, str) else None


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
    need(net.ticks <= MOST_TICKS, f"ticks = {net.ticks}: expected at most {MOST_TICKS}")
    need(math.prod(net.image_shape) <= MOST_NEURONS,
         f"image_shape {net.image_shape}: expected at most {MOST_NEURONS} pixels")
    fed_back = net.poisson is None and net.rate is None
    for name in ("ticks", "latent", *(("lag",) if fed_back else ())):
        need(getattr(net, name) >= 1, f"{name} = {getattr(net, name)}: expected at least 1")
    if net.poisson is None:
        if net.rate is None:
            _check_loop(net, need)
        need(2 <= net.k <= 64, f"k = {net.k}: expected 2 to 64")
        need(4 <= net.random_bits <= 12, f"random_bits = {net.random_bits}: expected 4 to 12")
    else:
        _check_poisson(net, need)
    if net.rate is not None:
        _check_rate(net, chip, need)
    for name in ("input_scale", "output_scale"):
        value = getattr(net, name)
        need(math.isfinite(value) and value > 0,
             f"{name} = {value}: expected a finite positive number")
    need(round(net.input_scale) <= chip.activation_max, f"input_scale = {net.input_scale}: the "
         f"{chip.activation_bits.value}-bit port takes {chip.activation_max}")

    sizes = {"encoder": math.prod(net.image_shape), "posterior": 2 * net.latent,
             "prior": net.latent, "decoder": net.latent}
    ends = {"encoder": net.latent, "posterior": net.latent * net.k, "prior": net.latent * net.k,
            "decoder": math.prod(net.image_shape)}
    if net.rate is not None:
        sizes["prior"], ends["prior"] = 0, net.latent
    for part in net.parts:
        layers = getattr(net, part)
        need(len(layers) > 0, f"/{part}/layer: no layers")
        size = sizes[part]
        for name, layer in net.named_layers(part):
            check_geometry(layer, f"{name} ({layer.type})", need)
            summed = part == "prior" and net.rate is not None and layer is layers[-1]
            if part == "prior" and net.rate is not None and not summed:
                size += net.rate.prior_bits
            need(math.prod(layer.input_shape) == size,
                 f"{name} ({layer.type}): takes {math.prod(layer.input_shape)} inputs, "
                 f"gets {size}")
            size = math.prod(layer.shape)
            need(size <= MOST_NEURONS, f"{name} ({layer.type}): {layer.shape} are more than "
                 f"{MOST_NEURONS} neurons")
            readout = part == "decoder" and layer is layers[-1] or summed
            need(layer.neuron.spiking != readout, f"{name} ({layer.type}): "
                 + (f"the last {part} layer is read and must not spike" if readout
                    else "must spike; only the last decoder layer is a readout"))
            signal = graded(round(net.input_scale)) if name == "encoder.0" else SPIKE
            check_layer(layer, f"{name} ({layer.type})", signal, net.ticks, chip, need)
        need(size == ends[part], f"/{part}: ends in {size} neurons, expected {ends[part]}")


def _check_loop(net: NetFile, need: Need) -> None:
    """z passes the layers of posterior or prior and the selection: a whole number of timesteps per
    tick of the lag (lava_models.net.schedule)."""
    for part in ("posterior", "prior"):
        depth = len(getattr(net, part)) + 1
        need(depth % net.lag == 0, f"lag = {net.lag}: expected a divisor of the {depth} timesteps "
             f"that z takes through the {part} and back")


def _check_poisson(net: NetFile, need: Need) -> None:
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


def _check_rate(net: NetFile, chip: Chip, need: Need) -> None:
    r = net.rate
    need(net.poisson is None and net.lag == 0 and net.k == net.ticks and not net.posterior,
         f"lag = {net.lag}, k = {net.k}: rate latents have lag 0 and k = ticks = {net.ticks}, and "
         "no posterior")
    need(bool(r.prior_bits) == bool(net.prior) and r.prior_bits >= 0,
         f"rate/prior_bits = {r.prior_bits}: expected at least 1 with a prior, 0 without")
    if not r.prior_bits:
        return
    need(len(net.prior) > 1, f"/prior/layer: {len(net.prior)} layer, expected at least 2")
    step = 2**net.random_bits
    need(r.prior_unit >= step and r.prior_unit % step == 0,
         f"rate/prior_unit = {r.prior_unit}: expected a multiple of 2^random_bits = {step}")
    for name, layer in net.named_layers("prior"):
        need(isinstance(layer, Dense) and isinstance(layer.neuron, Lif)
             and layer.neuron.decay == MEMORYLESS,
             f"{name} ({layer.type}): a prior of rates is dense layers of LIF neurons without "
             f"memory, vDecay {MEMORYLESS}")
    worst = int(fan_in_bound(net.prior[-1], SPIKE).max()) + r.prior_unit
    need(worst <= chip.activation_max, f"{name}: its sums and the random bits' reach {worst}, the "
         f"{chip.activation_bits.value}-bit port takes {chip.activation_max}")
