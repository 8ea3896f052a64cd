"""The host's side of the graph: what feeds it and what watches it. Nothing here is on the chip.

Lava moves Vars between processes one element at a time, so sources and probes use files.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class WaveSource(AbstractProcess):
    """Emits row i of a .npy file (waves, n) at timestep `first` + i * `interval`, else zeros.

    Args:
        file: path of the .npy file, integers.
        repeat: how many waves each row serves before the next row comes (T for an image that
            stays for a whole sample).
    """

    def __init__(self, *, file: str, size: int, first: int, interval: int, repeat: int,
                 name: str) -> None:
        super().__init__(file=file, first=first, interval=interval, repeat=repeat, name=name)
        self.s_out = OutPort(shape=(size,))


@implements(proc=WaveSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyWaveSource(PyLoihiProcessModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["file"], mmap_mode="r")
        self.first, self.interval = proc_params["first"], proc_params["interval"]
        self.repeat = proc_params["repeat"]
        self.nothing = np.zeros(self.rows.shape[1], np.int32)

    def run_spk(self) -> None:
        wave, off_beat = divmod(self.time_step - self.first, self.interval)
        row = wave // self.repeat
        on = off_beat == 0 and 0 <= row < len(self.rows)
        self.s_out.send(self.rows[row].astype(np.int32) if on else self.nothing)


class SpikeProbe(AbstractProcess):
    """Counts spikes per neuron and timestep of the period, and records the first timesteps.

    Args:
        within, first, size: neurons of all lanes together that arrive; the number of the first
            that is of interest, and how many are. The lanes of a neuron are next to each other.
        lanes: samples that run side by side.
        raster: path of a .npy file uint8 (recorded steps, ceil(size/8)), bit-packed; or None.
        counts: path of a .npy file int32 (P, size/lanes), summed over samples.
        since: timestep from which on spikes are counted.
        counted: lanes that count, per period; none after the last one.
    """

    def __init__(self, *, within: int, first: int, size: int, lanes: int, raster: str, counts: str,
                 since: int, counted: np.ndarray, name: str) -> None:
        super().__init__(raster=raster, counts=counts, since=since, counted=counted, lanes=lanes,
                         name=name, watched=slice(first, first + size))
        self.a_in = InPort(shape=(within,))


@implements(proc=SpikeProbe, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikeProbe(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["raster"], mmap_mode="r+")
        self.counts = np.load(proc_params["counts"], mmap_mode="r+")
        self.since, self.counted = proc_params["since"], proc_params["counted"]
        self.lanes, self.watched = proc_params["lanes"], proc_params["watched"]

    def run_spk(self) -> None:
        spikes = self.a_in.recv()[self.watched] != 0
        if not spikes.any():
            return
        if self.time_step <= len(self.rows):
            self.rows[self.time_step - 1] = np.packbits(spikes)
        sample, step = divmod(self.time_step - self.since, len(self.counts))
        if 0 <= sample < len(self.counted):
            counted = spikes.reshape(-1, self.lanes)[:, :self.counted[sample]]
            self.counts[step] += counted.sum(axis=1, dtype=np.int32)


class MessageProbe(AbstractProcess):
    """Writes what is sent in timestep t to row t - 1 of a .npy file.

    Args:
        file: path of the .npy file, (timesteps, n) of any type that holds the messages.
    """

    def __init__(self, *, size: int, file: str, name: str) -> None:
        super().__init__(file=file, name=name)
        self.a_in = InPort(shape=(size,))


@implements(proc=MessageProbe, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyMessageProbe(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["file"], mmap_mode="r+")

    def run_spk(self) -> None:
        self.rows[self.time_step - 1] = self.a_in.recv()


class Receiver(AbstractProcess):
    """Writes frames, in the order in which they come, to a .npy file.

    Args:
        file: path of the .npy file, int32 (frames, n).
        skip: how many frames come before the first that is kept.
    """

    def __init__(self, *, size: int, file: str, skip: int, name: str) -> None:
        super().__init__(file=file, skip=skip, name=name)
        self.a_in = InPort(shape=(size,))


@implements(proc=Receiver, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReceiver(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["file"], mmap_mode="r+")
        self.frame = -proc_params["skip"]

    def run_spk(self) -> None:
        if self.a_in.probe():  # a frame comes once a sample; waiting for one would stop the clock
            frame = self.a_in.recv()
            if 0 <= self.frame < len(self.rows):
                self.rows[self.frame] = (frame.astype(np.int32) << 8) >> 8  # 24 bits, signed
            self.frame += 1


class StateProbe(AbstractProcess):
    """Writes a Var once per `interval` timesteps, from timestep `first` on, to a .npy file.

    Args:
        file: path of the .npy file, int32 (reads, n).
    """

    def __init__(self, *, size: int, file: str, first: int, interval: int, name: str) -> None:
        super().__init__(file=file, first=first, interval=interval, name=name)
        self.state = RefPort(shape=(size,))

    def connect_var(self, var: Var) -> None:
        self.state.connect_var(var)


@implements(proc=StateProbe, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyStateProbe(PyLoihiProcessModel):
    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["file"], mmap_mode="r+")
        self.first, self.interval = proc_params["first"], proc_params["interval"]

    def post_guard(self) -> bool:
        since = self.time_step - self.first
        return since >= 0 and since % self.interval == 0

    def run_post_mgmt(self) -> None:
        read = (self.time_step - self.first) // self.interval
        if read < len(self.rows):
            self.rows[read] = self.state.read()
