"""LatentSelection: one threshold neuron per latent channel draws z (lava_models.net.latents).

Where z is fed back it exists twice. One copy feeds the decoder. The other feeds z back and is
silenced in the last L ticks of a sample, so that the next sample starts with z_0 = 0.
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
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse

from lava_models.fused.cells import FusedDraw
from lava_models.net.populations import Connection, Population, among_carriers
from lava_models.net.schedule import Schedule


class LatentSelection(AbstractProcess):
    """z = 1[ n * w_zeta - sum(bits * w) > theta ] for C channels; n counts the candidates that
    fired, or is the chance of a Poisson latent, or the sum that a prior of rates gives.

    Args:
        draws: the population that the decoder gets, then the copy that is fed back, if there is
            one; they forget everything between two waves.
        connections: into them; chances that are constants ride on a tick neuron.
        carriers: names of the tick neurons on port `tick`.
        schedule: phases and dilation.
        lanes: samples that run side by side; more than one with the fused model only.
    """

    def __init__(self, *, draws: tuple[Population, ...], connections: tuple[Connection, ...],
                 carriers: tuple[str, ...], schedule: Schedule, lanes: int) -> None:
        super().__init__(draws=draws, connections=connections, carriers=carriers,
                         schedule=schedule, lanes=lanes, name=draws[0].name)
        channels, selection = draws[0].size, draws[0].kind.selection
        layer = draws[0].kind.layer
        inputs = channels * selection.candidates if layer is None else layer.weight.shape[1]
        self.zeta_in = InPort(shape=(lanes * inputs,))
        bits = channels * selection.bits + draws[0].kind.spare
        self.bits_in = InPort(shape=(lanes * 2 * bits,))
        self.silence = InPort(shape=(max(draws[-1].kind.muted, 1),))
        self.tick = InPort(shape=(max(len(carriers), 1),))
        self.z_out = OutPort(shape=(lanes * channels,))
        self.z_feedback = OutPort(shape=(lanes * channels,))


@implements(proc=LatentSelection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockLatentSelection(AbstractSubProcessModel):
    """One LIFReset population without memory, or two on shared Sparse synapses."""

    def __init__(self, proc: LatentSelection) -> None:
        p = proc.proc_params
        copies = {}
        for i, (draw, out) in enumerate(zip(p["draws"], (proc.z_out, proc.z_feedback))):
            lif = LIFReset(shape=draw.shape, du=4095, dv=4095, vth=draw.kind.selection.threshold,
                           reset_interval=p["schedule"].dilation, reset_offset=draw.phase)
            lif.s_out.connect(out)
            setattr(self, f"copy_{i}", lif)  # Lava looks for attributes, not lists
            copies[draw.name] = lif
        synapses = 0
        for port in dict.fromkeys(c.port for c in p["connections"]):
            alike = [c for c in p["connections"] if c.port == port]
            for matrix, exponent in alike[0].synapses.parts():
                if port == "tick":
                    matrix = among_carriers(matrix, alike[0].source, p["carriers"])
                synapse = Sparse(weights=matrix, weight_exp=exponent,
                                 num_message_bits=alike[0].message)
                getattr(proc, port).connect(synapse.s_in)
                for connection in alike:
                    synapse.a_out.connect(copies[connection.target].a_in)
                setattr(self, f"synapse_{synapses}", synapse)
                synapses += 1


@implements(proc=LatentSelection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FusedLatentSelection(PyLoihiProcessModel):
    """lava_models.fused.FusedDraw, once per wave."""

    zeta_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    bits_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    silence: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    tick: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    z_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    z_feedback: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.draws, self.schedule = proc_params["draws"], proc_params["schedule"]
        into = tuple(c for c in proc_params["connections"] if c.target == self.draws[0].name)
        self.lanes, self.cell = proc_params["lanes"], FusedDraw(self.draws[0].kind, into)
        self.muted = self.schedule.ticks - self.draws[-1].kind.muted
        self.nothing = np.zeros(self.lanes * self.draws[0].size, np.uint8)

    def run_spk(self) -> None:
        tick = self.schedule.tick_at(self.draws[0].phase, self.time_step)
        z = self.nothing
        if tick is not None:
            z = self.cell.step(**self.inputs).ravel()
        self.z_out.send(z)
        self.z_feedback.send(self.nothing if tick is None or tick >= self.muted else z)
        self.inputs = {name: getattr(self, name).recv().reshape(-1, self.lanes)
                       for name in self.cell.ports}
