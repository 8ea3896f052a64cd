"""The chip's side of the graph: a Lava process for each population of a program, port to port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lava_models.net.populations import (
    Gates,
    Latches,
    Neurons,
    Population,
    Relays,
    RingNeurons,
    TickNeurons,
)
from lava_models.net.program import Program

if TYPE_CHECKING:
    from lava.magma.core.process.ports.ports import OutPort
    from lava.magma.core.process.process import AbstractProcess


class Wiring:
    """Processes of a program, and where they are connected.

    Args:
        program: the network.
        stock: whether tick neurons are needed: the fused models know the time without.
        shared: whether the stock models keep the weights of convolutions shared.
        lanes: samples that run side by side.
    """

    def __init__(self, program: Program, *, stock: bool, shared: bool, lanes: int) -> None:
        self.program, self.stock, self.shared, self.lanes = program, stock, shared, lanes
        self.carriers = tuple(p.name for p in program.carriers)
        self.processes: dict[str, AbstractProcess] = {}
        """By population: the process that holds it."""
        self.ends: dict[str, OutPort] = {}
        """By population: where its spikes come out; the host's are put in before `build`."""
        self.within: dict[str, tuple[int, int]] = {}
        """By population that shares its port with others: its first neuron there, of how many."""

    def build(self, starts: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Make the processes and connect them.

        Args:
            starts: of every lane, the ring's cells that fire at timesteps 1 and 2: bool (N,) each.
        """
        program = self.program
        self._draw(tuple(program.draws))
        self._ring(program.of(RingNeurons), starts)
        if program.of(Gates):
            self._store()
        for population in program.of(Neurons):
            self._layer(population)
        if self.stock:
            self._clock(program.carriers, "clock")
            others = [p for p in program.of(TickNeurons) if p.name not in self.carriers]
            for name in dict.fromkeys(p.name.split(".")[0] for p in others):
                self._clock([p for p in others if p.name.split(".")[0] == name], f"{name}_clock")
        self._connect()

    def _connect(self) -> None:
        """Port to port; what stays within a process is its own affair, and the copies of the
        latents share their inputs."""
        done = set()
        for c in self.program.connections:
            source, target = self.processes.get(c.source), self.processes[c.target]
            end = self.ends.get(c.source)
            if source is target or end is None or (end, target, c.port) in done:
                continue
            end.connect(getattr(target, c.port))
            done.add((end, target, c.port))

    def _draw(self, draws: tuple[Population, ...]) -> None:
        from lava_models.processes.selection import LatentSelection

        into = tuple(c for draw in draws for c in self.program.into(draw.name))
        process = LatentSelection(draws=draws, connections=into, carriers=self.carriers,
                                  schedule=self.program.schedule, lanes=self.lanes)
        for draw, end in zip(draws, (process.z_out, process.z_feedback)):
            self.processes[draw.name], self.ends[draw.name] = process, end

    def _ring(self, populations: list[Population], starts: list[tuple[np.ndarray, np.ndarray]]
              ) -> None:
        from lava_models.processes.random_bits import RandomBits

        first, second = (np.stack(cells) for cells in zip(*starts, strict=True))
        process = RandomBits(ring=populations[0].kind.ring, first=first, second=second)
        ends = process.cells_out, process.rule_out, process.bits_out
        for population, end in zip(populations, ends, strict=True):
            self.processes[population.name], self.ends[population.name] = process, end

    def _layer(self, population: Population) -> None:
        from lava_models.processes.layer import SpikingLayer

        process = SpikingLayer(
            population=population, connections=tuple(self.program.into(population.name)),
            carriers=self.carriers, schedule=self.program.schedule, shared=self.shared,
            lanes=self.lanes, within=self.within)
        self.processes[population.name] = process
        self.ends[population.name] = process.s_out

    def _store(self) -> None:
        """One process for relays, gates and latches."""
        from lava_models.processes.store import Store

        groups = [tuple(self.program.of(kind)) for kind in (Relays, Gates, Latches)]
        into = tuple(c for group in groups for p in group for c in self.program.into(p.name))
        process = Store(groups=groups, connections=into, schedule=self.program.schedule,
                        lanes=self.lanes)
        for group, end in zip(groups, (process.relays_out, process.gates_out,
                                       process.latches_out), strict=True):
            for i, population in enumerate(group):
                self.processes[population.name], self.ends[population.name] = process, end
                if len(group) > 1:
                    of = len(group) * population.size
                    self.within[population.name] = i * population.size, of

    def _clock(self, populations: list[Population], name: str) -> None:
        """One process for tick neurons of one beat."""
        from lava_models.processes.clock import Clock

        if not populations:
            return
        first = [p.phase + self.program.schedule.dilation * int(ticks.argmax())
                 for p in populations for ticks in p.kind.fires.T]
        process = Clock(first=np.array(first), interval=populations[0].kind.beat, name=name)
        for population in populations:
            self.processes[population.name] = process
            self.ends[population.name] = process.s_out
