"""GLIF: gated neurons (lava_models.net.layers.Glif) in fixed point, for the CPU.

Timestep by timestep, as a chip's microcode would: the reference goes from wave to wave. There is no
such microcode in public, so nothing here runs on a chip.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_models.net.layers import Glif
from lava_models.net.schedule import Schedule, dilate_decay


class GLIF(AbstractProcess):
    """Gated neurons of one layer.

    Args:
        neuron: their integers, per channel.
        shape: (C,) or (C, H, W) of the layer.
        schedule: dilation and period; they forget everything between two samples.
        phase: timestep of their first wave.
    """

    def __init__(self, *, neuron: Glif, shape: tuple[int, ...], schedule: Schedule,
                 phase: int) -> None:
        super().__init__(neuron=neuron, each=int(np.prod(shape[1:], dtype=int)),
                         schedule=schedule, phase=phase)
        size = (int(np.prod(shape)),)
        self.a_in = InPort(shape=size)
        self.s_out = OutPort(shape=size)
        self.v = Var(shape=size, init=0)


def _fraction(values: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """values * factor / 4096, towards zero; int64."""
    return np.sign(values) * (np.abs(values) * factor >> 12)


@implements(proc=GLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyGlifModelFixed(PyLoihiProcessModel):
    """24-bit membranes, 12-bit fractions; netfile.check proves that nothing overflows."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int16, precision=16)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        neuron, each = proc_params["neuron"], proc_params["each"]
        self.schedule, self.first_wave = proc_params["schedule"], proc_params["phase"]

        def spread(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, each, axis=-1).astype(np.int64)

        self.keep = 4096 - spread(dilate_decay(neuron.decay, self.schedule.dilation))
        self.left = 4096 - spread(neuron.reset)
        self.leak, self.subtract = spread(neuron.leak), spread(neuron.subtract)
        self.threshold, self.gain = spread(neuron.threshold), spread(neuron.gain)
        self.fired = np.zeros(len(self.leak), bool)

    def run_spk(self) -> None:
        a = self.a_in.recv().astype(np.int64)
        tick = self.schedule.tick_at(self.first_wave, self.time_step)
        spikes = np.zeros(len(self.fired), bool)
        v = self.v.astype(np.int64)
        if tick == 0:
            v[:] = 0
            self.fired[:] = False
        v = _fraction(v, self.keep)
        if tick is not None:
            v += _fraction(a * 64, self.gain[tick]) - self.leak - self.subtract * self.fired
            spikes = v > self.threshold
            v = np.where(spikes, _fraction(v, self.left), v)
            self.fired = spikes
        self.v = v.astype(np.int32)
        self.s_out.send(spikes.astype(np.int32))
