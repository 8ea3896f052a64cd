"""Words of a core: what a partition takes of each limit, and how synapses are stored in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw_configs import CoreLimits
from hw_configs.files import UserError

WORD = 64
INDEX_BITS = 12
HEADER_BITS = 8
"""Of every list of synapses: 1 to 16 fit all published convolutions, 2 to 8 all matrices."""
STORED_BITS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 8: 8}
"""Weight bits as stored: there is no 7-bit format."""
BIAS_AXONS = 2
"""A bias from a tick neuron takes a fine and a coarse synapse per neuron."""
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


def limit_of(core: CoreLimits, column: str) -> int | None:
    """What a core holds of a column of the compiler's table; None where that is not known."""
    limit = getattr(core, _LIMIT_OF.get(column, column))
    return None if limit is None else limit.value


def worst_of(use: CoreUse, core: CoreLimits, without: str | None = None) -> tuple[float, str]:
    """The largest used / limit and its column."""
    limits = {column: limit_of(core, column) for column in COLUMNS if column != without}
    return max((getattr(use, c) / limit, c) for c, limit in limits.items() if limit)


Worst = Callable[[CoreUse], tuple[float, str]]


def no_core(where: str, worst: tuple[float, str]) -> UserError:
    """A single neuron that is more than a core."""
    return UserError(f"{where}: does not fit: the smallest part takes {worst[0]:.1f} times what a "
                     f"core has of {COLUMNS[worst[1]]}")


def words_of(targets, bits: int):
    """Words of a list of `targets` synapses."""
    return -(-(targets * bits + HEADER_BITS) // WORD)


def channel_parts(channels: int) -> list[int]:
    """Channels of a core as powers of two, largest first: 36 = 32 + 4."""
    return [1 << i for i in reversed(range(channels.bit_length())) if channels >> i & 1]
