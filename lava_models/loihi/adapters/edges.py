"""SpikesIn, SpikesOut: where spikes pass from the host to the chip and back.

On the CPU they pass on what they get, in the same timestep. On a chip they are the adapters of
Intel's extension (not run on hardware); the run configuration chooses.
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
from lava.magma.core.resources import CPU, Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_models.loihi.extension import load


class SpikesIn(AbstractProcess):
    """Host -> chip.

    Args:
        size: neurons.
        message_bits: 0 for spikes, 16 for graded ones.
    """

    def __init__(self, *, size: int, message_bits: int, name: str) -> None:
        super().__init__(size=size, message_bits=message_bits, name=name)
        self.inp = InPort(shape=(size,))
        self.out = OutPort(shape=(size,))


class SpikesOut(AbstractProcess):
    """Chip -> host. Arguments as of `SpikesIn`."""

    def __init__(self, *, size: int, message_bits: int, name: str) -> None:
        super().__init__(size=size, message_bits=message_bits, name=name)
        self.inp = InPort(shape=(size,))
        self.out = OutPort(shape=(size,))


class _PassOn(PyLoihiProcessModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def run_spk(self) -> None:
        self.out.send(self.inp.recv())


@implements(proc=SpikesIn, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikesIn(_PassOn):
    """On the CPU simulator."""


@implements(proc=SpikesOut, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikesOut(_PassOn):
    """On the CPU simulator."""


class _Adapter(AbstractSubProcessModel):
    adapter_name: str

    def __init__(self, proc) -> None:
        p = proc.proc_params
        self.adapter = load(self.adapter_name)(shape=(p["size"],),
                                               num_message_bits=p["message_bits"])
        proc.inp.connect(self.adapter.inp)
        self.adapter.out.connect(proc.out)


@implements(proc=SpikesIn, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
@tag("fixed_pt")
class NxSpikesIn(_Adapter):
    """The extension's adapter. Not run on hardware."""

    adapter_name = "PyToNxAdapter"


@implements(proc=SpikesOut, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
@tag("fixed_pt")
class NxSpikesOut(_Adapter):
    """The extension's adapter. Not run on hardware."""

    adapter_name = "NxToPyAdapter"
