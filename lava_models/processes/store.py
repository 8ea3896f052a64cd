"""Store: holds a whole sample's spikes while the next sample's come, all of them stock LIFs without
memory.

    relays   a shift register: at one timestep of each sample they hold its T spikes per channel
    gates    let that timestep through, when the load neuron has fired
    latches  hold it for T timesteps; the clear neuron makes room for the next

To generate, gates let random bits through instead, some for each layer of the prior, and there are
no relays.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from scipy import sparse

from lava_models.net.layers import MEMORYLESS
from lava_models.net.populations import Connection, Gates, Latches, Population
from lava_models.net.ring import spare_bits
from lava_models.net.schedule import Schedule


class Store(AbstractProcess):
    """Relays, gates and latches: T populations of relays and one each of the others, or a pair of
    gates and latches for every layer of a prior that takes random bits.

    Args:
        groups: relays, gates and latches; those of a group follow each other in its port.
        connections: into them.
        schedule: the network's.
        lanes: samples that run side by side; more than one with the fused model only.
    """

    def __init__(self, *, groups: list[tuple[Population, ...]],
                 connections: tuple[Connection, ...], schedule: Schedule, lanes: int,
                 name: str = "store") -> None:
        super().__init__(groups=groups, connections=connections, schedule=schedule, lanes=lanes,
                         name=name)
        inputs = next(c for c in connections if c.port == "s_in").synapses.shape[1]
        relays, gates, latches = (lanes * sum(p.size for p in group) for group in groups)
        self.s_in = InPort(shape=(lanes * inputs,))
        self.load, self.clear = (InPort(shape=(len(groups[1]),)) for _ in range(2))
        self.relays_out = OutPort(shape=(max(relays, 1),))
        self.gates_out, self.latches_out = OutPort(shape=(gates,)), OutPort(shape=(latches,))


@implements(proc=Store, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockStore(AbstractSubProcessModel):
    """A LIF population for each group."""

    def __init__(self, proc: Store) -> None:
        p = proc.proc_params
        relays, gates, latches = p["groups"]
        groups = {"relays": (relays, 0, proc.relays_out),
                  "gates": (gates, Gates.threshold, proc.gates_out),
                  "latches": (latches, Latches.threshold, proc.latches_out)}
        self.place: dict[str, tuple[str, int]] = {}
        sizes = {"load": len(gates), "clear": len(gates)}
        for group, (populations, threshold, out) in groups.items():
            if not populations:
                continue
            at = np.cumsum([0, *(q.size for q in populations)])
            self.place |= {q.name: (group, int(i)) for q, i in zip(populations, at)}
            sizes[group] = int(at[-1])
            lif = LIF(shape=(sizes[group],), du=MEMORYLESS, dv=MEMORYLESS, vth=threshold)
            lif.s_out.connect(out)
            setattr(self, group, lif)  # Lava looks for attributes, not lists
        for kind, populations in (("load", gates), ("clear", latches)):
            stage = {c.target: c.source for c in p["connections"] if c.port == kind}
            self.place |= {stage[q.name]: (kind, i) for i, q in enumerate(populations)}
        for i, (source, target, matrix) in enumerate(self._synapses(p["connections"], sizes)):
            synapse = Sparse(weights=matrix)
            end = getattr(self, source).s_out if source in groups else getattr(proc, source)
            end.connect(synapse.s_in)
            synapse.a_out.connect(getattr(self, target).a_in)
            setattr(self, f"synapse_{i}", synapse)

    def _synapses(self, connections: tuple[Connection, ...], sizes: dict[str, int]
                  ) -> list[tuple[str, str, sparse.csr_matrix]]:
        """(group or port, group, matrix) of each; those between the same two, of one sign, as one:
        Lava's Sparse halves the resolution of mixed signs."""
        found: dict[tuple, sparse.csr_matrix] = {}
        for connection in connections:
            (target, row), = [self.place[connection.target]]
            (matrix, _), = connection.synapses.parts()
            source, column = self.place.get(connection.source, (connection.port, 0))
            matrix = matrix.tocoo()
            shape = sizes[target], sizes.get(source, matrix.shape[1])
            placed = sparse.csr_matrix(
                (matrix.data, (matrix.row + row, matrix.col + column)), shape, dtype=np.int32)
            key = source, target, connection.synapses.weight > 0
            found[key] = found[key] + placed if key in found else placed
        return [(source, target, matrix) for (source, target, _), matrix in found.items()]


@implements(proc=Store, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FusedStore(PyLoihiProcessModel):
    """The same spikes by moving bits; it knows the time without load and clear neurons."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    load: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    clear: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    relays_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    gates_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    latches_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.schedule, self.lanes = proc_params["schedule"], proc_params["lanes"]
        relays, self.gate_groups, self.latch_groups = proc_params["groups"]
        self.channels = relays[0].size if relays else 0
        self.each = self.gate_groups[0].size
        self.relays = self._silent(relays)
        self.gates, self.latches = self._silent(self.gate_groups), self._silent(self.latch_groups)
        self.sets = -(-len(self.gate_groups) // self.schedule.ticks)

    def _silent(self, populations: tuple[Population, ...]) -> np.ndarray:
        return np.zeros((sum(p.size for p in populations), self.lanes), bool)

    def run_spk(self) -> None:
        first_out = self.relays if self.channels else np.zeros(1, bool)
        for port, spikes in ((self.relays_out, first_out), (self.gates_out, self.gates),
                             (self.latches_out, self.latches)):
            port.send(spikes.ravel().view(np.uint8))
        arrived, step = self.s_in.recv().reshape(-1, self.lanes) != 0, self.time_step + 1
        gates, latches = np.zeros_like(self.gates), self.latches.copy()
        for i, (gate, latch) in enumerate(zip(self.gate_groups, self.latch_groups)):
            rows = slice(i * self.each, (i + 1) * self.each)
            if self.schedule.tick_at(latch.phase, step) == 0:
                latches[rows] = self.gates[rows]
            if self.schedule.tick_at(gate.phase, step) == 0:
                gates[rows] = self._read(arrived, i // self.schedule.ticks)
        self.gates, self.latches = gates, latches
        if self.channels:
            self.relays = np.concatenate([arrived, self.relays[:-self.channels]])

    def _read(self, arrived: np.ndarray, number: int) -> np.ndarray:
        """What gates let through: the relays, channel by channel, the first tick's first; or the
        random bits of a set."""
        if not self.channels:
            spare = spare_bits(arrived.T, self.sets * self.each)
            return spare[:, number * self.each:(number + 1) * self.each].T
        by_tick = self.relays.reshape(-1, self.channels, self.lanes)[::-1]
        return by_tick.transpose(1, 0, 2).reshape(-1, self.lanes)
