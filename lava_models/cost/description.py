"""A network as the chip's compiler sees it: populations, shapes and bits, no weights.

How one is typed, read and written, and made of a model.net: lava_models.cost.describe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from hw_configs.files import UserError
from lava_models.net.latents import Selection, Thinning
from lava_models.net.layers import ConvT, Lif
from lava_models.net.ring import POPULATIONS, Ring, ring_synapses
from lava_models.net.synapse import selection_synapses, subpixel

KINDS = ("input", "dense", "conv", "convT", "one_to_one", "selection", "random_bits", "clock")
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
    """input, dense, conv, convT; selection, random_bits and clock for latents drawn on the chip;
    one_to_one for what holds them: source neuron i reaches neuron i mod n; a clock's reach all
    together, and of random_bits those that are held reach as many as there are."""
    shape: tuple[int, ...] = ()
    """(neurons,), or (C, H, W). Follows from the rest for conv, convT, selection, random_bits."""
    sources: tuple[str, ...] | None = None
    """Layers it gets spikes from (default: the one before)."""
    weight_bits: tuple[int, ...] = (8,)
    """Per source, or one for all."""
    delay_bits: int = 0
    """Of each synapse of a dense layer, beside its weight and index (Loihi 1's format)."""
    plastic: tuple[bool, ...] = (False,)
    """Whether the synapses learn on the chip; per source, or one for all."""
    channels: int = 0
    """C_out of conv and convT."""
    kernel: tuple[int, ...] = (3, 3)
    """(y, x)."""
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    """Of conv, as `groups`."""
    groups: int = 1
    output_padding: int = 0
    form: str = "shared"
    """Of conv and convT: kernel shared over space, or unrolled into a matrix."""
    state_words: int = 1
    """Words of 64 bits per neuron: 1 for LIF."""
    density: float | None = None
    """Share of weights that are not zero, of a dense layer stored as `Sparse`, which culls zeros
    (or of what a selection sums); None: stored as `Dense`, which does not."""
    replayed: bool = False
    """Of an input: its frames are kept on the chip and replayed (CyclicBuffer)."""
    clocked: bool = False
    """Its bias arrives as two synapses from a tick neuron; see lava_models.net.schedule."""
    latent: int = 0
    """C, of selection and random_bits."""
    k: int = 0
    """Candidates per latent channel; 1 for Poisson latents, which get chances."""
    summed: bool = False
    """Of a selection: its first source reaches all of it, as a dense layer, in place of
    candidates."""
    random_bits: int = 0
    held_bits: int = 0
    """Of selection and random_bits: how many more bits the ring draws, which are held."""
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
    density: float = 1.0
    """Share of the targets that an axon reaches, where there is no pattern."""


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
                return layer.channels, *((n + 2 * p - d * (k - 1) - 1) // s + 1
                                         for (n, k, s, p), d in zip(ends, layer.dilation))
            return layer.channels, *((n - 1) * s - 2 * p + k + layer.output_padding
                                     for n, k, s, p in ends)
        if layer.kind == "selection":
            return (layer.latent,)
        if layer.kind == "random_bits":
            sizes = dict(zip(POPULATIONS, self._ring(layer).sizes))
            return (sizes[name],)
        return layer.shape

    def neurons(self, name: str) -> int:
        return math.prod(self.shape(name))

    def synapses(self, layer: LayerDescription) -> list[Synapses]:
        """What ends on `layer`, except convolutions and the bias."""
        if layer.kind in ("input", "clock", "conv", "convT"):
            return []
        if layer.kind == "selection":
            return self._selection(layer)
        if layer.kind == "random_bits":
            cells, rule, bits = POPULATIONS
            to_rule, to_cells, to_bits = ring_synapses(self._ring(layer))
            source, matrix = {cells: (rule, to_cells), rule: (cells, to_rule),
                              bits: (cells, to_bits)}[layer.name]
            return [Synapses(source, 8, matrix.tocsc())]
        sources = self.sources(layer)
        bits, plastic = (v * len(sources) if len(v) == 1 else v
                         for v in (layer.weight_bits, layer.plastic))
        if layer.kind == "one_to_one":
            return [Synapses(source, b, self._one_to_one(layer, source))
                    for source, b in zip(sources, bits)]
        density = 1.0 if layer.density is None else layer.density
        return [Synapses(source, b + PLASTIC_BITS * p + layer.delay_bits,
                         axons=self.neurons(source), density=density)
                for source, b, p in zip(sources, bits, plastic)]

    @staticmethod
    def _ring(layer: LayerDescription) -> Ring:
        return Ring(layer.latent * layer.random_bits + layer.held_bits)

    def _one_to_one(self, layer: LayerDescription, source: str) -> sparse.csc_matrix:
        n, size, of = self.neurons(layer.name), self.neurons(source), self.by_name[source]
        targets, sources = np.arange(n), np.zeros(n, np.int64)
        if of.kind == "random_bits":  # `either` and `both` of each
            held = targets % of.held_bits - of.held_bits
            sources = np.concatenate([end + held for end in (size // 2, size)])
            targets = np.tile(targets, 2)
        elif of.kind != "clock":
            sources = np.arange(size)
            targets = sources % n
        return sparse.csc_matrix((np.ones(len(targets), np.int32), (targets, sources)), (n, size))

    def _selection(self, layer: LayerDescription) -> list[Synapses]:
        sources = {"bits_in": POPULATIONS[2]}
        for source in self.sources(layer):
            if self.by_name[source].kind == "clock":
                sources["silence"] = source
        if not (layer.clocked or layer.summed):  # else its chances are constants, which come as a
            # bias does, or its sums those of a dense layer
            sources["zeta_in"] = self.sources(layer)[0]
        draw = Thinning(layer.random_bits) if layer.k == 1 else Selection(layer.k,
                                                                          layer.random_bits)
        summed = self.sources(layer)[:1] if layer.summed else ()
        density = 1.0 if layer.density is None else layer.density
        return [*(Synapses(source, 8, axons=self.neurons(source), density=density)
                  for source in summed),
                *(Synapses(sources[port], 8, matrix.tocsc())
                  for port, matrix, _ in selection_synapses(draw, layer.latent, layer.silencers,
                                                            layer.held_bits)
                  if matrix.nnz and port in sources)]

    def as_shared(self, layer: LayerDescription) -> tuple[tuple[int, int, int], tuple[int, int],
                                                          tuple[int, int]]:
        """The convolution a core runs: its map (C, H, W), kernel and stride (y, x).

        A transposed convolution runs in its sub-pixel form: stride^2 times the channels on the
        grid of its input (lava_models.net.synapse.shared_kernel).

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
        window, low = subpixel(ConvT(  # of a single channel: only its taps are asked for
            np.ones((1, 1, *layer.kernel), np.int32), np.zeros(1, np.int32), Lif(0, 1),
            (1, *before[1:]), s, layer.padding[0], layer.output_padding))
        side = 2 * max(-low, low + window.shape[-1] - 1) + 1
        return (c * s * s, h // s, w // s), (side, side), (1, 1)
