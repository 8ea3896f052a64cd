"""lava.proc.embedded_io.state: reads a Var once per interval and sends it, 24 bits unsigned."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Read(AbstractProcess):
    def __init__(self, *, shape: tuple[int, ...], interval: int = 1, offset: int = 0) -> None:
        super().__init__(interval=interval, offset=offset)
        self.state, self.out = RefPort(shape=shape), OutPort(shape=shape)

    def connect_var(self, var: Var) -> None:
        self.state.connect_var(var)


@implements(proc=Read, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRead(PyLoihiProcessModel):
    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.interval, self.offset = proc_params["interval"], proc_params["offset"]

    def post_guard(self) -> bool:
        return (self.time_step - 1) % self.interval == self.offset

    def run_post_mgmt(self) -> None:
        self.out.send(self.state.read().astype(np.int32) & 0xFFFFFF)
