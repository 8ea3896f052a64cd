"""Does it fit: every layer partitioned over neurocores, as the closed compiler is seen to do it.

The rules were recovered from the tables the compiler printed in public notebooks; the networks in
`hw_configs/networks` are those tables, and `published_differences` says where the rules miss them.
All figures are words of 64 bits:

    neurons   1 per neuron of stock LIF (state_words of another)
    AxonIn    1 per input axon; a convolution's are shared: as many as its stride in x
    synapses  per input axon ceil((n * (weight bits + 12 index bits) + 10) / 64) for n targets on
              the core; per tap (y, x, c_in) of a shared kernel
              ceil((n * weight bits + header) / 64)
    AxonMap   1 per neuron; for a convolution that feeds one, stride in x times 1 per pixel
    AxonMem   not modelled: 0 to 731 of 16,000 words in the published tables

A layer that does not fit one core is split into ceil(largest used / limit) parts, and the parts
again until they fit. Not seen in any table, so assumptions: sparse matrices cost their synapses by
the rule for dense ones, cores hold consecutive neurons; a convolution whose single column, or whose
kernels, are too much for a core is split by output channels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw_configs import Board, CoreLimits
from hw_configs.files import UserError
from lava_models.cost.description import LayerDescription, Network, Synapses

WORD = 64
INDEX_BITS = 12
HEADER_BITS = 10
STRIDED_HEADER_BITS = 72
"""Per tap of a kernel with a stride in x; 65 to 72 fit all published layers."""
STORED_BITS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 8: 8}
"""Weight bits as stored: there is no 7-bit format."""
BIAS_AXONS = 2
"""A bias from a tick neuron takes a fine and a coarse synapse per neuron."""
COLUMNS = {"axon_in": "AxonIn", "neuron_groups": "NeuronGr", "neurons": "Neurons",
           "synapses": "Synapses", "axon_map": "AxonMap", "total": "Total"}
_LIMIT_OF = {"synapses": "synapse_words", "total": "total_words"}


@dataclass(frozen=True)
class CoreUse:
    """What one layer's part takes of one core, in words."""

    neurons: int
    synapses: int
    axon_in: int
    axon_map: int
    neuron_groups: int = 1

    @property
    def total(self) -> int:
        return (self.neurons + self.synapses + self.axon_in + self.axon_map
                + self.neuron_groups)


@dataclass(frozen=True)
class LayerFit:
    """One layer's cores."""

    name: str
    part: str
    form: str
    """input, dense, sparse, shared convolution, clock."""
    cores: tuple[CoreUse, ...]
    core_of: np.ndarray
    """Which of `cores` each neuron is on: int32 (neurons,), maps flattened in (C, H, W) order."""
    use: dict[str, tuple[int, int | None]]
    """Per column of the compiler's table: used by the fullest core, limit (None: unknown)."""

    @property
    def binds(self) -> str:
        """The column that is fullest."""
        known = {k: used / limit for k, (used, limit) in self.use.items() if limit}
        return max(known, key=known.get)

    def mean(self, column: str) -> float:
        """A column's mean over the layer's cores, as the compiler prints it."""
        return sum(getattr(core, column) for core in self.cores) / len(self.cores)


@dataclass(frozen=True)
class Fit:
    """A network on the cores of a board, layer after layer."""

    network: Network
    board: Board
    layers: tuple[LayerFit, ...]

    @property
    def cores(self) -> int:
        return sum(len(layer.cores) for layer in self.layers)

    @property
    def chips(self) -> int:
        return math.ceil(self.cores / self.board.cores_per_chip)

    @property
    def fits(self) -> bool:
        return self.chips <= self.board.chips.value

    @property
    def binds(self) -> str:
        """The layer with the most cores and the column that fills them, in words."""
        layer = max(self.layers, key=lambda la: len(la.cores))
        return f"{layer.name}: {len(layer.cores)} cores, by {COLUMNS[layer.binds]}"

    @property
    def cores_by_part(self) -> dict[str, int]:
        """Cores of the encoder, the decoder, ..."""
        parts = dict.fromkeys((layer.part for layer in self.layers), 0)
        for layer in self.layers:
            parts[layer.part] += len(layer.cores)
        return parts

    def first_core(self, name: str) -> int:
        """Number of a layer's first core; cores are taken in the order of the layers."""
        names = [layer.name for layer in self.layers]
        return sum(len(layer.cores) for layer in self.layers[:names.index(name)])


def fit(network: Network, board: Board) -> Fit:
    """Partition every layer of `network` that is on the chip.

    Raises:
        UserError: a single neuron takes more than a core holds; names the layer and the column.
    """
    core = board.chip.core_of(network.compiler)
    return Fit(network, board, tuple(_fit_layer(network, layer, core) for layer in network.layers
                                     if layer.on_chip))


def _fit_layer(network: Network, layer: LayerDescription, core: CoreLimits) -> LayerFit:
    shape = network.shape(layer.name)
    if layer.kind in ("conv", "convT") and layer.form == "shared":
        form, partition = "shared convolution", _Convolution(network, layer)
    elif len(shape) == 3 and layer.kind == "input":
        form, partition = "input", _Tiles(shape, _axons_of(network, layer))
    else:
        sparse = layer.kind not in ("dense", "input", "clock")
        form = "sparse" if sparse else layer.kind
        partition = _Rows(network, layer)
    cores, core_of = partition.split(lambda use: _worst(use, core), f"{network.name}: {layer.name}")
    use = {}
    for column in COLUMNS:
        limit = _limit(core, column)
        use[column] = (max(getattr(c, column) for c in cores), limit)
    return LayerFit(layer.name, layer.part or layer.name, form, tuple(cores), core_of, use)


def _limit(core: CoreLimits, column: str) -> int | None:
    limit = getattr(core, _LIMIT_OF.get(column, column))
    return None if limit is None else limit.value


def _worst(use: CoreUse, core: CoreLimits) -> tuple[float, str]:
    """The largest used / limit and its column."""
    limits = {column: _limit(core, column) for column in COLUMNS}
    return max((getattr(use, c) / limit, c) for c, limit in limits.items() if limit)


Worst = Callable[[CoreUse], tuple[float, str]]


def _split(most: int, use: Callable[[int], list[CoreUse]], worst: Worst, where: str) -> int:
    """Units (neurons, channels) per part, of `most`: split by the largest excess until all fit."""
    parts = 1
    while True:
        chunk = math.ceil(most / parts)
        excess, column = max(worst(core) for core in use(chunk))
        if excess <= 1:
            return chunk
        if chunk == 1:
            raise UserError(f"{where}: does not fit: the smallest part takes {excess:.1f} times "
                            f"what a core has of {COLUMNS[column]}")
        parts = min(parts * math.ceil(excess), most)


def _words(targets, bits: int, header: int = HEADER_BITS):
    """Words of a list of `targets` synapses."""
    return -(-(targets * bits + header) // WORD)


def _axons_of(network: Network, layer: LayerDescription) -> int:
    """AxonMap words per pixel of a map, 0 where every neuron needs one of its own."""
    targets = network.targets(layer.name)
    if not targets or any(t.kind not in ("conv", "convT") or t.form != "shared" for t in targets):
        return 0
    return layer.stride[1] if layer.kind == "conv" else 1


class _Rows:
    """Consecutive neurons of a layer whose synapses are lists per axon."""

    def __init__(self, network: Network, layer: LayerDescription) -> None:
        self.neurons = network.neurons(layer.name)
        shape, per_pixel = network.shape(layer.name), _axons_of(network, layer)
        self.axon_map = per_pixel / shape[0] if per_pixel else 1.0
        self.groups = network.synapses(layer)
        self.bias_axons, self.state = BIAS_AXONS * layer.clocked, layer.state_words

    def use(self, chunk: int) -> list[CoreUse]:
        n = np.diff(np.append(np.arange(0, self.neurons, chunk), self.neurons))
        axons, words = np.zeros((2, len(n)), np.int64)
        for group in self.groups:
            bits = (STORED_BITS.get(group.bits, group.bits) + INDEX_BITS)
            if group.pattern is None:
                axons += group.axons
                words += group.axons * _words(n, bits)
            else:
                reached = self._reached(group, chunk, len(n))
                axons += np.count_nonzero(reached, axis=0)
                words += np.where(reached, _words(reached, bits), 0).sum(axis=0)
        words += self.bias_axons * _words(n, STORED_BITS[8] + INDEX_BITS)
        axons += self.bias_axons
        return [CoreUse(int(n_) * self.state, int(w), int(a), math.ceil(n_ * self.axon_map))
                for n_, w, a in zip(n, words, axons)]

    @staticmethod
    def _reached(group: Synapses, chunk: int, parts: int) -> np.ndarray:
        """Targets per axon and part: int64 (axons, parts)."""
        pattern = group.pattern
        axon = np.repeat(np.arange(pattern.shape[1]), np.diff(pattern.indptr))
        key = axon * parts + pattern.indices // chunk
        return np.bincount(key, minlength=pattern.shape[1] * parts).reshape(-1, parts)

    def split(self, worst: Worst, where: str) -> tuple[list[CoreUse], np.ndarray]:
        chunk = _split(self.neurons, self.use, worst, where)
        return self.use(chunk), np.arange(self.neurons, dtype=np.int32) // chunk


class _Tiles:
    """A map cut along x: full height and channels, a power of two wide."""

    axons = 1
    taps = 0
    kernel_bits = 0
    header = HEADER_BITS
    bias_axons = 0
    state = 1

    def __init__(self, shape: tuple[int, int, int], axon_map: int) -> None:
        self.shape, self.per_pixel = shape, axon_map
        self.group = shape[0]

    def use(self, width: int, channels: int) -> list[CoreUse]:
        c, h, w = self.shape
        out = []
        for first in range(0, c, channels):
            n_c = min(channels, c - first)
            for x in range(0, w, width):
                pixels = h * min(width, w - x)
                words = math.ceil(n_c / self.group) * self.taps * int(
                    _words(min(n_c, self.group) * self.kernel_bits, 1, self.header))
                words += self.bias_axons * int(_words(pixels * n_c, STORED_BITS[8] + INDEX_BITS))
                out.append(CoreUse(
                    pixels * n_c * self.state, words, self.axons + self.bias_axons,
                    pixels * self.per_pixel if self.per_pixel else pixels * n_c))
        return out

    def split(self, worst: Worst, where: str) -> tuple[list[CoreUse], np.ndarray]:
        c, h, w = self.shape
        # By neurons first, along x. A tile counts whole even where it overhangs the map: PilotNet's
        # last map, 20 x 2 x 64, is cut at 16, as 32 columns would be 4,096 neurons.
        width = 1 << (w - 1).bit_length()
        while width > 1 and self._neurons_exceed(width, worst):
            width //= 2
        channels = _split(c, lambda n: self.use(width, n), worst, where)
        tiles = -(-w // width)
        core = np.add.outer((np.arange(c) // channels) * tiles, np.arange(w) // width)
        return self.use(width, channels), self._to_map(
            np.broadcast_to(core[:, None], (c, h, w))).ravel().astype(np.int32)

    def _neurons_exceed(self, width: int, worst: Worst) -> bool:
        c, h, _ = self.shape
        return worst(CoreUse(c * h * width * self.state, 0, 0, 0))[0] > 1

    def _to_map(self, core: np.ndarray) -> np.ndarray:
        return core


class _Convolution(_Tiles):
    """A convolution that keeps one kernel per core; a transposed one in its sub-pixel form."""

    def __init__(self, network: Network, layer: LayerDescription) -> None:
        shape, kernel, stride = network.as_shared(layer)
        scale = network.shape(layer.name)[1] // shape[1]
        super().__init__(shape, _axons_of(network, layer) * scale**2)
        self.scale, self.state = scale, layer.state_words
        self.axons = stride[1]
        self.taps = math.prod(kernel) * network.shape(network.sources(layer)[0])[0] // layer.groups
        self.group = shape[0] // layer.groups
        self.kernel_bits = STORED_BITS[layer.weight_bits[0]]
        self.header = STRIDED_HEADER_BITS if stride[1] > 1 else HEADER_BITS
        self.bias_axons = BIAS_AXONS * layer.clocked

    def _to_map(self, core: np.ndarray) -> np.ndarray:
        """Pixel shuffle: (C, r_y, r_x) channels on (H, W) to C channels on (r_y H, r_x W)."""
        c, h, w = core.shape
        s = self.scale
        return core.reshape(c // s**2, s, s, h, w).transpose(0, 3, 1, 4, 2).reshape(
            c // s**2, h * s, w * s)


# --- what was published -----------------------------------------------------------------------


def published_differences(result: Fit) -> list[str]:
    """Where the mapper's table is not the compiler's, one line per difference.

    The compiler prints means over a layer's cores, cut to integers; for convolutions' neurons
    those of a whole tile.
    """
    lines = []
    for layer in result.layers:
        published = result.network.by_name[layer.name].published or {}
        for column, value in published.items():
            if column == "cores":
                mine = len(layer.cores)
            elif column == "axon_mem":
                if value:
                    lines.append(f"{layer.name}: AxonMem {value}, not modelled")
                continue
            elif column == "neurons" and layer.form in ("shared convolution", "input"):
                mine = max(core.neurons for core in layer.cores)
            else:
                mine = int(layer.mean(column))
            if mine != value:
                lines.append(f"{layer.name}: {COLUMNS.get(column, column)} {mine}, published "
                             f"{value} ({mine / value - 1:+.1%})")
    if result.network.published_cores not in (None, result.cores):
        lines.append(f"cores in all {result.cores}, published {result.network.published_cores}")
    return lines


def other_form(network: Network, form: str) -> Network:
    """The same network with its convolutions "shared" or "unrolled"."""
    return dataclasses.replace(network, layers=tuple(
        dataclasses.replace(layer, form=form) if layer.kind in ("conv", "convT") else layer
        for layer in network.layers))
