"""LatentSelection: one threshold neuron per latent channel draws z (lava_models.latents).

It exists twice. One copy feeds the decoder. The other feeds z back and is silenced in the last
L ticks of a sample, so that the next sample starts with z_0 = 0.
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

from lava_models.latents import Selection
from lava_models.rule30 import random_bits
from lava_models.schedule import SELECTION, Schedule
from lava_models.synapse import selection_synapses


class LatentSelection(AbstractProcess):
    """z = 1[ n * w_zeta - sum(bits * w) > theta ] for `channels` channels.

    Args:
        channels: C.
        selection: k, b and the integers that follow from them.
        silencers: number of tick neurons on port `silence`, each of which mutes the feedback.
        schedule: phases and dilation; the neurons forget everything between two waves.
        lanes: samples that run side by side; more than one with the fused model only.
    """

    def __init__(self, *, channels: int, selection: Selection, silencers: int, schedule: Schedule,
                 lanes: int) -> None:
        super().__init__(channels=channels, selection=selection, silencers=silencers,
                         schedule=schedule, lanes=lanes, name=SELECTION)
        self.zeta_in = InPort(shape=(lanes * channels * selection.k,))
        self.bits_in = InPort(shape=(lanes * 2 * channels * selection.bits,))
        self.silence = InPort(shape=(silencers,))
        self.z_out = OutPort(shape=(lanes * channels,))
        self.z_feedback = OutPort(shape=(lanes * channels,))


@implements(proc=LatentSelection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockLatentSelection(AbstractSubProcessModel):
    """Two LIFReset populations without memory on shared Sparse synapses."""

    def __init__(self, proc: LatentSelection) -> None:
        p = proc.proc_params
        channels, selection, schedule = p["channels"], p["selection"], p["schedule"]

        def lif() -> LIFReset:
            return LIFReset(shape=(channels,), du=4095, dv=4095, vth=selection.threshold,
                            reset_interval=schedule.dilation,
                            reset_offset=schedule.phases[SELECTION])

        self.decode, self.feedback = lif(), lif()
        parts = selection_synapses(selection, channels, p["silencers"])
        for i, (port, matrix, exponent) in enumerate(parts):
            synapse = Sparse(weights=matrix, weight_exp=exponent)
            getattr(proc, port).connect(synapse.s_in)
            for target in (self.feedback,) if port == "silence" else (self.decode, self.feedback):
                synapse.a_out.connect(target.a_in)
            setattr(self, f"synapse_{i}", synapse)  # Lava looks for attributes, not lists
        self.decode.s_out.connect(proc.z_out)
        self.feedback.s_out.connect(proc.z_feedback)


@implements(proc=LatentSelection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FusedLatentSelection(PyLoihiProcessModel):
    """The reference's draw, once per wave."""

    zeta_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    bits_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    silence: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    z_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    z_feedback: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.selection, self.schedule = proc_params["selection"], proc_params["schedule"]
        self.channels, self.lanes = proc_params["channels"], proc_params["lanes"]
        self.muted = self.schedule.ticks - proc_params["silencers"]
        self.nothing = np.zeros(self.lanes * self.channels, np.uint8)

    def run_spk(self) -> None:
        tick = self.schedule.tick_at(self.schedule.phases[SELECTION], self.time_step)
        z = self.nothing
        if tick is not None:
            bits = random_bits(self.observed.reshape(-1, self.lanes).T != 0, self.channels)
            zeta = self.zeta.reshape(-1, self.lanes)
            z = self.selection.select(zeta, bits).ravel().view(np.uint8)
        self.z_out.send(z)
        self.z_feedback.send(self.nothing if tick is None or tick >= self.muted else z)
        self.zeta, self.observed = self.zeta_in.recv(), self.bits_in.recv()
