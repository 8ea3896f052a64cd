"""SpikingLayer: one layer of model.net: its synapses, its bias from a tick neuron, its neurons."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.process import Conv
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from scipy import sparse
from threadpoolctl import threadpool_limits

from lava_models.fused.cells import make_cell
from lava_models.net.layers import Conv as ConvLayer
from lava_models.net.layers import ConvT, Glif
from lava_models.net.populations import Connection, LayerWeights, Population, among_carriers
from lava_models.net.schedule import Schedule, dilate_decay
from lava_models.net.synapse import shared_kernel
from lava_models.processes.glif import GLIF


class SpikingLayer(AbstractProcess):
    """A population of the program with what ends on it: `s_in`, from another layer; `z_in`, what
    comes beside it: latents that are fed back, or random bits that are held; `tick`, the tick
    neurons.

    Args:
        population: name, phase, layer.
        connections: into it.
        carriers: names of the tick neurons on port `tick`.
        schedule: phases and dilation.
        shared: whether the stock model keeps a convolution's weights shared (Lava's Conv) instead
            of unrolling them into a matrix (Sparse); same sums.
        lanes: samples that run side by side; more than one with the fused model only.
        within: by source that shares its port with others: (its first neuron there, of how many).
    """

    def __init__(self, *, population: Population, connections: tuple[Connection, ...],
                 carriers: tuple[str, ...], schedule: Schedule, shared: bool, lanes: int,
                 within: Mapping[str, tuple[int, int]]) -> None:
        inputs, listened = {}, {}
        for c in connections:
            if isinstance(c.synapses, LayerWeights):
                size = c.synapses.last - c.synapses.first
                first, inputs[c.port] = within.get(c.source, (0, size))
                listened[c.port] = slice(first, first + size)
        super().__init__(population=population, connections=connections, carriers=carriers,
                         schedule=schedule, shared=shared, lanes=lanes, within=within,
                         listened=listened, name=population.name.replace(".", "_"))
        self.s_in = InPort(shape=(lanes * inputs.get("s_in", 1),))
        self.z_in = InPort(shape=(lanes * inputs.get("z_in", 1),))
        self.tick = InPort(shape=(max(len(carriers), 1),))
        self.s_out = OutPort(shape=(lanes * population.size,))
        self.v = Var(shape=(lanes * population.size,), init=0)


def _widened(matrix: sparse.spmatrix, first: int, size: int) -> sparse.csr_matrix:
    """Synapses of sources that are `first` ... among `size`."""
    of = matrix.tocoo()
    return sparse.csr_matrix((of.data, (of.row, of.col + first)), (matrix.shape[0], size), np.int32)


@implements(proc=SpikingLayer, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockSpikingLayer(AbstractSubProcessModel):
    """Lava's Sparse or Conv, and LIFReset: what a Loihi 2 compiler sees. Gated neurons are a
    process of our own, which it does not."""

    def __init__(self, proc: SpikingLayer) -> None:
        p = proc.proc_params
        population, schedule = p["population"], p["schedule"]
        layer, shape = population.kind.layer, (population.size,)
        if isinstance(layer.neuron, Glif):
            self.lif = GLIF(neuron=layer.neuron, shape=layer.shape, schedule=schedule,
                            phase=population.phase)
        else:
            self.lif = LIFReset(shape=shape, du=4095, vth=layer.neuron.threshold,
                                dv=dilate_decay(layer.neuron.decay, schedule.dilation),
                                reset_interval=schedule.period, reset_offset=population.phase)
        self.lif.s_out.connect(proc.s_out)
        proc.vars.v.alias(self.lif.vars.v)
        self.synapses = 0
        for connection in p["connections"]:
            port = getattr(proc, connection.port)
            if p["shared"] and layer.type != "dense" and port is proc.s_in:
                self._convolve(port, layer, connection.message)
                continue
            for matrix, exponent in connection.synapses.parts():
                if port is proc.tick:
                    matrix = among_carriers(matrix, connection.source, p["carriers"])
                elif connection.source in p["within"]:
                    matrix = _widened(matrix, *p["within"][connection.source])
                synapse = Sparse(weights=matrix, weight_exp=exponent,
                                 num_message_bits=connection.message)
                port.connect(synapse.s_in)
                synapse.a_out.connect(self.lif.a_in)
                setattr(self, f"synapse_{self.synapses}", synapse)  # Lava wants attributes, no list
                self.synapses += 1

    def _convolve(self, port: InPort, layer: ConvLayer | ConvT, bits: int) -> None:
        weight, stride, padding = shared_kernel(layer)
        (c, h, w), (o, oh, ow) = layer.input_shape, layer.shape
        self.conv = Conv(weight=weight, input_shape=(w, h, c), padding=padding, stride=stride,
                         num_message_bits=bits)
        port.reshape((c, h, w)).transpose((2, 1, 0)).connect(self.conv.s_in)
        # Lava's maps are (x, y, channel), ours (channel, y, x). Of a transposed convolution the
        # channels also hold the rows and columns that its stride inserts: the pixel shuffle.
        s = layer.stride if layer.type == "convT" else 1
        maps = self.conv.a_out.reshape((ow // s, oh // s, o, s, s)).transpose((2, 1, 3, 0, 4))
        maps.reshape((o * oh * ow,)).connect(self.lif.a_in)


@implements(proc=SpikingLayer, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FusedSpikingLayer(PyLoihiProcessModel):
    """Synapses and neurons of lava_models.fused, once per wave; between waves nothing is computed.

    `v` is the membrane at the last wave; what leaks until the next is made up for then.
    """

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    z_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    tick: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        population, self.schedule = proc_params["population"], proc_params["schedule"]
        connections = proc_params["connections"]
        self.first_wave, self.lanes = population.phase, proc_params["lanes"]
        listened = proc_params["listened"]
        self.listened = {port: listened[port] for port in ("s_in", "z_in") if port in listened}
        threadpool_limits(1)  # one thread per process: the processes share the cores
        self.cell = make_cell(population, connections, self.schedule.dilation)
        self.silent = np.zeros(self.lanes * population.size, np.uint8)

    def run_spk(self) -> None:
        tick = self.schedule.tick_at(self.first_wave, self.time_step)
        spikes = self.silent
        if tick is not None:
            if tick == 0:
                self.cell.start(self.lanes)
            spikes = self.cell.step(*self.inputs).ravel()
            self.v = self.cell.v.ravel()
        self.s_out.send(spikes)
        self.inputs = [getattr(self, port).recv().reshape(-1, self.lanes)[rows]
                       for port, rows in self.listened.items()]
