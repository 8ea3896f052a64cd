"""model.net: the whole contract between training and running, as small frozen dataclasses.

One HDF5 file; each part is a NetX description in its own group, with NetX's own field names:

    /                   attrs: see `NetFile`
    /encoder/layer/0..  input, conv ..., flatten, dense
    /posterior/layer/.. dense x 3; the first takes [x^E ; z]
    /prior/layer/..     dense x 3; the first takes z
    /decoder/layer/..   dense, convT ..., convT (the readout: neuron/spiking = 0)
    /layer              hard link to /encoder/layer, which stock netx.hdf5.Network runs

Weights, biases and thresholds are the integers the chip gets; decays are per tick, in 1/4096.
Maps are (C, H, W), flattened in that order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from hw_configs import Chip, load_chip
from lava_models.files import UserError, replacing
from lava_models.latents import Selection

FORMAT = "fsvae-netx"
FORMAT_VERSION = 1
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
class Dense:
    """Fully connected synapses and their neurons."""

    weight: np.ndarray
    """int32 (out, in)."""
    bias: np.ndarray
    """int32 (out,), delivered once per tick."""
    neuron: Lif
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
    neuron: Lif
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
    neuron: Lif
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
    """image = tanh(readout voltage / output_scale)."""
    provenance: str
    """JSON: how the file came to be."""
    encoder: tuple[Layer, ...]
    posterior: tuple[Layer, ...]
    prior: tuple[Layer, ...]
    decoder: tuple[Layer, ...]

    def __post_init__(self) -> None:
        check(self)

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
    keep = (4096 - layer.neuron.decay) / 4096
    return math.ceil(fan_in_bound(layer, input_max).max() * 64 * sum(keep**t for t in range(ticks)))


# --- what a file must satisfy -----------------------------------------------------------------


def check(net: NetFile, where: str = "model.net", chip: Chip | None = None) -> None:
    """Refuse a network the chip cannot hold or whose layers do not fit together.

    Raises:
        UserError: names the layer, what was found and what was expected.
    """
    chip = chip or load_chip()

    def need(ok: bool, message: str) -> None:
        if not ok:
            raise UserError(f"{where}: {message}")

    need(len(net.image_shape) == 3 and min(net.image_shape) >= 1,
         f"image_shape {net.image_shape}: expected (channels, height, width)")
    for name in ("ticks", "lag", "latent"):
        need(getattr(net, name) >= 1, f"{name} = {getattr(net, name)}: expected at least 1")
    need(2 <= net.k <= 64, f"k = {net.k}: expected 2 to 64")
    need(4 <= net.random_bits <= 12, f"random_bits = {net.random_bits}: expected 4 to 12")
    for name in ("input_scale", "output_scale"):
        value = getattr(net, name)
        need(math.isfinite(value) and value > 0,
             f"{name} = {value}: expected a finite positive number")

    draw = Selection(net.k, net.random_bits)
    need(draw.worst_sum <= chip.activation_max,
         f"k = {net.k} with random_bits = {net.random_bits}: the selection's sum reaches "
         f"{draw.worst_sum}, the port takes {chip.activation_max}; use fewer bits")

    sizes = {"encoder": math.prod(net.image_shape), "posterior": net.encoder and net.latent * 2,
             "prior": net.latent, "decoder": net.latent}
    ends = {"encoder": net.latent, "posterior": net.latent * net.k, "prior": net.latent * net.k,
            "decoder": math.prod(net.image_shape)}
    for part in PARTS:
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


# --- reading and writing ----------------------------------------------------------------------

_ATTRIBUTES = {"image_shape": tuple, "ticks": int, "lag": int, "latent": int, "k": int,
               "random_bits": int, "input_scale": float, "output_scale": float, "provenance": str}


def write_net(net: NetFile, path: Path) -> None:
    """Write `net` to `path`, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = FORMAT, FORMAT_VERSION
        for name in _ATTRIBUTES:
            file.attrs[name] = getattr(net, name)
        for part in PARTS:
            group = file.create_group(f"{part}/layer")
            for i, layer in enumerate(_netx_sequence(net, part)):
                _write_layer(group.create_group(str(i)), layer)
        file["layer"] = file["encoder/layer"]


def _netx_sequence(net: NetFile, part: str) -> Iterator[Layer | tuple[str, tuple[int, ...]]]:
    """Layers of a part with NetX's own `input` and `flatten` entries, as (type, shape)."""
    if part == "encoder":
        yield "input", net.image_shape
    previous = None
    for layer in getattr(net, part):
        if layer.type == "dense" and previous is not None and previous.type != "dense":
            yield "flatten", (math.prod(previous.shape), 1, 1)
        yield layer
        previous = layer


def _write_layer(group: h5py.Group, layer) -> None:
    kind, shape = layer if isinstance(layer, tuple) else (layer.type, layer.shape)
    group.create_dataset("type", (1,), "S10", [kind.encode("ascii")])
    group["shape"] = np.array(shape)
    if isinstance(layer, tuple):
        return
    # 16 bits hold every weight and bias; compression halves that again.
    group.create_dataset("weight", data=layer.weight.astype(np.int16), compression="gzip",
                         shuffle=True)
    group["bias"] = layer.bias.astype(np.int16)
    if layer.type == "dense":
        group["inFeatures"], group["outFeatures"] = layer.weight.shape[::-1]
    else:
        group["inputShape"] = np.array(layer.input_shape)
        group["inChannels"], group["outChannels"] = layer.input_shape[0], layer.shape[0]
        pairs = {"kernelSize": layer.kernel, "stride": layer.stride, "padding": layer.padding,
                 "dilation": 1}
        if layer.type == "convT":
            pairs["outputPadding"] = layer.output_padding
        for key, value in pairs.items():
            group[key] = np.array([value, value])
        group["groups"] = 1
    neuron = layer.neuron
    for key, value in {"type": b"CUBA", "iDecay": 4096, "vDecay": neuron.decay,
                       "vThMant": neuron.threshold, "refDelay": 1, "gradedSpike": False,
                       "spiking": neuron.spiking}.items():
        group[f"neuron/{key}"] = value


def read_net(path: Path) -> NetFile:
    """Read and check a model.net.

    Raises:
        UserError: no such file, no HDF5, another format, a field missing or out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; export-netx writes one from a model.pt")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, str(path))
    except OSError:
        raise UserError(f"{path}: not a readable HDF5 file (truncated, or another format); "
                        "export it again with export-netx") from None


def _read(file: h5py.File, where: str) -> NetFile:
    if file.attrs.get("format") != FORMAT:
        raise UserError(f"{where}: an HDF5 file, but not a {FORMAT} one (attribute 'format' is "
                        f"{file.attrs.get('format')!r}); export it with export-netx")
    if file.attrs.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{where}: format version {file.attrs.get('format_version')!r}, this "
                        f"release reads {FORMAT_VERSION}; export it again with export-netx")
    values = {}
    for name, kind in _ATTRIBUTES.items():
        if name not in file.attrs:
            raise UserError(f"{where}: attribute '{name}' is missing; export it again")
        value = file.attrs[name]
        values[name] = tuple(int(n) for n in value) if kind is tuple else kind(value)
    for part in PARTS:
        group = _get(file, f"{part}/layer", where)
        layers = [_read_layer(_get(group, str(i), where), where) for i in range(len(group))]
        values[part] = tuple(layer for layer in layers if layer is not None)
    try:
        return NetFile(**values)
    except UserError as error:
        raise UserError(str(error).replace("model.net", where, 1)) from None


def _get(group: h5py.Group, key: str, where: str):
    if key not in group:
        raise UserError(f"{where}: {group.name.rstrip('/')}/{key} is missing; export it again")
    return group[key]


def _read_layer(group: h5py.Group, where: str) -> Layer | None:
    def value(key: str) -> np.ndarray:
        return _get(group, key, where)[()]

    def pair(key: str) -> int:
        a, b = value(key)
        if a != b:
            raise UserError(f"{where}: {group.name}/{key} is {a}, {b}; expected two equal numbers")
        return int(a)

    kind = bytes(value("type")[0]).decode("ascii", "replace")
    if kind in ("input", "flatten"):
        return None
    if kind not in ("dense", "conv", "convT"):
        raise UserError(f"{where}: {group.name}: layer type '{kind}', known are input, conv, "
                        "flatten, dense, convT")
    neuron_type = bytes(value("neuron/type")).decode("ascii", "replace")
    if neuron_type != "CUBA" or value("neuron/iDecay") != 4096:
        raise UserError(f"{where}: {group.name}/neuron: type '{neuron_type}', iDecay "
                        f"{value('neuron/iDecay')}; expected CUBA with iDecay 4096")
    weight, bias = value("weight"), value("bias")
    for key, array in (("weight", weight), ("bias", bias)):
        if not np.issubdtype(array.dtype, np.integer):
            raise UserError(f"{where}: {group.name}/{key} holds {array.dtype}, expected integers")
    common = {
        "weight": weight.astype(np.int32), "bias": bias.astype(np.int32),
        "neuron": Lif(int(value("neuron/vDecay")), int(value("neuron/vThMant")),
                      bool(value("neuron/spiking"))),
    }
    dims = 2 if kind == "dense" else 4
    if weight.ndim != dims or (kind != "dense" and weight.shape[2] != weight.shape[3]):
        raise UserError(f"{where}: {group.name}/weight has shape {weight.shape}, expected "
                        + ("(out, in)" if dims == 2 else "4 axes with a square kernel"))
    if kind == "dense":
        return Dense(**common)
    if value("groups") != 1 or pair("dilation") != 1:
        raise UserError(f"{where}: {group.name}: groups and dilation must be 1")
    common |= {"input_shape": tuple(int(n) for n in value("inputShape")),
               "stride": pair("stride"), "padding": pair("padding")}
    channels = weight.shape[1 if kind == "conv" else 0]
    if len(common["input_shape"]) != 3 or common["input_shape"][0] != channels:
        raise UserError(f"{where}: {group.name}/inputShape is {common['input_shape']}, expected "
                        f"({channels}, height, width)")
    if kind == "conv":
        return Conv(**common)
    return ConvT(**common, output_padding=pair("outputPadding"))
