"""A NetX file as a Lava process graph on the CPU simulator, every layer watched.

As with a model.net there are two graphs of the same processes: "stock", in which each layer is
Lava's own synapses and neurons, and "fused", one numpy model per layer and any number of lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lava_models.graph import runtime
from lava_models.net.netx import NetxFile
from lava_models.net.netx_layers import NetxLayer
from lava_models.reference.netx_reference import Drive, NetxResult, check_drive

if TYPE_CHECKING:
    from lava.magma.core.process.ports.ports import OutPort

CHUNK = 64
"""Timesteps per call of Lava's run()."""


def run_netx_graph(net: NetxFile, drive: Drive, steps: int, *, graph: str = "fused",
                   on_step: Callable[[int, int], None] = lambda done, total: None) -> NetxResult:
    """Run timesteps 1 ... `steps`.

    Args:
        drive: of one lane in the stock graph.
        on_step: called with (timesteps done, timesteps in all).

    Raises:
        UserError: the input does not fit.
        RuntimeError: a process of the graph failed; says why.
    """
    with runtime.workspace() as folder, runtime.quiet_lava():
        return NetxGraph(net, drive, steps, graph == "stock", folder).build().run(on_step)


class NetxGraph:
    """Builds and runs the graph; what host and graph exchange lies in `folder`."""

    def __init__(self, net: NetxFile, drive: Drive, steps: int, stock: bool, folder: Path) -> None:
        check_drive(net, drive)
        if stock and drive.lanes > 1:
            raise ValueError(f"the stock graph with {drive.lanes} lanes")
        self.net, self.drive, self.steps, self.stock = net, drive, steps, stock
        self.folder = folder
        self.probed: list[NetxLayer] = []

    def build(self) -> NetxGraph:
        """Make a process of every layer, connect them, and watch them."""
        from lava_models.processes.netx_block import NetxBlock

        end = None if self.drive.sent is None else self._source(self.drive.sent)
        for i, layer in enumerate(self.net.layers):
            block = NetxBlock(layer=layer, bias=self.drive.bias if i == 0 else None,
                              lanes=self.drive.lanes)
            if end is not None:
                end.connect(block.s_in)
            end = self._probe(layer, block.s_out)
        self.runner = block
        return self

    def _source(self, sent: np.ndarray) -> OutPort:
        """Port that emits row t - 1 at timestep t."""
        from lava_models.processes.host import WaveSource

        np.save(self._path("sent"), sent.reshape(len(sent), -1).astype(np.int32))
        return WaveSource(file=self._path("sent"), size=sent[0].size, first=1, interval=1,
                          repeat=1, name="outside").s_out

    def _probe(self, layer: NetxLayer, end: OutPort) -> OutPort:
        """Watch a layer; the port that the next one listens to."""
        from lava_models.processes.host import MessageProbe

        size = self.drive.lanes * layer.size
        np.lib.format.open_memmap(self._path(layer.name), "w+", shape=(self.steps, size),
                                  dtype=np.int32 if layer.graded else bool)
        probe = MessageProbe(size=size, file=self._path(layer.name),
                             name=f"probe_{layer.name.replace('.', '_')}")
        end.connect(probe.a_in)
        self.probed.append(layer)
        return end

    def _path(self, name: str) -> str:
        return str(self.folder / f"{name}.npy")

    def run(self, on_step: Callable[[int, int], None]) -> NetxResult:
        """Run it, read it, and take it down."""
        from lava.magma.core.run_conditions import RunSteps

        self._start()
        lava, done = self.runner.runtime, 0
        try:
            while done < self.steps:
                chunk = min(self._chunk(), self.steps - done)
                self.runner.run(condition=RunSteps(num_steps=chunk, blocking=False))
                runtime.wait_for(lava)
                done += chunk
                on_step(done, self.steps)
        except BaseException:
            runtime.abandon(lava)
            raise
        self.runner.stop()
        shape = (self.steps, self.drive.lanes, -1)
        return NetxResult({layer.name: np.load(self._path(layer.name)).reshape(shape)
                           for layer in self.probed}, {})

    def _chunk(self) -> int:
        return CHUNK

    def _start(self) -> None:
        from lava.magma.core.run_configs import Loihi2SimCfg

        runtime.start(self.runner, Loihi2SimCfg(select_tag="fixed_pt",
                                                select_sub_proc_model=self.stock))
