"""Network descriptions (lava_models.cost.description): read, checked, written, made of a model.net.

Someone who asks before training types one:

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
import re
from collections.abc import Iterator
from pathlib import Path

import tomli

from hw_configs.files import UserError
from hw_configs.loader import build
from lava_models.cost.description import FORMS, GATED_STATE_WORDS, KINDS, LayerDescription, Network
from lava_models.net.latents import MOST_THINNING_BITS
from lava_models.net.layers import Glif
from lava_models.net.netfile import NetFile
from lava_models.net.schedule import (
    CLOCK,
    FEEDBACK,
    SELECTION,
    SILENCE,
    clocked,
    latent_part,
    layer_order,
)
from lava_models.reference.rule30 import POPULATIONS


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
    data.pop("measured", None)  # of a published run; lava_models.cost.validation reads it
    network = build(Network, data, str(path))
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
        shape = (net.latent,) if net.poisson else net.image_shape
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
