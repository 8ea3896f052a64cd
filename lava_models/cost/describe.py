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
import math
import re
from pathlib import Path

import numpy as np

from hw_configs.files import UserError
from hw_configs.loader import build
from hw_configs.reading import MOST_NEURONS, read_json, read_toml
from lava_models.cost.description import FORMS, GATED_STATE_WORDS, KINDS, LayerDescription, Network
from lava_models.net.latents import MOST_THINNING_BITS
from lava_models.net.layers import Glif
from lava_models.net.netfile import NetFile
from lava_models.net.populations import Draw, Host, Neurons, Population, RingNeurons, Stored
from lava_models.net.program import Program, build_program
from lava_models.net.ring import POPULATIONS


def read_description(path: Path) -> Network:
    """Read a description in TOML or JSON.

    Raises:
        UserError: no such file, not TOML or JSON, a key unknown or wrong, layers that do not fit.
    """
    read = read_json if path.suffix == ".json" else read_toml
    data = read(path, "expected a network description (TOML or JSON) or a NetX file (.net)")
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a table with name and layers, got a list")
    data.pop("measured", None)  # of a published run; lava_models.cost.validation reads it
    network = build(Network, data, str(path))
    _check(network, str(path))
    return network


def _check(network: Network, where: str) -> None:
    if len(network.layers) > MOST_LAYERS:
        raise UserError(f"{where}: {len(network.layers)} layers, expected at most {MOST_LAYERS}")
    seen: set[str] = set()
    later = {layer.name for layer in network.layers}
    for layer in network.layers:
        here = f"{where}: layers: {layer.name}"
        if layer.name in seen:
            raise UserError(f"{here}: occurs twice; names must differ")
        _check_extent(layer, here)
        if layer.kind not in KINDS:
            raise UserError(f"{here}: kind {layer.kind!r}, known are {', '.join(KINDS)}")
        if layer.form not in FORMS:
            raise UserError(f"{here}: form {layer.form!r}, known are {', '.join(FORMS)}")
        if layer.density is not None and not (
                (layer.kind == "dense" or layer.summed) and 0 < layer.density <= 1):
            raise UserError(f"{here}: density {layer.density}, expected above 0 to 1, of a dense "
                            "layer or a summed selection")
        if layer.replayed and layer.kind != "input":
            raise UserError(f"{here}: replayed is for inputs, not for kind {layer.kind!r}")
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
        for key in ("kernel", "stride", "padding", "dilation"):
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
            if layer.summed:
                if not sources or sources[0] not in seen:
                    raise UserError(f"{here}: expected an earlier first source")
            elif not (poisson and layer.clocked) and (
                    not sources or sources[0] not in seen
                    or network.neurons(sources[0]) != layer.latent * layer.k):
                raise UserError(f"{here}: expected an earlier first source of latent x k = "
                                f"{layer.latent * layer.k} neurons")
        if layer.kind in ("conv", "convT"):
            if len(sources) != 1 or layer.channels < 1:
                raise UserError(f"{here}: expected one source and channels of at least 1")
            if sources[0] not in seen or len(network.shape(sources[0])) != 3:
                raise UserError(f"{here}: expected an earlier source of shape [C, H, W]")
            inputs = network.shape(sources[0])[0]
            if layer.groups < 1 or layer.channels % layer.groups or inputs % layer.groups or (
                    layer.kind == "convT" and (layer.groups > 1 or max(layer.dilation) > 1)):
                raise UserError(f"{here}: groups {layer.groups}, dilation {list(layer.dilation)}; "
                                f"groups have to divide {inputs} and {layer.channels} channels, "
                                "and a convT has neither")
        if not 0 <= layer.delay_bits <= 6:
            raise UserError(f"{here}: delay_bits {layer.delay_bits}, expected 0 to 6")
        shape = network.shape(layer.name)
        if not shape or min(shape) < 1 or len(shape) not in (1, 3):
            raise UserError(f"{here}: shape {list(shape)}, expected [neurons] or [C, H, W]")
        if math.prod(shape) > MOST_NEURONS:
            raise UserError(f"{here}: shape {list(shape)}, expected at most {MOST_NEURONS} neurons")
        seen.add(layer.name)
    if not network.layers:
        raise UserError(f"{where}: no layers")
    _check_ring(network, where)


def _check_ring(network: Network, where: str) -> None:
    """What is drawn is drawn from one ring of random bits, all of which is there."""
    drawn = [la for la in network.layers if la.kind in ("selection", "random_bits")]
    missing = [name for name in POPULATIONS if network.by_name.get(name, None) is None
               or network.by_name[name].kind != "random_bits"]
    if drawn and missing:
        raise UserError(f"{where}: layers: {drawn[0].name}: is drawn from random bits, but "
                        f"{missing[0]!r} is not there")
    bits = {(la.latent * la.random_bits, la.held_bits): la.name for la in drawn}
    if len(bits) > 1:
        raise UserError(f"{where}: layers: {' and '.join(bits.values())} differ in latent times "
                        "random_bits, or held_bits; one ring serves all")
    for layer in network.layers:
        held = [s for s in network.sources(layer) if network.by_name[s].kind == "random_bits"]
        if layer.kind == "one_to_one" and held and network.by_name[held[0]].held_bits < 1:
            raise UserError(f"{where}: layers: {layer.name}: holds random bits, but {held[0]} has "
                            "no held_bits")


MOST_LAYERS, MOST_EXTENT = 2**10, 2**16
"""Of a description, and of whatever counts a layer's channels, steps or bits."""
MOST_SILENCERS = 64
"""One per tick of the lag."""


def _check_extent(layer: LayerDescription, where: str) -> None:
    """Numbers that nothing real has would be summed over for ever."""
    for key, value in vars(layer).items():
        for n in value if isinstance(value, tuple) else (value,):
            most = {"shape": MOST_NEURONS, "silencers": MOST_SILENCERS}.get(key, MOST_EXTENT)
            if type(n) is int and not 0 <= n <= most:
                raise UserError(f"{where}: {key}: got {n}, expected 0 to {most}")
    if layer.published and not all(0 <= n <= MOST_NEURONS for n in layer.published.values()):
        raise UserError(f"{where}: published: expected numbers of 0 to {MOST_NEURONS}")


def describe(net: NetFile, mode: str, form: str = "unrolled", name: str = "model.net") -> Network:
    """A model.net in `mode` as a description.

    Args:
        form: of its convolutions, "unrolled" or "shared".
    """
    program = build_program(net, mode)
    layers: dict[str, LayerDescription] = {}
    for population in program.populations:
        of = _describe(program, population, form)
        if of.name in layers:  # one more tick neuron of the clock, or one more relay
            before = layers[of.name]
            of = dataclasses.replace(
                of, shape=(of.shape[0] + before.shape[0],), sources=before.sources
                and tuple(dict.fromkeys((*before.sources, *of.sources))))
        layers[of.name] = of
    return Network(f"{name}, {mode}", tuple(layers.values()), mode=mode)


def _describe(program: Program, population: Population, form: str) -> LayerDescription:
    kind, inputs = population.kind, program.into(population.name)
    sources = tuple(dict.fromkeys(
        program[c.source].compiled for c in inputs if c.port != "tick"))
    common = {"name": population.compiled, "part": population.part, "sources": sources,
              "clocked": any(c.port == "tick" for c in inputs)}
    if isinstance(kind, Neurons):
        layer = kind.layer
        if isinstance(layer.neuron, Glif):
            common["state_words"] = GATED_STATE_WORDS
        if layer.type == "dense":  # its process is Sparse
            return LayerDescription(kind="dense", shape=population.shape,
                                    density=_density(layer.weight), **common)
        return LayerDescription(
            kind=layer.type, channels=layer.shape[0], kernel=(layer.kernel,) * 2,
            stride=(layer.stride,) * 2, padding=(layer.padding,) * 2, form=form,
            output_padding=getattr(layer, "output_padding", 0), **common)
    if isinstance(kind, Draw):
        return LayerDescription(
            kind="selection", k=kind.selection.candidates, latent=population.size,
            random_bits=kind.selection.bits, silencers=program.draws[-1].kind.muted,
            summed=kind.layer is not None, held_bits=kind.spare,
            density=None if kind.layer is None else _density(kind.layer.weight), **common)
    if isinstance(kind, Stored):
        return LayerDescription(kind="one_to_one", shape=population.shape, **common)
    if isinstance(kind, RingNeurons):
        draw = program.draws[0]
        return LayerDescription(kind="random_bits", latent=draw.size, held_bits=draw.kind.spare,
                                random_bits=draw.kind.selection.bits, **common)
    if isinstance(kind, Host):
        return LayerDescription(population.name, "input", population.shape, on_chip=False,
                                part=population.part)
    return LayerDescription(population.compiled, "clock", population.shape, part=population.part)


def _density(weight: np.ndarray) -> float:
    """Share of weights that are not zero."""
    return round(float(np.count_nonzero(weight) / weight.size), 4)


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
