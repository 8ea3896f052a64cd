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
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hw_configs import Board, CoreLimits
from lava_models.cost.description import LayerDescription, Network
from lava_models.cost.matrices import Rows
from lava_models.cost.tiles import Convolution, Tile, Tiles
from lava_models.cost.words import COLUMNS, CoreUse, limit_of, worst_of


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
    done: dict[str, tuple[LayerFit, Tile | None]] = {}
    for layer in reversed(network.layers):  # what a core sends to is known before the core
        if layer.on_chip:
            done[layer.name] = _fit_layer(network, layer, core, done)
    return Fit(network, board, tuple(done[layer.name][0] for layer in network.layers
                                     if layer.on_chip))


def _fit_layer(network: Network, layer: LayerDescription, core: CoreLimits,
               done: dict[str, tuple[LayerFit, Tile | None]]) -> tuple[LayerFit, Tile | None]:
    shared = _is_shared(layer)
    # Before shared convolutions, and nothing else, a core's axons are shared by a map's pixels.
    targets = network.targets(layer.name)
    before = [(t, done[t.name][1]) for t in targets] if targets and all(
        map(_is_shared, targets)) and all(t.name in done for t in targets) else []
    where = f"{network.name}: {layer.name}"

    def worst(use: CoreUse) -> tuple[float, str]:
        return worst_of(use, core, without="neurons" if layer.replayed else None)

    tile = None
    if shared or (layer.kind == "input" and len(network.shape(layer.name)) == 3):
        form = "shared convolution" if shared else "input"
        partition = (Convolution if shared else Tiles)(network, layer, before)
        tile = partition.cut(worst, where)
        cores, core_of = partition.cores(tile), partition.core_of(tile)
    else:
        form = layer.kind if layer.kind in ("dense", "input", "clock") and (
            layer.density is None) else "sparse"
        partition = Rows(network, layer, before)
        chunk = partition.split(worst, core, where)
        cores = partition.use(chunk)
        core_of = np.arange(partition.neurons, dtype=np.int32) // np.int32(chunk)
    use = {column: (max(getattr(c, column) for c in cores), limit_of(core, column))
           for column in COLUMNS}
    if layer.replayed:
        use["neurons"] = (use["neurons"][0], None)
    return LayerFit(layer.name, layer.part or layer.name, form, tuple(cores), core_of, use), tile


def _is_shared(layer: LayerDescription) -> bool:
    return layer.kind in ("conv", "convT") and layer.form == "shared"


# --- maps -------------------------------------------------------------------------------------


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
