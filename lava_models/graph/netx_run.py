"""Samples of a NetX file through the reference and a graph: messages, counts, and the verdict.

Every sample starts from rest, in a lane of its own; what a layer does is looked at from the
timestep on in which the sample reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lava_models.graph.compare import Comparison
from lava_models.graph.netx_compare import compare_messages
from lava_models.graph.netx_graph import run_netx_graph
from lava_models.net.netx import NetxFile
from lava_models.net.netx_input import NetxInput
from lava_models.net.netx_layers import Cuba
from lava_models.net.netx_program import INPUT
from lava_models.net.program import Program
from lava_models.reference.netx_reference import Drive, NetxReference, NetxResult

GRAPHS = ("reference", "fused", "stock")
MOST_LANES = 64
OTHER_BYTES = 3
"""Of a message that is kept as a bool: it passes through a channel of 4 bytes as well."""


@dataclass(frozen=True)
class NetxRun:
    """What S samples of P timesteps gave."""

    messages: np.ndarray
    """Of the last layer: bool or int32 (S, P, n)."""
    voltage: np.ndarray | None
    """Of the last layer at the end of each sample, int32 (S, n), where it has one."""
    counts: dict[str, np.ndarray]
    """Messages per population, timestep of the sample and neuron: int32 (P, n), all samples."""
    rasters: dict[str, np.ndarray]
    """Messages of the first sample: (P, n) per layer."""
    steps: int
    """Timesteps run, lanes side by side."""
    comparison: Comparison | None
    """Of the graph with the reference; None where only the reference ran."""


def make_drive(net: NetxFile, given: NetxInput, first: int, count: int, timesteps: int) -> Drive:
    """What samples from `first` on get, side by side."""
    if net.enters_neurons and isinstance(net.layers[0].neuron, Cuba):
        return Drive(bias=given.bias(first, count))
    return Drive(sent=given.sent(first, count, timesteps))


def steps_of(program: Program) -> int:
    """Timesteps until the last layer has seen a whole sample."""
    return program.schedule.run_length(program.readout.phase, 1)


def bytes_per_lane(net: NetxFile, steps: int) -> int:
    """About how much memory a sample's messages take."""
    return 2 * steps * sum(layer.size * (8 if layer.graded else 1 + OTHER_BYTES)
                           for layer in net.layers)


def choose_netx_lanes(net: NetxFile, steps: int, samples: int, available: int) -> int:
    """How many samples to run side by side: what fits into a quarter of `available` bytes."""
    return max(1, min(samples, MOST_LANES, available // 4 // bytes_per_lane(net, steps)))


def run_samples(net: NetxFile, program: Program, given: NetxInput, *, graph: str, lanes: int,
                check: bool = True,
                on_step: Callable[[int, int], None] = lambda done, total: None) -> NetxRun:
    """Run every sample of `given`.

    Args:
        program: `build_netx_program` of the same file.
        graph: of GRAPHS.
        lanes: samples side by side; 1 in the stock graph.
        check: whether a graph's messages are compared with the reference's.
        on_step: called with (timesteps done, timesteps in all).

    Raises:
        UserError: numbers leave what Lava holds.
    """
    steps, timesteps = steps_of(program), program.schedule.period
    reference = NetxReference(net)
    total = -(-given.samples // lanes) * steps
    gathered = _Gathered(net, program)
    for begun, first in enumerate(range(0, given.samples, lanes)):
        drive = make_drive(net, given, first, min(lanes, given.samples - first), timesteps)

        def told(done: int, of: int, begun: int = begun) -> None:
            on_step(begun * steps + done, total)

        last = net.layers[-1].name
        wanted = None
        if graph == "reference" or check:
            wanted = reference.run(drive, steps, states=[last],
                                   on_step=told if graph == "reference" else lambda *_: None)
        run = wanted
        if graph != "reference":
            run = run_netx_graph(net, drive, steps, graph=graph, on_step=told)
        gathered.add(run, wanted, drive, graph)
    return gathered.close(total)


@dataclass
class _Gathered:
    """Adds up batches of samples."""

    net: NetxFile
    program: Program
    messages: list[np.ndarray] = field(default_factory=list)
    voltage: list[np.ndarray] = field(default_factory=list)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    rasters: dict[str, np.ndarray] = field(default_factory=dict)
    found: list[Comparison] = field(default_factory=list)

    def add(self, run: NetxResult, wanted: NetxResult | None, drive: Drive, graph: str) -> None:
        program, period = self.program, self.program.schedule.period
        for name, sent in run.sent.items():
            begin = program[name].phase - 1
            self._count(name, sent[begin:begin + period])
        if drive.sent is not None and INPUT in {p.name for p in program.populations}:
            self._count(INPUT, drive.sent[:period])
        last, end = program.readout.name, program.readout.phase - 1 + period
        self.messages.append(run.sent[last][end - period:end].transpose(1, 0, 2))
        voltage = None if wanted is None else wanted.states.get(f"{last}.v")
        if voltage is not None:
            self.voltage.append(voltage[end - 1])
        if wanted is not None and run is not wanted:
            self.found.append(compare_messages(run, wanted, f"{graph} graph"))

    def _count(self, name: str, sent: np.ndarray) -> None:
        counted = np.count_nonzero(sent, axis=1).astype(np.int32)
        if name not in self.counts:
            self.counts[name], self.rasters[name] = counted, sent[:, 0].copy()
        else:
            self.counts[name] += counted

    def close(self, steps: int) -> NetxRun:
        comparison = None
        if self.found:
            comparison = Comparison.joined(self.found)
        voltage = np.concatenate(self.voltage) if self.voltage else None
        return NetxRun(np.concatenate(self.messages), voltage, self.counts, self.rasters, steps,
                       comparison)
