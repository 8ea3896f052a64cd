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
from scipy import sparse

from lava_models.net.latents import Selection, Thinning
from lava_models.net.schedule import SELECTION, Schedule
from lava_models.net.synapse import selection_synapses, split_exponents
from lava_models.reference.rule30 import random_bits


class LatentSelection(AbstractProcess):
    """z = 1[ n * w_zeta - sum(bits * w) > theta ] for `channels` channels; n counts the candidates
    that fired, or is the chance of a Poisson latent.

    Args:
        channels: C.
        selection: b and the integers that follow from it.
        silencers: number of tick neurons on port `silence`, each of which mutes the feedback; 0
            where nothing is fed back.
        schedule: phases and dilation; the neurons forget everything between two waves.
        lanes: samples that run side by side; more than one with the fused model only.
        message_bits: of `zeta_in`: 0 for spikes, 16 for chances.
        constant: int32 (C,), chances that never change; `zeta_in` is not used then, and in the
            stock model they ride on the tick neuron `clock_index` of `clock_size` on port `tick`.
    """

    def __init__(self, *, channels: int, selection: Selection | Thinning, silencers: int,
                 schedule: Schedule, lanes: int, message_bits: int = 0,
                 constant: np.ndarray | None = None, clock_index: int = 0,
                 clock_size: int = 1) -> None:
        super().__init__(channels=channels, selection=selection, silencers=silencers,
                         schedule=schedule, lanes=lanes, message_bits=message_bits,
                         constant=constant, clock_index=clock_index, clock_size=clock_size,
                         name=SELECTION)
        self.zeta_in = InPort(shape=(lanes * channels * selection.candidates,))
        self.bits_in = InPort(shape=(lanes * 2 * channels * selection.bits,))
        self.silence = InPort(shape=(max(silencers, 1),))
        self.tick = InPort(shape=(clock_size,))
        self.z_out = OutPort(shape=(lanes * channels,))
        self.z_feedback = OutPort(shape=(lanes * channels,))


@implements(proc=LatentSelection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockLatentSelection(AbstractSubProcessModel):
    """One LIFReset population without memory, or two on shared Sparse synapses."""

    def __init__(self, proc: LatentSelection) -> None:
        p = proc.proc_params
        channels, selection, schedule = p["channels"], p["selection"], p["schedule"]

        def lif() -> LIFReset:
            return LIFReset(shape=(channels,), du=4095, dv=4095, vth=selection.threshold,
                            reset_interval=schedule.dilation,
                            reset_offset=schedule.phases[SELECTION])

        self.decode = lif()
        self.decode.s_out.connect(proc.z_out)
        both = [self.decode]
        if p["silencers"]:
            self.feedback = lif()
            self.feedback.s_out.connect(proc.z_feedback)
            both.append(self.feedback)
        parts = list(selection_synapses(selection, channels, p["silencers"]))
        if p["constant"] is not None:
            parts = [part for part in parts if part[0] != "zeta_in"]
            for mantissas, exponent in split_exponents(p["constant"]):
                matrix = sparse.lil_matrix((channels, p["clock_size"]), dtype=np.int32)
                matrix[:, p["clock_index"]] = mantissas[:, None]
                parts.append(("tick", matrix.tocsr(), exponent))
        for i, (port, matrix, exponent) in enumerate(parts):
            bits = p["message_bits"] if port == "zeta_in" else 0
            synapse = Sparse(weights=matrix, weight_exp=exponent, num_message_bits=bits)
            getattr(proc, port).connect(synapse.s_in)
            for target in (self.feedback,) if port == "silence" else both:
                synapse.a_out.connect(target.a_in)
            setattr(self, f"synapse_{i}", synapse)  # Lava looks for attributes, not lists


@implements(proc=LatentSelection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FusedLatentSelection(PyLoihiProcessModel):
    """The reference's draw, once per wave."""

    zeta_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    bits_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    silence: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    tick: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    z_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    z_feedback: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.selection, self.schedule = proc_params["selection"], proc_params["schedule"]
        self.channels, self.lanes = proc_params["channels"], proc_params["lanes"]
        self.muted = self.schedule.ticks - proc_params["silencers"]
        self.constant = proc_params["constant"]
        self.nothing = np.zeros(self.lanes * self.channels, np.uint8)

    def run_spk(self) -> None:
        tick = self.schedule.tick_at(self.schedule.phases[SELECTION], self.time_step)
        z = self.nothing
        if tick is not None:
            bits = random_bits(self.observed.reshape(-1, self.lanes).T != 0, self.channels)
            zeta = self.zeta.reshape(-1, self.lanes)
            if self.constant is not None:
                zeta = self.constant[:, None]
            z = self.selection.select(zeta, bits).ravel().view(np.uint8)
        self.z_out.send(z)
        self.z_feedback.send(self.nothing if tick is None or tick >= self.muted else z)
        self.zeta, self.observed = self.zeta_in.recv(), self.bits_in.recv()
