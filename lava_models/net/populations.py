"""What a program is made of: populations, what each of them is, and what connects them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy import sparse

from lava_models.net.latents import DrawRule
from lava_models.net.layers import Dense, Layer
from lava_models.net.netx_layers import NetxLayer, NetxSynapses
from lava_models.net.ring import BITS, CELLS, RULE, Ring, ring_synapses
from lava_models.net.synapse import (
    neuron_bias,
    selection_synapses,
    split_bias,
    split_exponents,
    unroll,
)

SPIKES, GRADED = 0, 16
"""Bits of a message: of a spike none; of graded spikes as many as the neuron's port takes."""
Parts = list[tuple[sparse.spmatrix, int]]
"""Synapses as the chip stores them: (int32 matrix (targets, sources), exponent), to be added."""


# --- what a population is -------------------------------------------------------------------


@dataclass(frozen=True)
class Host:
    """Sends what the host computed, the same at every tick: pixels, or chances."""


@dataclass(frozen=True)
class Neurons:
    """The neurons of one layer of the file."""

    layer: Layer
    held: np.ndarray | None = None
    """int32 (n,): synaptic sums of an input that never changes; they come with the bias."""


@dataclass(frozen=True)
class Draw:
    """Threshold neurons that draw z (lava_models.net.latents)."""

    selection: DrawRule
    chances: np.ndarray | None = None
    """int32 (C,), where they are constants on the chip."""
    layer: Dense | None = None
    """Whose sums come in place of candidates."""
    spare: int = 0
    """The ring's last bits, which it does not read."""
    muted: int = 0
    """Last ticks of a sample in which it is kept silent: of the copy that feeds z back."""


@dataclass(frozen=True)
class Relays:
    """Pass on what another population sends, a timestep later. T of them in a row hold the spikes
    of a whole sample at once, the first tick's in the last."""


@dataclass(frozen=True)
class Gates:
    """Fire once a sample, after their load neuron has: those that what they read fired for."""

    stage: int = 0
    """Which of a prior's layers they hold random bits for."""
    threshold: ClassVar[int] = 1
    one: ClassVar[int] = 1
    """Weight of what they read, and of the load neuron."""


@dataclass(frozen=True)
class Latches:
    """Hold what the gates gave, firing at each of the sample's T timesteps, until they give the
    next: replaced, not added to, as the clear neuron fires with the gates. (Keep, set and clear
    are not linearly separable: a neuron without gates cannot do it in one timestep.)"""

    threshold: ClassVar[int] = 3
    gate: ClassVar[int] = 8
    own: ClassVar[int] = 4
    clear: ClassVar[int] = -4


@dataclass(frozen=True)
class RingNeurons:
    """One of the three populations that draw the random bits (lava_models.net.ring)."""

    ring: Ring


@dataclass(frozen=True)
class TickNeurons:
    """Fire by themselves, each at the same ticks of every sample."""

    fires: np.ndarray
    """bool (T, n)."""
    beat: int
    """Timesteps between the spikes of one of them."""


@dataclass(frozen=True)
class NetxNeurons:
    """The neurons of one layer of any NetX file (lava_models.net.netx)."""

    layer: NetxLayer


Stored = (Relays, Gates, Latches)
Kind = (Host | Neurons | Draw | Relays | Gates | Latches | RingNeurons | TickNeurons | NetxNeurons)


@dataclass(frozen=True)
class Population:
    """Neurons that fire together."""

    name: str
    part: str
    """Of the network, what reports sum over: encoder, ..., latent, readout, clock, input."""
    kind: Kind
    shape: tuple[int, ...]
    """(n,), or (C, H, W)."""
    phase: int
    """Timestep (1-based) at which it sends its first wave."""
    row: str = ""
    """Of the report's table: its own name, or that of a population that it is counted with."""
    compiled: str = ""
    """What it is a part of for a compiler: its own name, or that of the clock."""
    like: str = ""
    """Population whose spikes it sends, at a phase of its own: itself, or what it copies."""

    def __post_init__(self) -> None:
        for name in ("row", "compiled", "like"):
            object.__setattr__(self, name, getattr(self, name) or self.name)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def on_chip(self) -> bool:
        return not isinstance(self.kind, Host)

    @property
    def waves(self) -> bool:
        """Whether the wave of a tick passes through it: layers and latents."""
        return isinstance(self.kind, (Neurons, Draw, NetxNeurons, *Stored))

    @property
    def spiking(self) -> bool:
        """False for the readout, whose voltage is read."""
        return not isinstance(self.kind, Neurons) or self.kind.layer.neuron.spiking


# --- what a connection consists of -------------------------------------------------------------


@dataclass(frozen=True)
class LayerWeights:
    """The synapses of a layer's inputs `first` ... `last` - 1."""

    layer: Layer
    first: int
    last: int

    def parts(self) -> Parts:
        matrix = unroll(self.layer)
        whole = (self.first, self.last) == (0, matrix.shape[1])
        return [(matrix if whole else matrix[:, self.first:self.last], 0)]


@dataclass(frozen=True)
class Carried:
    """What a tick neuron carries to each of its targets: bias, and sums of a held input."""

    neurons: Neurons

    def parts(self) -> Parts:
        carried = split_bias(neuron_bias(self.neurons.layer))
        if self.neurons.held is not None:  # of one sign each: any integer, not only even ones
            for part in (np.maximum(self.neurons.held, 0), np.minimum(self.neurons.held, 0)):
                carried += split_exponents(part)
        return [(sparse.csr_matrix(weights[:, None]), exponent) for weights, exponent in carried]


@dataclass(frozen=True)
class CarriedChances:
    """Constant chances, which ride on a tick neuron as a bias does."""

    chances: np.ndarray

    def parts(self) -> Parts:
        return [(sparse.csr_matrix(weights[:, None]), exponent)
                for weights, exponent in split_exponents(self.chances)]


@dataclass(frozen=True)
class DrawWeights:
    """Of the draw's candidates, random bits or silence (synapse.selection_synapses)."""

    selection: DrawRule
    channels: int
    silencers: int
    port: str
    spare: int = 0

    def parts(self) -> Parts:
        return [(matrix, exponent) for port, matrix, exponent in selection_synapses(
            self.selection, self.channels, self.silencers, self.spare) if port == self.port]


@dataclass(frozen=True)
class OneEach:
    """A synapse of `weight` from source neuron sources[i] to target neuron targets[i]."""

    sources: np.ndarray
    targets: np.ndarray
    shape: tuple[int, int]
    """(target neurons, source neurons)."""
    weight: int

    def parts(self) -> Parts:
        weights = np.full(len(self.sources), self.weight, np.int32)
        return [(sparse.csr_matrix((weights, (self.targets, self.sources)), self.shape), 0)]


@dataclass(frozen=True)
class RingWeights:
    """Of the ring, into one of its populations."""

    ring: Ring
    target: str

    def parts(self) -> Parts:
        return [(ring_synapses(self.ring)[(RULE, CELLS, BITS).index(self.target)], 0)]


def among_carriers(matrix: sparse.spmatrix, carrier: str, carriers: tuple[str, ...]
                   ) -> sparse.csr_matrix:
    """The synapses (n, 1) of one tick neuron as those of the whole clock: int32 (n, carriers)."""
    at = np.full(matrix.nnz, carriers.index(carrier))
    of = matrix.tocoo()
    return sparse.csr_matrix((of.data, (of.row, at)), (matrix.shape[0], len(carriers)), np.int32)


@dataclass(frozen=True)
class NetxWeights:
    """Of a layer of any NetX file."""

    synapses: NetxSynapses

    def parts(self) -> Parts:
        return [(self.synapses.matrix(), -self.synapses.shift)]


Synapses = (LayerWeights | Carried | CarriedChances | DrawWeights | OneEach | RingWeights
            | NetxWeights)


@dataclass(frozen=True)
class Connection:
    """Synapses from one population to another."""

    source: str
    target: str
    port: str
    """Of the target's process: s_in, z_in, tick; zeta_in, bits_in, silence; load, clear; none
    within a process."""
    synapses: Synapses
    lag: int = 0
    """Ticks late; negative where a sample's later ticks arrive at its first."""
    message: int = SPIKES
    """SPIKES, or GRADED: signed integers."""

    @cached_property
    def fan_out(self) -> np.ndarray:
        """Synapses of each source neuron: int64 (n_source,)."""
        if isinstance(self.synapses, NetxWeights):  # without unrolling large kernels
            return self.synapses.synapses.fan_out()
        return sum(np.diff(matrix.tocsc().indptr).astype(np.int64)
                   for matrix, _ in self.synapses.parts())
