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

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError, replacing
from lava_models.net.fields import Field, Reader, attribute
from lava_models.net.hdf5_input import open_hdf5
from lava_models.net.layers import Conv, ConvT, Dense, Glif, Layer, Lif, Neuron
from lava_models.net.netfile import PARTS, HostLayer, NetFile, PoissonLatents, RateLatents

FORMAT = "fsvae-netx"
FORMAT_VERSION = 1

# --- what there is ----------------------------------------------------------------------------

SETTINGS = (
    Field("image_shape", "i8", (3,), 1),
    Field("ticks", "i8", (), 1),
    Field("lag", "i8", (), 0),
    Field("latent", "i8", (), 1),
    Field("k", "i8", (), 0),
    Field("random_bits", "i8", (), 1),
    Field("input_scale", "f8"),
    Field("output_scale", "f8"),
    Field("provenance", "S"),
)
ATTRIBUTES = (Field("format", "S"), Field("format_version", "i8"), *SETTINGS,
              Field("sha256", "S", optional=True))

LAYER_TYPE, NEURON_TYPE = Field("type", "S10", (1,)), Field("type", "S")
_MAP = Field("shape", "i8", (3,), 1)
_CONVOLUTION = (
    LAYER_TYPE, _MAP,
    Field("bias", "i2", ("out",)),
    Field("inputShape", "i8", (3,), 1),
    Field("inChannels", "i8", (), 1),
    Field("outChannels", "i8", (), 1),
    Field("kernelSize", "i8", (2,), 1),
    Field("stride", "i8", (2,), 1),
    Field("padding", "i8", (2,), 0),
    Field("dilation", "i8", (2,), 1, 1),
    Field("groups", "i8", (), 1, 1),
)
LAYERS: Mapping[str, tuple[Field, ...]] = {
    "input": (LAYER_TYPE, _MAP),
    "flatten": (LAYER_TYPE, _MAP),
    "dense": (
        LAYER_TYPE,
        Field("shape", "i8", (1,), 1),
        Field("weight", "i2", ("out", "in")),
        Field("bias", "i2", ("out",)),
        Field("inFeatures", "i8", (), 1),
        Field("outFeatures", "i8", (), 1),
    ),
    "conv": (*_CONVOLUTION, Field("weight", "i2", ("out", "in", "kernel", "kernel"))),
    "convT": (*_CONVOLUTION, Field("weight", "i2", ("in", "out", "kernel", "kernel")),
              Field("outputPadding", "i8", (2,), 0)),
}
NEURONS: Mapping[str, tuple[Field, ...]] = {
    "CUBA": (
        NEURON_TYPE,
        Field("iDecay", "i8", (), 4096, 4096),
        Field("vDecay", "i8"),
        Field("vThMant", "i8"),
        Field("refDelay", "i8", (), 1, 1),
        Field("gradedSpike", "?"),
        Field("spiking", "?"),
    ),
    "GLIF": (NEURON_TYPE, *(Field(f.name, "i4", ("ticks", "out") if f.name == "gain" else ("out",))
                            for f in fields(Glif))),
}
HOST = (
    Field("prior", "i4", ("latent",)),
    Field("log_prior", "f4", ("latent",)),
    Field("log_rate_max", "f8"),
    Field("offset", "f4", ("pixels",)),
)
RATE = tuple(Field(f.name, "i8", (), 0) for f in fields(RateLatents))
_HOST_REST = (Field("bias", "f4", ("out",)), Field("slope", "f8"))
HOST_LAYERS = {2: (Field("weight", "f4", ("out", "in")), *_HOST_REST),
               4: (Field("weight", "f4", ("out", "in", 3, 3)), *_HOST_REST)}


def contents(net: NetFile) -> Iterator[tuple[str, tuple[Field, ...], dict]]:
    """All that a file of `net` holds: (group, its fields, their values by name), "" the file."""
    settings = {f.name: getattr(net, f.name) for f in SETTINGS}
    yield "", ATTRIBUTES, {"format": FORMAT, "format_version": FORMAT_VERSION, **settings}
    for part in net.parts:
        for i, layer in enumerate(_netx_sequence(net, part)):
            path = f"/{part}/layer/{i}"
            if isinstance(layer, tuple):
                yield path, LAYERS[layer[0]], {"type": layer[0], "shape": layer[1]}
                continue
            yield path, LAYERS[layer.type], _layer_values(layer)
            yield f"{path}/neuron", *_neuron_values(layer.neuron)
    if net.rate is not None:
        yield "/rate", RATE, vars(net.rate)
    if net.poisson is not None:
        p = net.poisson
        yield "/host", HOST, {"prior": p.prior, "log_prior": p.log_prior,
                              "log_rate_max": p.log_rate_max, "offset": net.output_offset}
        for i, host in enumerate(p.encoder):
            yield f"/host/encoder/{i}", HOST_LAYERS[host.weight.ndim], vars(host)


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


def _layer_values(layer: Layer) -> dict:
    values = {"type": layer.type, "shape": layer.shape, "weight": layer.weight, "bias": layer.bias}
    if isinstance(layer, Dense):
        return values | {"inFeatures": layer.weight.shape[1], "outFeatures": layer.weight.shape[0]}
    values |= {"inputShape": layer.input_shape, "inChannels": layer.input_shape[0],
               "outChannels": layer.shape[0], "groups": 1}
    pairs = {"kernelSize": layer.kernel, "stride": layer.stride, "padding": layer.padding,
             "dilation": 1}
    if isinstance(layer, ConvT):
        pairs["outputPadding"] = layer.output_padding
    return values | {key: (value, value) for key, value in pairs.items()}


def _neuron_values(neuron: Neuron) -> tuple[tuple[Field, ...], dict]:
    if isinstance(neuron, Glif):
        return NEURONS["GLIF"], {"type": "GLIF", **vars(neuron)}
    return NEURONS["CUBA"], {
        "type": "CUBA", "iDecay": 4096, "vDecay": neuron.decay, "vThMant": neuron.threshold,
        "refDelay": 1, "gradedSpike": False, "spiking": neuron.spiking}


def _flat(net: NetFile) -> dict[str, np.ndarray | str]:
    """`contents` as `Reader` returns them."""
    return {f"{group}/{f.name}" if group else attribute(f.name): f.value(values[f.name])
            for group, declared, values in contents(net) for f in declared if f.name in values}


def content_sha256(values: Mapping[str, np.ndarray | str]) -> str:
    """SHA-256 over names, types, shapes and values of all entries, whatever their place in a file.
    """
    digest = hashlib.sha256()
    for name in sorted(values):
        value = values[name]
        text = isinstance(value, str)
        head = [name, "text"] if text else [name, value.dtype.str, *value.shape]
        data = value.encode() if text else np.ascontiguousarray(value).tobytes()
        digest.update(json.dumps([*head, len(data)]).encode() + data)
    return digest.hexdigest()


# --- writing ----------------------------------------------------------------------------------


def write_net(net: NetFile, path: Path) -> None:
    """Write `net` to `path`, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    # "latest": this version of the format carries checksums, so that a damaged header is an error
    # (and no crash or endless loop inside the HDF5 library).
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        for name, declared, values in contents(net):
            if name:
                _write_group(file.create_group(name), declared, values)
                continue
            for f in declared:
                if f.name in values:
                    file.attrs[f.name] = f.stored(values[f.name])
        file.attrs["sha256"] = np.bytes_(content_sha256(_flat(net)))
        if net.poisson is None:
            file["layer"] = file["encoder/layer"]


def _write_group(group: h5py.Group, declared: tuple[Field, ...], values: dict) -> None:
    for f in declared:
        data = f.stored(values[f.name])
        # 16 bits hold every weight; compression halves that again.
        packed = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        group.create_dataset(f.name, data=data, **packed if data.ndim > 1 else {})


# --- reading ----------------------------------------------------------------------------------


def says_model_net(file: h5py.File) -> bool:
    """Whether an HDF5 file calls itself a model.net."""
    said = file.attrs.get("format")
    return said in (FORMAT, FORMAT.encode())


def read_net(path: Path) -> NetFile:
    """Read and check a model.net.

    Raises:
        UserError: no such file, no HDF5, another format, an entry that is missing, unknown, of
            another type or shape or out of range, a link, or a network that is not the one the
            file's hash is of.
    """
    path = Path(path)
    with open_hdf5(path, "HDF5 file", "export-netx writes one from a model.pt",
                   "export it again with export-netx") as file:
        values = _read(Reader(file, str(path)))
    signed = values.pop(attribute("sha256"), None)
    try:
        net = _network(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    made = _flat(net)
    for name in sorted(values.keys() | made.keys()):
        if name not in made or not np.array_equal(values[name], made[name]):
            raise UserError(f"{path}: {name} does not fit the rest of the file"
                            + _instead(values[name], made.get(name)) + "; export it again")
    if signed not in (None, content_sha256(values)):
        raise UserError(f"{path}: changed since it was written (its SHA-256 differs); export it "
                        "again")
    return net


def _instead(found: np.ndarray | str, expected: np.ndarray | str | None) -> str:
    if expected is None:
        return ""
    return f": {np.array(found).tolist()}, expected {np.array(expected).tolist()}"


def _read(reader: Reader) -> dict[str, np.ndarray | str]:
    """All entries of a file, by name."""
    file, where = reader.file, reader.where
    if not says_model_net(file):
        raise UserError(f"{where}: an HDF5 file, but not a {FORMAT} one (attribute 'format' is "
                        f"{file.attrs.get('format')!a}); export it with export-netx")
    values = reader.attributes(ATTRIBUTES)
    version = values[attribute("format_version")]
    if version != FORMAT_VERSION:
        raise UserError(f"{where}: format version {version}, this release reads {FORMAT_VERSION}; "
                        "export it again with export-netx")
    host, rate = "host" in file, "rate" in file
    parts = PARTS[-1:] if host else PARTS
    if rate:
        parts = tuple(p for p in PARTS if p != "posterior" and (p != "prior" or p in file))
    reader.group("", (), *parts, "host" if host else "layer", *["rate"] * rate)
    for part in parts:
        reader.group(f"/{part}", (), "layer")
        for i in range(reader.count(f"/{part}/layer")):
            values |= _read_layer(reader, f"/{part}/layer/{i}")
    if rate:
        values |= reader.group("/rate", RATE)
    if not host:
        reader.same("layer", "/encoder/layer")
        return values
    values |= reader.group("/host", HOST, "encoder")
    for i in range(reader.count("/host/encoder")):
        path = f"/host/encoder/{i}"
        values |= reader.group(path, HOST_LAYERS[reader.axes(path, "weight", *HOST_LAYERS)])
    return values


def _read_layer(reader: Reader, path: str) -> dict[str, np.ndarray | str]:
    kind = reader.kind(path, LAYER_TYPE, LAYERS)
    if kind in ("input", "flatten"):
        return reader.group(path, LAYERS[kind])
    neuron = f"{path}/neuron"
    return {**reader.group(path, LAYERS[kind], "neuron"),
            **reader.group(neuron, NEURONS[reader.kind(neuron, NEURON_TYPE, NEURONS)])}


# --- from entries to a network ----------------------------------------------------------------


def _network(values: Mapping[str, np.ndarray | str]) -> NetFile:
    """The network of a file's entries.

    Raises:
        UserError: as `NetFile`.
    """
    settings = {f.name: _plain(values[attribute(f.name)]) for f in SETTINGS}
    layers = {part: tuple(_layer(values, path) for path in _numbered(values, f"/{part}/layer")
                          if f"{path}/weight" in values) for part in PARTS}
    if f"/rate/{RATE[0].name}" in values:
        rate = RateLatents(**{f.name: values[f"/rate/{f.name}"].item() for f in RATE})
        return NetFile(**settings, **layers, rate=rate)
    if "/host/prior" not in values:
        return NetFile(**settings, **layers)
    host = tuple(HostLayer(values[f"{path}/weight"], values[f"{path}/bias"],
                           values[f"{path}/slope"].item())
                 for path in _numbered(values, "/host/encoder"))
    poisson = PoissonLatents(values["/host/prior"], values["/host/log_prior"],
                             values["/host/log_rate_max"].item(), host)
    return NetFile(**settings, **layers, poisson=poisson, output_offset=values["/host/offset"])


def _numbered(values: Mapping[str, np.ndarray | str], path: str) -> list[str]:
    """Paths of the groups 0, 1, 2 ... of a group, in order."""
    rest = (name[len(path) + 1:] for name in values if name.startswith(f"{path}/"))
    return [f"{path}/{i}" for i in sorted({int(name.split("/")[0]) for name in rest})]


def _plain(value: np.ndarray | str) -> str | int | float | tuple[int, ...]:
    if isinstance(value, str):
        return value
    return tuple(value.tolist()) if value.ndim else value.item()


def _layer(values: Mapping[str, np.ndarray | str], path: str) -> Layer:
    def entry(key: str):
        return values[f"{path}/{key}"]

    kind, common = entry("type"), (entry("weight"), entry("bias"), _neuron(values, path))
    if kind == "dense":
        return Dense(*common)
    # Of pairs the first: that the second is the same shows when the network is held against the
    # file.
    geometry = {"input_shape": _plain(entry("inputShape")), "stride": _plain(entry("stride"))[0],
                "padding": _plain(entry("padding"))[0]}
    if kind == "conv":
        return Conv(*common, **geometry)
    return ConvT(*common, **geometry, output_padding=_plain(entry("outputPadding"))[0])


def _neuron(values: Mapping[str, np.ndarray | str], path: str) -> Neuron:
    def entry(key: str):
        return values[f"{path}/neuron/{key}"]

    if entry("type") == "GLIF":
        return Glif(**{f.name: entry(f.name) for f in fields(Glif)})
    return Lif(entry("vDecay").item(), entry("vThMant").item(), entry("spiking").item())
