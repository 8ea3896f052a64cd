"""Does it fit: every layer partitioned over neurocores, as the closed compiler is seen to do it.

The rules were recovered from the tables the compiler printed in public notebooks; the networks in
`hw_configs/networks` are those tables, and `published_differences` says where the rules miss them.
All figures are words of 64 bits. The n channels of a core are held as parts of powers of two,
largest first (48 = 32 + 16); there are p of them. An input's channels are one part (3 one of 4).

    neurons   1 per neuron of stock LIF or sigma-delta (state_words of another)
    NeuronGr  1; p since 2024
    AxonIn    1 per input axon; p for a convolution, whatever its stride
    synapses  per input axon ceil((n * (weight bits + 12 index bits) + 8) / 64) for n targets on the
              core (of a `Sparse` matrix those that are not zero); per tap (y, x, c_in) of a shared
              kernel the sum over the parts of ceil((part * weight bits + 8) / 64), of a grouped one
              over what its group has of each part
    AxonMap   1 per neuron; p per pixel of the tile before a shared convolution
    AxonMem   pixels * p * D / 4 before a shared convolution, D of whose cores the core sends to;
              0 otherwise

Maps are cut into tiles of x * y * channels. A tile starts whole (x the next power of two) and is
halved until its neurons fit: x where twice its width is more than its height or that is odd, else
y (the compiler of 2023 halves x only). Then, while its synapses do not fit, the channels are halved
and x is doubled.

A matrix that does not fit one core is split so that every axon fills the largest power of two of
words that fits; where its source is a convolution into ceil(largest used / limit) parts, and the
parts again until they fit. Not seen in any table, so assumptions: `Sparse` costs by the rule for
`Dense` and is split by the second way; a single pixel of a single channel is never split; groups,
and that a dilated kernel's holes are counted among the pixels sent to its core.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hw_configs import Board, CoreLimits
from hw_configs.files import UserError
from lava_models.cost.description import LayerDescription, Network, Synapses
from lava_models.cost.reach import reach_of_pixels

WORD = 64
INDEX_BITS = 12
HEADER_BITS = 8
"""Of every list of synapses: 1 to 16 fit all published convolutions, 2 to 8 all matrices."""
STORED_BITS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 8: 8}
"""Weight bits as stored: there is no 7-bit format."""
BIAS_AXONS = 2
"""A bias from a tick neuron takes a fine and a coarse synapse per neuron."""
BUFFER_WORDS = 13
"""Per neuron of an input that is replayed from the chip's memory; only the Total limits them."""
COLUMNS = {"axon_in": "AxonIn", "neuron_groups": "NeuronGr", "neurons": "Neurons",
           "synapses": "Synapses", "axon_map": "AxonMap", "axon_mem": "AxonMem", "total": "Total"}
_LIMIT_OF = {"synapses": "synapse_words", "total": "total_words"}
_WORDS = tuple(column for column in COLUMNS if column != "total")


@dataclass(frozen=True)
class CoreUse:
    """What one layer's part takes of one core, in words."""

    neurons: int
    synapses: int
    axon_in: int
    axon_map: int
    axon_mem: int = 0
    neuron_groups: int = 1

    @property
    def total(self) -> int:
        return sum(getattr(self, column) for column in _WORDS)


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
    def neurons(self) -> np.ndarray:
        """On each core: int64 (cores,); `CoreUse.neurons` are their words."""
        return np.bincount(self.core_of, minlength=len(self.cores))

    @property
    def binds(self) -> str:
        """The column that is fullest."""
        known = {k: used / limit for k, (used, limit) in self.use.items() if limit}
        return max(known, key=known.get)

    def mean(self, column: str) -> float:
        """A column's mean over the layer's cores."""
        return sum(getattr(core, column) for core in self.cores) / len(self.cores)


@dataclass(frozen=True)
class Fit:
    """A network on the cores of a board, layer after layer."""

    network: Network
    board: Board
    layers: tuple[LayerFit, ...]

    @cached_property
    def by_name(self) -> dict[str, LayerFit]:
        return {layer.name: layer for layer in self.layers}

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
    done: dict[str, tuple[LayerFit, _Tile | None]] = {}
    for layer in reversed(network.layers):  # what a core sends to is known before the core
        if layer.on_chip:
            done[layer.name] = _fit_layer(network, layer, core, done)
    return Fit(network, board, tuple(done[layer.name][0] for layer in network.layers
                                     if layer.on_chip))


def _fit_layer(network: Network, layer: LayerDescription, core: CoreLimits,
               done: dict[str, tuple[LayerFit, _Tile | None]]) -> tuple[LayerFit, _Tile | None]:
    shared = _is_shared(layer)
    # Before shared convolutions, and nothing else, a core's axons are shared by a map's pixels.
    targets = network.targets(layer.name)
    before = [(t, done[t.name][1]) for t in targets] if targets and all(
        map(_is_shared, targets)) and all(t.name in done for t in targets) else []
    where = f"{network.name}: {layer.name}"

    def worst(use: CoreUse) -> tuple[float, str]:
        return _worst(use, core, without="neurons" if layer.replayed else None)

    tile = None
    if shared or (layer.kind == "input" and len(network.shape(layer.name)) == 3):
        form = "shared convolution" if shared else "input"
        partition = (_Convolution if shared else _Tiles)(network, layer, before)
        tile = partition.cut(worst, where)
        cores, core_of = partition.cores(tile), partition.core_of(tile)
    else:
        form = layer.kind if layer.kind in ("dense", "input", "clock") and (
            layer.density is None) else "sparse"
        partition = _Rows(network, layer, before)
        chunk = partition.split(worst, core, where)
        cores = partition.use(chunk)
        core_of = np.arange(partition.neurons, dtype=np.int32) // np.int32(chunk)
    use = {column: (max(getattr(c, column) for c in cores), _limit(core, column))
           for column in COLUMNS}
    if layer.replayed:
        use["neurons"] = (use["neurons"][0], None)
    return LayerFit(layer.name, layer.part or layer.name, form, tuple(cores), core_of, use), tile


def _is_shared(layer: LayerDescription) -> bool:
    return layer.kind in ("conv", "convT") and layer.form == "shared"


def _limit(core: CoreLimits, column: str) -> int | None:
    limit = getattr(core, _LIMIT_OF.get(column, column))
    return None if limit is None else limit.value


def _worst(use: CoreUse, core: CoreLimits, without: str | None = None) -> tuple[float, str]:
    """The largest used / limit and its column."""
    limits = {column: _limit(core, column) for column in COLUMNS if column != without}
    return max((getattr(use, c) / limit, c) for c, limit in limits.items() if limit)


Worst = Callable[[CoreUse], tuple[float, str]]


def _no_core(where: str, worst: tuple[float, str]) -> UserError:
    return UserError(f"{where}: does not fit: the smallest part takes {worst[0]:.1f} times what a "
                     f"core has of {COLUMNS[worst[1]]}")


def _words(targets, bits: int):
    """Words of a list of `targets` synapses."""
    return -(-(targets * bits + HEADER_BITS) // WORD)


def channel_parts(channels: int) -> list[int]:
    """Channels of a core as powers of two, largest first: 36 = 32 + 4."""
    return [1 << i for i in reversed(range(channels.bit_length())) if channels >> i & 1]


# --- matrices ---------------------------------------------------------------------------------


class _Rows:
    """Consecutive neurons of a layer whose synapses are lists per axon."""

    def __init__(self, network: Network, layer: LayerDescription, before: list) -> None:
        self.network, self.layer = network, layer
        self.neurons, self.state = network.neurons(layer.name), layer.state_words
        channels = network.shape(layer.name)[0]
        self.axon_map = len(channel_parts(channels)) / channels if before else 1.0
        self.reached = sum(tile.cores for _, tile in before)
        self.unrolled = layer.kind in ("conv", "convT")
        self.groups = [] if self.unrolled else network.synapses(layer)
        self.bias_axons = BIAS_AXONS * layer.clocked
        sources = [network.by_name[s] for s in network.sources(layer) if s in network.by_name]
        self.by_words = layer.kind == "dense" and layer.density is None and not any(
            s.kind in ("conv", "convT") for s in sources)

    def use(self, chunk: int) -> list[CoreUse]:
        n = np.diff(np.append(np.arange(0, self.neurons, chunk), self.neurons))
        axons, words = np.zeros((2, len(n)), np.int64)
        for group in self.groups:
            bits = STORED_BITS.get(group.bits, group.bits) + INDEX_BITS
            if group.pattern is None:
                axons += group.axons
                words += group.axons * _words(np.ceil(n * group.density).astype(np.int64), bits)
            else:
                reached = self._reached(group, chunk, len(n))
                axons += np.count_nonzero(reached, axis=0)
                words += np.where(reached, _words(reached, bits), 0).sum(axis=0)
        if self.unrolled:
            for core, reached in enumerate(_reach_of_rows(self.network, self.layer, chunk)):
                reached = reached[reached > 0]
                bits = STORED_BITS[self.layer.weight_bits[0]] + INDEX_BITS
                copies = self.network.shape(self.network.sources(self.layer)[0])[0]
                copies //= self.layer.groups
                axons[core] += copies * reached.size
                words[core] += copies * int(_words(reached, bits).sum())
        words += self.bias_axons * _words(n, STORED_BITS[8] + INDEX_BITS)
        axons += self.bias_axons
        mapped = np.ceil(n * self.axon_map).astype(np.int64)
        memory = -(-mapped * self.reached // 4)
        return [CoreUse(int(n_) * self.state, int(w), int(a), int(m), int(mem))
                for n_, w, a, m, mem in zip(n, words, axons, mapped, memory)]

    @staticmethod
    def _reached(group: Synapses, chunk: int, parts: int) -> np.ndarray:
        """Targets per axon and part: int64 (axons, parts)."""
        pattern = group.pattern
        axon = np.repeat(np.arange(pattern.shape[1]), np.diff(pattern.indptr))
        key = axon * parts + pattern.indices // chunk
        return np.bincount(key, minlength=pattern.shape[1] * parts).reshape(-1, parts)

    def split(self, worst: Worst, core: CoreLimits, where: str) -> int:
        """Neurons per core."""
        if self.by_words and max(map(worst, self.use(self.neurons)))[0] > 1:
            chunk = self._filling_words(worst, core)
            if chunk:
                return chunk
        parts = 1
        while True:
            chunk = math.ceil(self.neurons / parts)
            excess, column = max(map(worst, self.use(chunk)))
            if excess <= 1:
                return chunk
            if chunk == 1:
                raise _no_core(where, (excess, column))
            parts = min(parts * math.ceil(excess), self.neurons)

    def _filling_words(self, worst: Worst, core: CoreLimits) -> int | None:
        """Neurons of which every axon fills the largest power of two of words that fits."""
        bits = max(STORED_BITS.get(g.bits, g.bits) for g in self.groups) + INDEX_BITS
        words = 1 << (core.synapse_words.value.bit_length() - 1)
        while words:
            chunk = (words * WORD - HEADER_BITS) // bits
            if 0 < chunk < self.neurons and max(map(worst, self.use(chunk)))[0] <= 1:
                return chunk
            words //= 2
        return None


def _reach_of_rows(network: Network, layer: LayerDescription, chunk: int) -> Iterator[np.ndarray]:
    """`convolution_reach` of an unrolled convolution on cores of `chunk` neurons."""
    c, h, w = network.shape(layer.name)
    pixels = h * w
    begin = np.arange(layer.groups)[:, None] * (c // layer.groups * pixels)
    at = np.arange(pixels)
    for first in range(0, c * pixels, chunk):
        low, high = (np.clip(n, begin, begin + c // layer.groups * pixels)
                     for n in (first, first + chunk))
        # How many channels of each group and pixel are on the core: neurons low to high, channel
        # by channel.
        here = (high - 1 - at) // pixels - (low - 1 - at) // pixels
        yield reach_of_pixels(network, layer, here.reshape(-1, h, w))


# --- maps -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tile:
    """How a map is cut, and what of its input a tile needs."""

    map: tuple[int, int, int]
    """(C, H, W)."""
    channels: int
    y: int
    x: int
    kernel: tuple[int, int] = (1, 1)
    """A dilated one with its holes."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: tuple[int, int] = (1, 1)
    """Channels of a group: of this map, of its input."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tiles along channels, y and x."""
        return tuple(-(-n // size) for n, size in zip(self.map, (self.channels, self.y, self.x)))

    @property
    def cores(self) -> int:
        return math.prod(self.counts)

    def sizes(self) -> list[np.ndarray]:
        """Channels, rows and columns of the tiles along each axis."""
        return [np.diff(np.append(np.arange(0, n, size), n))
                for n, size in zip(self.map, (self.channels, self.y, self.x))]

    def met(self, axis: int, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """How many tiles along an axis (0: y, 1: x) need an input of first to last, inclusive."""
        n, size = self.map[1 + axis], (self.y, self.x)[axis]
        begin = np.arange(0, n, size)
        end = np.minimum(begin + size, n) - 1
        low = begin * self.stride[axis] - self.padding[axis]
        high = end * self.stride[axis] - self.padding[axis] + self.kernel[axis] - 1
        return ((low[:, None] <= last) & (high[:, None] >= first)).sum(axis=0)

    def met_groups(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """How many tiles along the channels need input channels of first to last, inclusive."""
        out, of = self.groups
        begin = np.arange(0, self.map[0], self.channels)
        end = np.minimum(begin + self.channels, self.map[0]) - 1
        return ((begin[:, None] // out <= last // of) & (end[:, None] // out >= first // of)
                ).sum(axis=0)


class _Tiles:
    """A map cut into tiles; those of an input."""

    def __init__(self, network: Network, layer: LayerDescription, before: list) -> None:
        self.shape, self.before = network.shape(layer.name), [tile for _, tile in before]
        self.newest = network.compiler is None
        self.state = BUFFER_WORDS if layer.replayed else layer.state_words
        self.scale, self.bias_axons = 1, 0
        self.geometry: dict = {}

    def parts(self, channels: int) -> list[int]:
        """Powers of two as which the channels of a core are held."""
        return [1 << (channels - 1).bit_length()]

    def kernel_words(self, first: int, parts: list[int]) -> int:
        """Words of the kernels of a core's channels, which start at `first`."""
        return 0

    def sent_per_pixel(self, channels: int) -> int:
        """Axons that leave a pixel with so many channels on the core."""
        return 1

    def cut(self, worst: Worst, where: str) -> _Tile:
        """The tile.

        Raises:
            UserError: a single pixel of a single channel does not fit.
        """
        c, h, w = self.shape
        tile = _Tile(self.shape, c, h, 1 << (w - 1).bit_length(), **self.geometry)
        # Tiles count whole even where they overhang the map: PilotNet's last map, 20 x 2 x 64, is
        # cut at 16, as 32 columns would be 4,096 neurons.
        while worst(CoreUse(tile.channels * tile.y * tile.x * self.state, 0, 0, 0))[0] > 1:
            tile = self._smaller(tile, where, worst)
        while max(map(worst, self.cores(tile)))[0] > 1:
            if tile.channels > 1:
                tile = dataclasses.replace(tile, channels=-(-tile.channels // 2),
                                           x=tile.x if tile.x >= w else 2 * tile.x)
            else:
                tile = self._smaller(tile, where, worst)
        return tile

    def _smaller(self, tile: _Tile, where: str, worst: Worst) -> _Tile:
        x, y = tile.x, tile.y
        if x > 1 and (not self.newest or 2 * x > y or y % 2):
            return dataclasses.replace(tile, x=x // 2)
        if y > 1 and y % 2 == 0 and self.newest:
            return dataclasses.replace(tile, y=y // 2)
        if tile.channels > 1:
            return dataclasses.replace(tile, channels=-(-tile.channels // 2))
        if y > 1:
            return dataclasses.replace(tile, y=-(-y // 2))
        raise _no_core(where, max(map(worst, self.cores(tile))))

    def cores(self, tile: _Tile) -> list[CoreUse]:
        """What each core takes, in the order channels, y, x."""
        channels, rows, columns = tile.sizes()
        sends = self._sends(tile)
        out = []
        for first, n in zip(np.cumsum(channels) - channels, map(int, channels)):
            parts = self.parts(n)
            synapses = self.kernel_words(int(first), parts)
            sent = self.sent_per_pixel(n)
            for y, height in enumerate(map(int, rows)):
                for x, width in enumerate(map(int, columns)):
                    pixels = height * width
                    bias = self.bias_axons * int(_words(pixels * n, STORED_BITS[8] + INDEX_BITS))
                    to = int(sends[first // tile.channels, y, x])
                    out.append(CoreUse(
                        pixels * n * self.state, synapses + bias, len(parts) + self.bias_axons,
                        pixels * sent if self.before else pixels * n,
                        -(-pixels * sent * to // 4), len(parts) if self.newest else 1))
        return out

    def _sends(self, tile: _Tile) -> np.ndarray:
        """Cores of the next layers that each tile sends to: int64 (tiles along channels, y, x)."""
        channels, *sizes = tile.sizes()
        last = np.cumsum(channels)  # the channels of a map, of which a tile holds s * s places
        ends = [((last - channels) // self.scale**2, (last - 1) // self.scale**2)]
        for size in sizes:  # a transposed convolution's pixels lie scale apart
            last = np.cumsum(size) * self.scale
            ends.append((last - size * self.scale, last - 1))
        out = np.zeros(tile.counts, np.int64)
        for target in self.before:
            met = target.met_groups(*ends[0]), target.met(0, *ends[1]), target.met(1, *ends[2])
            out += met[0][:, None, None] * np.outer(*met[1:])
        return out

    def core_of(self, tile: _Tile) -> np.ndarray:
        """As LayerFit.core_of."""
        (c, h, w), (_, down, across) = self.shape, tile.counts
        core = ((np.arange(c, dtype=np.int32)[:, None, None] // tile.channels * down
                 + np.arange(h, dtype=np.int32)[:, None] // tile.y) * across
                + np.arange(w, dtype=np.int32) // tile.x).astype(np.int32)
        s = self.scale  # pixel shuffle: (C, s, s) channels on (H, W) to C channels on (s H, s W)
        return core.reshape(c // s**2, s, s, h, w).transpose(0, 3, 1, 4, 2).ravel()


class _Convolution(_Tiles):
    """A convolution that keeps one kernel per core; a transposed one in its sub-pixel form."""

    def __init__(self, network: Network, layer: LayerDescription, before: list) -> None:
        super().__init__(network, layer, before)
        shape, kernel, stride = network.as_shared(layer)
        self.scale = self.shape[1] // shape[1]
        self.shape = shape
        padding = layer.padding if layer.kind == "conv" else tuple(k // 2 for k in kernel)
        inputs = network.shape(network.sources(layer)[0])[0]
        self.group = shape[0] // layer.groups
        self.geometry = {
            "kernel": tuple(d * (k - 1) + 1 for k, d in zip(kernel, layer.dilation)),
            "stride": tuple(stride), "padding": tuple(padding),
            "groups": (self.group, inputs // layer.groups)}
        self.taps = math.prod(kernel) * inputs // layer.groups
        self.bits = STORED_BITS[layer.weight_bits[0]]
        self.bias_axons = BIAS_AXONS * layer.clocked

    def parts(self, channels: int) -> list[int]:
        return channel_parts(channels)

    def kernel_words(self, first: int, parts: list[int]) -> int:
        words = 0
        for part in parts:
            _, held = np.unique(np.arange(first, first + part) // self.group, return_counts=True)
            words += self.taps * int(_words(held, self.bits).sum())
            first += part
        return words

    def sent_per_pixel(self, channels: int) -> int:
        # The pixels of a transposed convolution are scale by scale of the grid's.
        return len(channel_parts(-(-channels // self.scale**2))) * self.scale**2


# --- what was published -----------------------------------------------------------------------


def published_differences(result: Fit) -> list[str]:
    """Where the mapper's table is not the compiler's, one line per difference.

    Tables of 2023 print means over a layer's cores, cut to integers, but of maps' neurons those of
    a whole tile; later ones print the first core.
    """
    lines = []
    for layer in result.layers:
        for column, value in (result.network.by_name[layer.name].published or {}).items():
            if column == "cores":
                mine = len(layer.cores)
            elif result.network.compiler is None:
                mine = getattr(layer.cores[0], column)
            elif column == "neurons" and layer.form in ("shared convolution", "input"):
                mine = max(core.neurons for core in layer.cores)
            else:
                mine = int(layer.mean(column))
            if mine != value:
                ratio = f" ({mine / value - 1:+.1%})" if value else ""
                lines.append(f"{layer.name}: {COLUMNS.get(column, column)} {mine}, published "
                             f"{value}{ratio}")
    if result.network.published_cores not in (None, result.cores):
        lines.append(f"cores in all {result.cores}, published {result.network.published_cores}")
    return lines


def other_form(network: Network, form: str) -> Network:
    """The same network with its convolutions "shared" or "unrolled"."""
    return dataclasses.replace(network, layers=tuple(
        dataclasses.replace(layer, form=form) if layer.kind in ("conv", "convT") else layer
        for layer in network.layers))
