"""model.net on disk: one HDF5 file of NetX descriptions.

Each part is a NetX description in its own group, with NetX's own field names:

    /                   attrs: see `NetFile`
    /encoder/layer/0..  input, conv ..., flatten, dense
    /posterior/layer/.. dense x 3; the first takes [x^E ; z]
    /prior/layer/..     dense x 3; the first takes z
    /decoder/layer/..   dense, convT ..., convT (the readout: neuron/spiking = 0)
    /layer              hard link to /encoder/layer, which stock netx.hdf5.Network runs

Rate latents have no posterior but /rate: what their prior starts from; without a prior no /prior.
A Poisson VAE has no encoder, posterior and prior but /host: what the host computes, and the
prior's chances. A gated neuron is neuron/type = GLIF with the arrays of layers.Glif, which NetX
does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError, replacing
from lava_models.net.layers import Conv, ConvT, Dense, Glif, Layer, Lif, Neuron
from lava_models.net.netfile import PARTS, HostLayer, NetFile, PoissonLatents, RateLatents

FORMAT = "fsvae-netx"
FORMAT_VERSION = 1
_ATTRIBUTES = {"image_shape": tuple, "ticks": int, "lag": int, "latent": int, "k": int,
               "random_bits": int, "input_scale": float, "output_scale": float, "provenance": str}


def write_net(net: NetFile, path: Path) -> None:
    """Write `net` to `path`, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    # "latest": this version of the format carries checksums, so that a damaged file is an error
    # and no wrong weight (or a crash inside the HDF5 library).
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["format"], file.attrs["format_version"] = FORMAT, FORMAT_VERSION
        for name in _ATTRIBUTES:
            file.attrs[name] = getattr(net, name)
        for part in net.parts:
            group = file.create_group(f"{part}/layer")
            for i, layer in enumerate(_netx_sequence(net, part)):
                _write_layer(group.create_group(str(i)), layer)
        if net.rate is not None:
            for f in fields(RateLatents):
                file[f"rate/{f.name}"] = getattr(net.rate, f.name)
        if net.poisson is None:
            file["layer"] = file["encoder/layer"]
        else:
            _write_host(file.create_group("host"), net)


def _write_host(group: h5py.Group, net: NetFile) -> None:
    p = net.poisson
    arrays = {"prior": p.prior, "log_prior": p.log_prior, "offset": net.output_offset}
    for i, layer in enumerate(p.encoder):
        arrays |= {f"encoder/{i}/weight": layer.weight, f"encoder/{i}/bias": layer.bias}
        group[f"encoder/{i}/slope"] = layer.slope
    group["log_rate_max"] = p.log_rate_max
    for name, array in arrays.items():
        group.create_dataset(name, data=array, compression="gzip", shuffle=True, fletcher32=True)


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
                         shuffle=True, fletcher32=True)
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
    if isinstance(neuron, Glif):
        group["neuron/type"] = b"GLIF"
        for f in fields(Glif):
            group.create_dataset(f"neuron/{f.name}", data=getattr(neuron, f.name), fletcher32=True,
                                 chunks=True)
        return
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
    except (OSError, KeyError, RuntimeError):  # h5py's ways to say that bytes are damaged
        raise UserError(f"{path}: not a readable HDF5 file (damaged, cut short, or another "
                        "format); export it again with export-netx") from None


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
        try:
            values[name] = tuple(int(n) for n in value) if kind is tuple else kind(value)
        except (TypeError, ValueError):
            raise UserError(f"{where}: attribute '{name}' is {value!r}; expected "
                            f"{'integers' if kind is tuple else kind.__name__}") from None
    values |= dict.fromkeys(PARTS, ())
    parts = PARTS if "host" not in file else PARTS[-1:]
    if "rate" in file:
        values["rate"] = _read_rate(file["rate"], where)
        parts = [p for p in PARTS if p in file]
    for part in parts:
        group = _get(file, f"{part}/layer", where)
        layers = [_read_layer(_get(group, str(i), where), where) for i in range(len(group))]
        values[part] = tuple(layer for layer in layers if layer is not None)
    if "host" in file:
        values |= _read_host(file["host"], where)
    try:
        return NetFile(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _read_host(group: h5py.Group, where: str) -> dict:
    def array(key: str, kind: type) -> np.ndarray:
        values = np.asarray(_get(group, key, where)[()])
        if not np.issubdtype(values.dtype, np.number) or not values.size:
            raise UserError(f"{where}: {group.name}/{key} holds {values.dtype} of shape "
                            f"{values.shape}, expected numbers")
        return values.astype(kind)

    encoder = tuple(
        HostLayer(array(f"encoder/{i}/weight", np.float32), array(f"encoder/{i}/bias", np.float32),
                  float(array(f"encoder/{i}/slope", np.float64)))
        for i in range(len(_get(group, "encoder", where))))
    return {"poisson": PoissonLatents(array("prior", np.int32), array("log_prior", np.float32),
                                      float(array("log_rate_max", np.float64)), encoder),
            "output_offset": array("offset", np.float32)}


def _read_rate(group: h5py.Group, where: str) -> RateLatents:
    values = {}
    for f in fields(RateLatents):
        value = np.asarray(_get(group, f.name, where)[()])
        if not np.issubdtype(value.dtype, np.integer) or value.ndim:
            raise UserError(f"{where}: {group.name}/{f.name} holds {value.dtype} of shape "
                            f"{value.shape}, expected an integer")
        values[f.name] = int(value)
    return RateLatents(**values)


def _get(group: h5py.Group, key: str, where: str):
    if key not in group:
        raise UserError(f"{where}: {group.name.rstrip('/')}/{key} is missing; export it again")
    return group[key]


def _read_neuron(group: h5py.Group, where: str) -> Neuron:
    def value(key: str) -> np.ndarray:
        return _get(group, f"neuron/{key}", where)[()]

    kind = bytes(value("type")).decode("ascii", "replace")
    if kind == "GLIF":
        arrays = {f.name: value(f.name) for f in fields(Glif)}
        for key, array in arrays.items():
            if not np.issubdtype(array.dtype, np.integer) or not array.size:
                raise UserError(f"{where}: {group.name}/neuron/{key} holds {array.dtype} of shape "
                                f"{array.shape}, expected integers")
        return Glif(**{key: array.astype(np.int32) for key, array in arrays.items()})
    if kind != "CUBA" or value("iDecay") != 4096:
        raise UserError(f"{where}: {group.name}/neuron: type '{kind}'; expected CUBA with iDecay "
                        "4096, or GLIF")
    return Lif(int(value("vDecay")), int(value("vThMant")), bool(value("spiking")))


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
    weight, bias = value("weight"), value("bias")
    for key, array in (("weight", weight), ("bias", bias)):
        if not np.issubdtype(array.dtype, np.integer):
            raise UserError(f"{where}: {group.name}/{key} holds {array.dtype}, expected integers")
    common = {
        "weight": weight.astype(np.int32), "bias": bias.astype(np.int32),
        "neuron": _read_neuron(group, where),
    }
    dims = 2 if kind == "dense" else 4
    square = kind == "dense" or weight.shape[2:3] == weight.shape[3:4]
    if weight.ndim != dims or not weight.size or not square:
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
