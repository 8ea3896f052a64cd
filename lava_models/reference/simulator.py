"""The integer reference simulator: the meaning of a model.net, tick by tick, in numpy.

Whatever runs the file (Lava on the CPU, fused or stock, or a chip) must give these spikes.
Any batch size; no Lava, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lava_models.net.layers import Layer
from lava_models.net.netfile import NetFile
from lava_models.net.populations import (
    Connection,
    Draw,
    Gates,
    Host,
    Latches,
    Population,
    RingNeurons,
    TickNeurons,
)
from lava_models.net.program import build_program
from lava_models.reference.host_encoder import host_chances
from lava_models.reference.neurons import make_neurons
from lava_models.reference.sums import make_sums


def encode_images(net: NetFile, images: np.ndarray) -> np.ndarray:
    """Float images in [-1, 1] (B, C, H, W) to the graded spikes of the input: int32 (B, C*H*W), or
    (B, K) chances of Poisson latents."""
    if net.poisson is not None:
        return host_chances(net, images)
    return np.round(images * net.input_scale).astype(np.int32).reshape(len(images), -1)


def decode_images(net: NetFile, voltage: np.ndarray) -> np.ndarray:
    """Readout voltages (B, C*H*W) to images in [-1, 1], float32 (B, C, H, W)."""
    if net.output_offset is not None:
        image = np.clip(voltage / net.output_scale + net.output_offset, -1, 1)
        return image.astype(np.float32).reshape(-1, *net.image_shape)
    return np.tanh(voltage / net.output_scale).astype(np.float32).reshape(-1, *net.image_shape)


class Bits(Protocol):
    """A source of random bits (reference.rule30.ChipBits)."""

    def samples(self, first: int, count: int) -> np.ndarray:
        """uint8 (count, T, C, b)."""

    def held(self, first: int, count: int) -> np.ndarray:
        """bool (count, stages, M)."""


@dataclass(frozen=True)
class Result:
    """What a run gives, for B samples."""

    voltage: np.ndarray
    """Readout voltages at tick T, int32 (B, C*H*W)."""
    spikes: dict[str, np.ndarray]
    """For every watched population: bool (B, T, n)."""


class Reference:
    """Runs batches of samples of one network in one mode.

    Args:
        net: the network.
        mode: "reconstruct" (encoder, posterior, decoder) or "generate" (prior, decoder).
    """

    def __init__(self, net: NetFile, mode: str) -> None:
        self.net, self.mode = net, mode
        self.program = build_program(net, mode)
        self.schedule = self.program.schedule
        self.populations = [p for p in self.program.waves if p.like == p.name]  # copies fire alike
        self.inputs = {p.name: self._inputs(p) for p in self.populations}
        """What a tick's sums are taken over; what tick neurons carry is in the cells."""
        self.cells = {p.name: _make_cell(p, self.schedule.dilation) for p in self.populations}

    def _inputs(self, population: Population) -> list[Connection]:
        inputs = [c for c in self.program.into(population.name) if c.source != population.name
                  and not isinstance(self.program[c.source].kind, TickNeurons)]
        # Two connections bring one input: a random bit is `either` without `both`.
        return list({(c.source, c.port): c for c in inputs}.values())

    @property
    def stages(self) -> list[dict[str, Cell]]:
        """Cells in order, anew from what collects a whole sample before it sends anything."""
        stages: list[dict[str, Cell]] = [{}]
        for name, cell in self.cells.items():
            if isinstance(cell, GateCell) and any(c.lag for c in self.inputs[name]):
                stages.append({})
            stages[-1][name] = cell
        return stages

    @property
    def layers(self) -> list[LayerCell]:
        """The cells of layers."""
        return [cell for cell in self.cells.values() if isinstance(cell, LayerCell)]

    def run_samples(self, bits: Bits, first: int, count: int, images: np.ndarray | None = None,
                    *, watch: Collection[str] | None = None) -> Result:
        """`run` of the `count` samples from `first` on of a source of random bits."""
        held = bits.held(first, count) if self.program.draws[0].kind.spare else None
        return self.run(bits.samples(first, count), images, held=held, watch=watch)

    def run(self, bits: np.ndarray, images: np.ndarray | None = None, *,
            held: np.ndarray | None = None, watch: Collection[str] | None = None,
            on_tick: Callable[[], None] = lambda: None) -> Result:
        """Run B samples side by side.

        Args:
            bits: random bits uint8 (B, T, C, b).
            images: graded input int32 of `encode_images`; reconstruct mode only.
            held: random bits (B, stages, M) of a prior of rates; its generate mode only.
            watch: populations whose spikes are wanted (default: all).
            on_tick: called after every tick of every stage, for a progress bar.
        """
        ticks, batch, program = self.net.ticks, len(bits), self.program
        for cell in self.cells.values():
            cell.start(batch)
        frames = None if images is None else np.ascontiguousarray(images.T)
        watched = [p for p in self.populations
                   if p.spiking and (watch is None or p.name in watch)]
        spikes = {p.name: np.empty((ticks, p.size, batch), bool) for p in watched}
        lags = {program[c.source].like: c.lag for c in program.connections if c.lag}
        kept = {name: [np.zeros((program[name].size, batch), bool)] * max(lag, 0)
                for name, lag in lags.items()}

        def signal(connection: Connection, tick: int, sent: Mapping[str, np.ndarray]) -> np.ndarray:
            source, target = program[connection.source], program[connection.target]
            if isinstance(source.kind, RingNeurons):
                draws = isinstance(target.kind, Draw)
                return bits[:, tick] if draws else held[:, target.kind.stage].T
            if isinstance(source.kind, Host):
                return frames
            if connection.lag > 0:
                return kept[source.like][tick]
            if source.like in sent:
                return sent[source.like]
            # Of an earlier stage; after a sample's last tick nothing is listened to.
            return kept[source.like][min(tick - connection.lag, ticks - 1)]

        for stage in self.stages:
            for tick in range(ticks):
                sent: dict[str, np.ndarray] = {}
                for name, cell in stage.items():
                    sent[name] = cell.step(*(signal(c, tick, sent) for c in self.inputs[name]))
                    if name in kept:
                        kept[name].append(sent[name])
                    if name in spikes:
                        spikes[name][tick] = sent[name]
                on_tick()
        return Result(np.ascontiguousarray(self.cells[program.readout.name].v.T, np.int32),
                      {n: np.ascontiguousarray(s.transpose(2, 0, 1)) for n, s in spikes.items()})


def _make_cell(population: Population, dilation: int) -> Cell:
    kind = population.kind
    if isinstance(kind, Draw):
        return DrawCell(kind)
    if isinstance(kind, Gates):
        return GateCell(population.size)
    return LatchCell() if isinstance(kind, Latches) else LayerCell(kind.layer, dilation)


class GateCell:
    """Gates of a batch: at the first tick of a sample what they read, then nothing."""

    def __init__(self, size: int) -> None:
        self.size = size

    def start(self, batch: int) -> None:
        """As LayerCell's."""
        self.nothing, self.open = np.zeros((self.size, batch), bool), True

    def step(self, *signals: np.ndarray) -> np.ndarray:
        """bool (n, B) of the relays' spikes, (C, B) each, the last tick's first; gate c * T + t is
        channel c's of tick t. Or of the bits that are held, (M, B)."""
        if not self.open:
            return self.nothing
        self.open = False
        return np.stack(signals[::-1], axis=1).reshape(self.nothing.shape).astype(bool)


class LatchCell:
    """Latches of a batch: at every tick what the gates gave at the first."""

    def start(self, batch: int) -> None:
        """As LayerCell's."""
        self.held = None

    def step(self, gates: np.ndarray) -> np.ndarray:
        """bool (n, B) of the gates' spikes."""
        if self.held is None:
            self.held = gates
        return self.held


class DrawCell:
    """Latents of a batch, drawn anew at every tick."""

    def __init__(self, draw: Draw) -> None:
        self.selection = draw.selection
        self.constant = None if draw.chances is None else draw.chances[:, None]
        self.sums = None if draw.layer is None else make_sums(draw.layer)

    def start(self, batch: int) -> None:
        """As LayerCell's; nothing is kept."""
        if self.sums is not None:
            self.sums.start(batch)

    def step(self, *signals: np.ndarray) -> np.ndarray:
        """z bool (C, B) of the candidates (C*k, B), unless these are constants, or of spikes (n, B)
        whose sums come in their place; and the random bits uint8 (B, C, b)."""
        *zeta, bits = signals
        if self.sums is not None:
            return self.selection.select(self.sums(zeta[0]).astype(np.int64) // 64, bits)
        return self.selection.select(zeta[0] if zeta else self.constant, bits)


class LayerCell:
    """One layer's synapses and neurons for a batch of B samples, batch last: (n, B)."""

    def __init__(self, layer: Layer, dilation: int) -> None:
        self.neurons = make_neurons(layer, dilation)
        self.spiking, self.size = self.neurons.spiking, self.neurons.size
        self.sums = make_sums(layer)
        self.batch = 0

    @property
    def v(self) -> np.ndarray:
        """Membranes, integers in float64 (n, B)."""
        return self.neurons.v

    @property
    def bytes_per_sample(self) -> int:
        """Room a sample takes: membranes, spikes, and the synapses' columns and sums."""
        return 9 * self.size + self.sums.bytes_per_sample

    def start(self, batch: int) -> None:
        """Begin with new samples: membranes at 0."""
        if batch != self.batch:
            self.batch = batch
            self.sums.start(batch)
        self.neurons.start(batch)
        self._frame = self._frame_sums = None

    def step(self, *signals: np.ndarray) -> np.ndarray:
        """One tick of the synapses and the neurons.

        Args:
            signals: spikes bool or uint8, or graded input int32, (n_in, B) together.

        Returns:
            bool (n, B); the readout's voltages float64 (n, B).
        """
        signal = signals[0] if len(signals) == 1 else np.concatenate(signals)
        return self.neurons.step(self._current(signal))

    def _current(self, signal: np.ndarray) -> np.ndarray:
        """Synaptic sums and bias, times 64: float32 (n, B). An image that stays is summed once."""
        if signal.dtype != np.int32:
            return self.sums(signal)
        if self._frame is None or not np.array_equal(signal, self._frame):
            self._frame, self._frame_sums = signal.copy(), self.sums(signal).copy()
        return self._frame_sums


Cell = LayerCell | DrawCell | GateCell | LatchCell
