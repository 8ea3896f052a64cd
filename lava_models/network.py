"""A network as the chip's compiler sees it: populations, shapes and bits, no weights.

Written from a model.net, read from any NetX file, or typed by someone who asks before training:

    name = "MNIST 784-128-10"
    [[layers]]
    name = "input"
    kind = "input"
    shape = [784]
    on_chip = false
    [[layers]]
    name = "hidden"
    kind = "dense"
    shape = [128]
    [[layers]]
    name = "out"
    kind = "dense"
    shape = [10]
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tomli
from scipy import sparse

from hw_configs.loader import HwConfigError, build
from lava_models.files import UserError
from lava_models.latents import MOST_THINNING_BITS, Selection, Thinning
from lava_models.netfile import Conv, ConvT, Glif, Lif, NetFile
from lava_models.rule30 import POPULATIONS, Ring, ring_synapses
from lava_models.schedule import (
    CLOCK,
    FEEDBACK,
    SELECTION,
    SILENCE,
    clocked,
    latent_part,
    layer_order,
)
from lava_models.synapse import selection_synapses, subpixel, unroll

KINDS = ("input", "dense", "conv", "convT", "selection", "random_bits", "clock")
FORMS = ("shared", "unrolled")
GATED_STATE_WORDS = 3
"""Of a gated neuron: as many as a published microcoded one takes (Izhikevich: OzU-CAST,
LoihiScalingEfficiency)."""
PLASTIC_BITS = 16
"""What a learning synapse takes beyond weight and index; deduced in `hw_configs/networks`."""


@dataclass(frozen=True)
class LayerDescription:
    """One population and the synapses that end on it."""

    name: str
    kind: str
    """input, dense, conv, convT; selection, random_bits and clock for latents drawn on the chip."""
    shape: tuple[int, ...] = ()
    """(neurons,), or (C, H, W). Follows from the rest for conv, convT, selection, random_bits."""
    sources: tuple[str, ...] | None = None
    """Layers it gets spikes from (default: the one before)."""
    weight_bits: tuple[int, ...] = (8,)
    """Per source, or one for all."""
    plastic: tuple[bool, ...] = (False,)
    """Whether the synapses learn on the chip; per source, or one for all."""
    channels: int = 0
    """C_out of conv and convT."""
    kernel: tuple[int, ...] = (3, 3)
    """(y, x)."""
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    output_padding: int = 0
    form: str = "shared"
    """Of conv and convT: kernel shared over space, or unrolled into a matrix."""
    state_words: int = 1
    """Words of 64 bits per neuron: 1 for LIF."""
    clocked: bool = False
    """Its bias arrives as two synapses from a tick neuron; see lava_models.schedule."""
    latent: int = 0
    """C, of selection and random_bits."""
    k: int = 0
    """Candidates per latent channel; 1 for Poisson latents, which get chances."""
    random_bits: int = 0
    silencers: int = 0
    """Tick neurons that end a sample's feedback, of selection."""
    part: str = ""
    """Of the network: encoder, posterior, ...; what reports sum over."""
    on_chip: bool = True
    published: dict[str, int] | None = None
    """What a compiler printed for this layer; for checks."""


@dataclass(frozen=True)
class Synapses:
    """Synapses from one source, as lists per axon."""

    source: str
    bits: int
    """Of one synapse, its index aside: weight, and what learning takes."""
    pattern: sparse.csc_matrix | None = None
    """Which of the targets (rows) an axon (columns) reaches; None: all of them."""
    axons: int = 0
    """Columns, where there is no pattern."""


@dataclass(frozen=True)
class Network:
    """A chain of described layers."""

    name: str
    layers: tuple[LayerDescription, ...]
    source: str = ""
    compiler: str | None = None
    """Whose core limits apply (default: the newest known)."""
    published_cores: int | None = None
    mode: str = ""

    @cached_property
    def by_name(self) -> dict[str, LayerDescription]:
        return {layer.name: layer for layer in self.layers}

    def sources(self, layer: LayerDescription) -> tuple[str, ...]:
        """Names of the layers that `layer` gets spikes from."""
        if layer.sources is not None:
            return layer.sources
        at = self.layers.index(layer)
        return () if layer.kind in ("input", "clock", "random_bits") or not at else (
            self.layers[at - 1].name,)

    def targets(self, name: str) -> list[LayerDescription]:
        """Layers that get spikes from `name`."""
        return [layer for layer in self.layers if name in self.sources(layer)]

    def shape(self, name: str) -> tuple[int, ...]:
        """(neurons,) or (C, H, W) of a layer."""
        layer = self.by_name[name]
        if layer.kind in ("conv", "convT"):
            _, h, w = self.shape(self.sources(layer)[0])
            ends = zip((h, w), layer.kernel, layer.stride, layer.padding)
            if layer.kind == "conv":
                return layer.channels, *((n + 2 * p - k) // s + 1 for n, k, s, p in ends)
            return layer.channels, *((n - 1) * s - 2 * p + k + layer.output_padding
                                     for n, k, s, p in ends)
        if layer.kind == "selection":
            return (layer.latent,)
        if layer.kind == "random_bits":
            sizes = dict(zip(POPULATIONS, Ring(layer.latent * layer.random_bits).sizes))
            return (sizes[name],)
        return layer.shape

    def neurons(self, name: str) -> int:
        return math.prod(self.shape(name))

    def synapses(self, layer: LayerDescription) -> list[Synapses]:
        """What ends on `layer`, except a convolution in its shared form and the bias."""
        if layer.kind in ("input", "clock"):
            return []
        if layer.kind == "selection":
            return self._selection(layer)
        if layer.kind == "random_bits":
            cells, rule, bits = POPULATIONS
            to_rule, to_cells, to_bits = ring_synapses(Ring(layer.latent * layer.random_bits))
            source, matrix = {cells: (rule, to_cells), rule: (cells, to_rule),
                              bits: (cells, to_bits)}[layer.name]
            return [Synapses(source, 8, matrix.tocsc())]
        sources = self.sources(layer)
        bits, plastic = (v * len(sources) if len(v) == 1 else v
                         for v in (layer.weight_bits, layer.plastic))
        if layer.kind != "dense":
            return [Synapses(sources[0], bits[0], self._unrolled(layer))]
        return [Synapses(source, b + PLASTIC_BITS * p, axons=self.neurons(source))
                for source, b, p in zip(sources, bits, plastic)]

    def _selection(self, layer: LayerDescription) -> list[Synapses]:
        sources = {"bits_in": POPULATIONS[2], "silence": SILENCE}
        if not layer.clocked:  # else its chances are constants, which come as a bias does
            sources["zeta_in"] = self.sources(layer)[0]
        draw = Thinning(layer.random_bits) if layer.k == 1 else Selection(layer.k,
                                                                          layer.random_bits)
        return [Synapses(sources[port], 8, matrix.tocsc())
                for port, matrix, _ in selection_synapses(draw, layer.latent, layer.silencers)
                if matrix.nnz and port in sources and (
                    port != "silence" or layer.name == FEEDBACK)]

    def _unrolled(self, layer: LayerDescription) -> sparse.csc_matrix:
        if len({*layer.kernel}) > 1 or len({*layer.stride}) > 1 or len({*layer.padding}) > 1:
            raise UserError(f"{self.name}: {layer.name}: only square kernels, strides and "
                            "paddings can be unrolled; use form = \"shared\"")
        return unroll(self.as_netfile_layer(layer)).tocsc()

    def as_netfile_layer(self, layer: LayerDescription) -> Conv | ConvT:
        """A convolution of this shape, every weight 1."""
        shape = self.shape(self.sources(layer)[0])
        neuron, bias = Lif(0, 1), np.zeros(layer.channels, np.int32)
        ends = (layer.stride[0], layer.padding[0])
        if layer.kind == "conv":
            return Conv(np.ones((layer.channels, shape[0], *layer.kernel), np.int32), bias, neuron,
                        shape, *ends)
        return ConvT(np.ones((shape[0], layer.channels, *layer.kernel), np.int32), bias, neuron,
                     shape, *ends, layer.output_padding)

    def as_shared(self, layer: LayerDescription) -> tuple[tuple[int, int, int], tuple[int, int],
                                                          tuple[int, int]]:
        """The convolution a core runs: its map (C, H, W), kernel and stride (y, x).

        A transposed convolution runs in its sub-pixel form: stride^2 times the channels on the
        grid of its input (lava_models.synapse.shared_kernel).

        Raises:
            UserError: there is none, as the output is not stride times the input.
        """
        c, h, w = self.shape(layer.name)
        if layer.kind == "conv":
            return (c, h, w), layer.kernel, layer.stride
        s = layer.stride[0]
        before = self.shape(self.sources(layer)[0])
        if (h, w) != (s * before[1], s * before[2]) or layer.stride[1] != s:
            raise UserError(f"{self.name}: {layer.name}: a transposed convolution from {before} to "
                            f"{(c, h, w)} has no shared-weight form, which needs stride times the "
                            "size; use form = \"unrolled\"")
        window, low = subpixel(self.as_netfile_layer(layer))
        side = 2 * max(-low, low + window.shape[-1] - 1) + 1
        return (c * s * s, h // s, w // s), (side, side), (1, 1)


# --- from a file ------------------------------------------------------------------------------


def read_description(path: Path) -> Network:
    """Read a description in TOML or JSON.

    Raises:
        UserError: no such file, not TOML or JSON, a key unknown or wrong, layers that do not fit.
    """
    try:
        text = path.read_text("utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomli.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a network description (TOML or JSON) or "
                        "a NetX file (.net)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable description: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a table with name and layers, got a list")
    data.pop("measured", None)  # of a published run; lava_models.validation reads it
    try:
        network = build(Network, data, str(path))
    except HwConfigError as error:
        raise UserError(str(error)) from None
    _check(network, str(path))
    return network


def _check(network: Network, where: str) -> None:
    seen: set[str] = set()
    later = {layer.name for layer in network.layers}
    for layer in network.layers:
        here = f"{where}: layers: {layer.name}"
        if layer.name in seen:
            raise UserError(f"{here}: occurs twice; names must differ")
        seen.add(layer.name)
        if layer.kind not in KINDS:
            raise UserError(f"{here}: kind {layer.kind!r}, known are {', '.join(KINDS)}")
        if layer.form not in FORMS:
            raise UserError(f"{here}: form {layer.form!r}, known are {', '.join(FORMS)}")
        if layer.state_words < 1:
            raise UserError(f"{here}: state_words {layer.state_words}, expected at least 1")
        if not all(bits in (1, 2, 3, 4, 5, 6, 7, 8) for bits in layer.weight_bits):
            raise UserError(f"{here}: weight_bits {list(layer.weight_bits)}, expected 1 to 8")
        sources = network.sources(layer)
        for source in sources:
            if source not in later:
                raise UserError(f"{here}: source {source!r} is no layer of the file")
        for key in ("weight_bits", "plastic"):
            if len(getattr(layer, key)) not in (1, max(len(sources), 1)):
                raise UserError(f"{here}: {key} has {len(getattr(layer, key))} entries, expected "
                                f"1 or one per source ({len(sources)})")
        for key in ("kernel", "stride", "padding"):
            if len(getattr(layer, key)) != 2 or min(getattr(layer, key)) < (key != "padding"):
                raise UserError(f"{here}: {key} {list(getattr(layer, key))}, expected [y, x]")
        if layer.kind == "random_bits" and layer.name not in POPULATIONS:
            raise UserError(f"{here}: populations of random bits are called "
                            f"{', '.join(POPULATIONS)}")
        if layer.kind in ("selection", "random_bits"):
            if layer.latent < 1 or not 4 <= layer.random_bits <= MOST_THINNING_BITS:
                raise UserError(f"{here}: latent {layer.latent}, random_bits {layer.random_bits}; "
                                f"expected at least 1, and 4 to {MOST_THINNING_BITS}")
        if layer.kind == "selection":
            poisson = layer.k == 1
            if not (poisson or 2 <= layer.k <= 64 and layer.random_bits <= 12):
                raise UserError(f"{here}: k = {layer.k}, random_bits {layer.random_bits}; expected "
                                "k of 2 to 64 and at most 12 bits, or k = 1 (Poisson latents)")
            if not (poisson and layer.clocked) and (
                    not sources or sources[0] not in seen
                    or network.neurons(sources[0]) != layer.latent * layer.k):
                raise UserError(f"{here}: expected an earlier first source of latent x k = "
                                f"{layer.latent * layer.k} neurons")
        if layer.kind in ("conv", "convT"):
            if len(sources) != 1 or layer.channels < 1:
                raise UserError(f"{here}: expected one source and channels of at least 1")
            if sources[0] not in seen or len(network.shape(sources[0])) != 3:
                raise UserError(f"{here}: expected an earlier source of shape [C, H, W]")
        shape = network.shape(layer.name)
        if not shape or min(shape) < 1 or len(shape) not in (1, 3):
            raise UserError(f"{here}: shape {list(shape)}, expected [neurons] or [C, H, W]")
    if not network.layers:
        raise UserError(f"{where}: no layers")


def describe(net: NetFile, mode: str, form: str = "unrolled", name: str = "model.net") -> Network:
    """A model.net in `mode` as a description.

    Args:
        form: of its convolutions, "unrolled" or "shared".
    """
    order, with_bias = layer_order(net, mode), clocked(net, mode)
    drawn = SELECTION in with_bias
    others = [*_random_bits(net)]
    if with_bias:
        others.append(LayerDescription(CLOCK, "clock", (len(with_bias),), part=CLOCK))
    if net.loops:
        others.append(LayerDescription(SILENCE, "clock", (min(net.lag, net.ticks),), part=CLOCK))
    chain: list[LayerDescription] = []
    upstream, named = "images", dict(net.named_layers())
    if mode == "reconstruct":
        shape = net.image_shape if net.loops else (net.latent,)
        chain.append(LayerDescription("images", "input", shape, on_chip=False, part="input"))
    for layer_name in order:
        if layer_name == SELECTION:
            chain += _selections(net, None if drawn else upstream)
            upstream = SELECTION
            continue
        layer = named[layer_name]
        part = layer_name.split(".")[0] if layer.neuron.spiking else "readout"
        common = {"name": layer_name, "clocked": layer_name in with_bias, "part": part,
                  "state_words": GATED_STATE_WORDS if isinstance(layer.neuron, Glif) else 1}
        if layer.type == "dense":
            sources = (upstream,)
            if layer_name == f"{latent_part(mode)}.0":
                sources = (upstream, FEEDBACK) if mode == "reconstruct" else (FEEDBACK,)
            elif layer_name == "decoder.0":
                sources = (SELECTION,)
            shape = layer.shape
            follower = named.get(f"{part}.{int(layer_name.split('.')[1]) + 1}")
            if follower is not None and follower.type != "dense":
                shape = follower.input_shape
            chain.append(LayerDescription(kind="dense", shape=shape, sources=sources, **common))
        else:
            chain.append(LayerDescription(
                kind=layer.type, sources=(upstream,), channels=layer.shape[0],
                kernel=(layer.kernel,) * 2, stride=(layer.stride,) * 2,
                padding=(layer.padding,) * 2, form=form,
                output_padding=getattr(layer, "output_padding", 0), **common))
        upstream = layer_name
    return Network(f"{name}, {mode}", (*chain, *others), mode=mode)


def _selections(net: NetFile, upstream: str | None) -> Iterator[LayerDescription]:
    """The threshold neurons; `upstream` None: their chances are constants from a tick neuron."""
    above = () if upstream is None else (upstream,)
    for name in (SELECTION, FEEDBACK) if net.loops else (SELECTION,):
        sources = (*above, POPULATIONS[2], *((SILENCE,) if name == FEEDBACK else ()))
        yield LayerDescription(name, "selection", sources=sources, k=net.selection.candidates,
                               part="latent", silencers=min(net.lag, net.ticks),
                               latent=net.latent, random_bits=net.random_bits,
                               clocked=upstream is None)


def _random_bits(net: NetFile) -> Iterator[LayerDescription]:
    common = {"latent": net.latent, "random_bits": net.random_bits}
    cells, rule, bits = POPULATIONS
    for name, source in ((cells, rule), (rule, cells), (bits, cells)):
        yield LayerDescription(name, "random_bits", sources=(source,), part="random bits",
                               **common)


def to_toml(network: Network) -> str:
    """A description as TOML, without what is left at its default."""
    import tomli_w

    def shown(item) -> dict:
        out = {}
        for f in dataclasses.fields(item):
            value = getattr(item, f.name)
            if value != f.default and value is not None:
                out[f.name] = list(value) if isinstance(value, tuple) else value
        return out

    data = shown(network)
    data["layers"] = [shown(layer) for layer in network.layers]
    # Short lists on one line each.
    return re.sub(r"\[\n([^\[\]]*?),\n\]", lambda m: f"[{' '.join(m[1].split())}]",
                  tomli_w.dumps(data))
