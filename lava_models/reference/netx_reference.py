"""The integer reference of a NetX file: what stock Lava does with it, many times faster.

A message sent at timestep t reaches the next layer at t + 1, as every synapse of Lava buffers for
one timestep. So a layer can be run over a stretch of timesteps before the next one is, which gives
matrix products something to do; only recurrent layers go timestep by timestep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from hw_configs.files import UserError
from lava_models.net.netx import NetxFile
from lava_models.net.netx_layers import Cuba, NetxLayer, SigmaDelta
from lava_models.reference.netx_neurons import make_netx_neurons
from lava_models.reference.netx_sums import make_netx_sums

STRETCH = 16, 64
"""Timesteps that a layer is run before the next one is, at the least and the most."""
STRETCH_VALUES = 2**20
"""About how many messages of the largest layer a stretch holds."""


@dataclass(frozen=True)
class Drive:
    """What comes in from outside, in `lanes` samples side by side."""

    sent: np.ndarray | None = None
    """(T, B, n) at timesteps 1 ... T: messages onto the first layer's synapses, which arrive a
    timestep later; or, where the first layer is an input layer of Delta neurons, what these get at
    once. bool, or whole numbers."""
    bias: np.ndarray | None = None
    """int (B, n): biases of the first layer's neurons instead of its own, in every timestep."""

    @property
    def lanes(self) -> int:
        return self.sent.shape[1] if self.sent is not None else len(self.bias)


@dataclass(frozen=True)
class NetxResult:
    """What a run of T timesteps gives."""

    sent: dict[str, np.ndarray]
    """Messages of every watched layer: bool spikes, or int32 of graded neurons, (T, B, n)."""
    states: dict[str, np.ndarray]
    """Of every watched layer, as "layer.state" (u, v; sigma, act): int32 (T, B, n), where asked."""


class NetxReference:
    """Runs a NetX file from rest."""

    def __init__(self, net: NetxFile) -> None:
        self.net = net
        self.cells = [NetxCell(layer) for layer in net.layers]
        self.largest = max(net.input_size, *(layer.size for layer in net.layers))

    def start(self, drive: Drive) -> None:
        """Begin anew."""
        check_drive(self.net, drive)
        for i, cell in enumerate(self.cells):
            cell.start(drive.lanes, drive.bias if i == 0 else None)

    def stretch(self, sent: np.ndarray | None, first: int, count: int, *,
                on_layer: Callable[[NetxLayer, np.ndarray, Mapping[str, np.ndarray]], None],
                states: Collection[str] = ()) -> None:
        """Run `count` timesteps from timestep `first` (1-based) on.

        Args:
            sent: of the drive, those timesteps only.
            on_layer: called with a layer, its messages (count, B, n) and its states.
            states: layers whose states are wanted.
        """
        for cell in self.cells:
            kept = {name: [] for name in cell.neurons.states} if cell.layer.name in states else {}
            sent = cell.run(sent, first, count, kept)
            on_layer(cell.layer, sent, {name: np.stack(of) for name, of in kept.items()})

    def run(self, drive: Drive, steps: int, *, watch: Collection[str] | None = None,
            states: Collection[str] = (),
            on_step: Callable[[int, int], None] = lambda done, total: None) -> NetxResult:
        """Run timesteps 1 ... `steps`.

        Args:
            watch: layers whose messages are wanted (default: all).
            states: layers whose states are wanted.
            on_step: called with (timesteps done, timesteps in all).

        Raises:
            UserError: the input does not fit the network, or numbers leave what Lava holds.
        """
        self.start(drive)
        out: dict[str, np.ndarray] = {}

        def on_layer(layer: NetxLayer, sent: np.ndarray, of: Mapping[str, np.ndarray]) -> None:
            values = {f"{layer.name}.{name}": value for name, value in of.items()}
            if watch is None or layer.name in watch:
                values[layer.name] = sent
            for name, value in values.items():
                if name not in out:
                    out[name] = np.empty((steps, *value.shape[1:]),
                                         bool if value.dtype == bool else np.int32)
                out[name][done:done + len(value)] = value

        each = max(STRETCH[0], min(STRETCH[1], STRETCH_VALUES // (self.largest * drive.lanes)))
        for done in range(0, steps, each):
            count = min(each, steps - done)
            part = None if drive.sent is None else _timesteps(drive.sent, done, count)
            self.stretch(part, done + 1, count, on_layer=on_layer, states=states)
            on_step(done + count, steps)
        named = {layer.name for layer in self.net.layers}
        return NetxResult({k: v for k, v in out.items() if k in named},
                          {k: v for k, v in out.items() if k not in named})


def _timesteps(sent: np.ndarray, first: int, count: int) -> np.ndarray:
    """`count` rows from `first` on; zeros beyond the last, as from a source that has run out."""
    part = sent[first:first + count]
    if len(part) == count:
        return part
    more = np.zeros((count - len(part), *sent.shape[1:]), sent.dtype)
    return np.concatenate([part, more])


def check_drive(net: NetxFile, drive: Drive) -> None:
    """Refuse an input that the network cannot take.

    Raises:
        UserError: says what was expected.
    """
    first, shape = net.layers[0], net.input_shape
    for name, value in (("input", drive.sent), ("bias", drive.bias)):
        if value is not None and value.shape[-1] != net.input_size:
            raise UserError(f"{name}: {value.shape[-1]} values per timestep, {net.name} takes "
                            f"{net.input_size} {shape}")
    if drive.bias is not None and not isinstance(first.neuron, (Cuba, SigmaDelta)):
        raise UserError(f"bias: {first.name}'s neurons ({type(first.neuron).__name__}) take none")
    if drive.sent is not None and first.synapses is None and isinstance(first.neuron, Cuba):
        raise UserError(f"input: {first.name} is an input layer of LIF neurons, which take their "
                        "input as a bias")


class NetxCell:
    """Synapses and neurons of one layer."""

    def __init__(self, layer: NetxLayer) -> None:
        self.layer = layer
        self.neurons = make_netx_neurons(layer)
        self.sums = layer.synapses and make_netx_sums(layer.synapses, layer.name)
        self.recurrent = layer.recurrent and make_netx_sums(layer.recurrent, layer.name)

    def start(self, lanes: int, bias: np.ndarray | None = None) -> None:
        """Begin at rest, nothing under way; `bias` as the neurons'."""
        self.neurons.start(lanes, bias)
        self.before: np.ndarray | None = None
        size = self.layer.size
        self.pending = [None if part is None else np.zeros((part.reach, lanes, size))
                        for part in (self.sums, self.recurrent)]
        """Sums under way, per timestep to come."""
        self.own = np.zeros((1, lanes, size), bool)

    def run(self, sent: np.ndarray | None, first: int, count: int,
            kept: dict[str, list[np.ndarray]]) -> np.ndarray:
        """`count` timesteps: messages in and out, (count, B, n); states appended to `kept`."""
        return self.advance(self._late(sent), first, count, kept)

    def advance(self, late: np.ndarray | None, first: int, count: int,
                kept: dict[str, list[np.ndarray]]) -> np.ndarray:
        """As `run`, from what reaches the synapses in these timesteps: sent one before."""
        arriving = late
        if late is not None and self.sums is not None:
            arriving = self._feed(0, self.sums, late)
        out = None
        for i in range(count):
            sums = None if arriving is None else arriving[i]
            if self.recurrent is not None:
                again = self._feed(1, self.recurrent, self.own)[0]
                sums = again if sums is None else sums + again
            fired = self.neurons.step(sums, first + i)
            if out is None:
                out = np.empty((count, *fired.shape), fired.dtype)
            out[i] = fired
            if self.recurrent is not None:
                self.own = fired[None]
            for name, values in kept.items():
                values.append(getattr(self.neurons, name).copy())
        return out

    def _late(self, sent: np.ndarray | None) -> np.ndarray | None:
        """What was sent one timestep before, where it passes through synapses."""
        if sent is None or self.sums is None:
            return sent
        if self.before is None:
            self.before = np.zeros_like(sent[:1])
        late = np.concatenate([self.before, sent[:-1]])
        self.before = sent[-1:].copy()
        return late

    def _feed(self, which: int, sums, late: np.ndarray) -> np.ndarray:
        """Sums (K, B, n) in the timesteps of `late` (K, B, n_in), delayed ones put aside."""
        k, lanes, n = late.shape
        if not hasattr(sums, "later"):
            return sums(late.reshape(k * lanes, n)).reshape(k, lanes, -1)
        out, pending = sums.later(late), self.pending[which]
        out[:len(pending)] += pending
        self.pending[which] = out[k:]
        return out[:k]
