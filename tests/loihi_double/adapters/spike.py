"""lava.proc.embedded_io.spike: adapters that pass spikes on, DELAY timesteps late."""

from __future__ import annotations

import collections

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

DELAY = 0


class PyToNxAdapter(AbstractProcess):
    def __init__(self, *, shape: tuple[int, ...], num_message_bits: int = 0) -> None:
        super().__init__(shape=shape, num_message_bits=num_message_bits, delay=DELAY)
        self.inp, self.out = InPort(shape=shape), OutPort(shape=shape)


class NxToPyAdapter(AbstractProcess):
    def __init__(self, *, shape: tuple[int, ...], num_message_bits: int = 0) -> None:
        super().__init__(shape=shape, num_message_bits=num_message_bits, delay=DELAY)
        self.inp, self.out = InPort(shape=shape), OutPort(shape=shape)


class _Late(PyLoihiProcessModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        nothing = np.zeros(proc_params["shape"], np.int32)
        self.waiting = collections.deque([nothing] * proc_params["delay"])
        self.largest = 2 ** (proc_params["num_message_bits"] - 1) if (
            proc_params["num_message_bits"]) else 1

    def run_spk(self) -> None:
        spikes = self.inp.recv()
        if np.abs(spikes).max(initial=0) > self.largest:
            raise ValueError("a spike does not fit its message")
        self.waiting.append(spikes)
        self.out.send(self.waiting.popleft())


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPyToNx(_Late):
    pass


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNxToPy(_Late):
    pass
