"""SpikingLayer: one layer of model.net: its synapses, its bias from a tick neuron, its neurons."""

from __future__ import annotations

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

from lava_models.net.layers import Conv as ConvLayer
from lava_models.net.layers import ConvT, Glif, Layer
from lava_models.net.schedule import Schedule, dilate_decay
from lava_models.net.synapse import (
    neuron_bias,
    shared_kernel,
    split_bias,
    split_exponents,
    unroll,
)
from lava_models.processes.glif import GLIF
from lava_models.reference.simulator import LayerCell


class SpikingLayer(AbstractProcess):
    """Neurons with inputs from one source (`s_in`) or two (`s_in`, then `z_in`).

    Args:
        layer: weights, bias, neuron.
        layer_name: its name in the schedule.
        schedule: phases and dilation.
        feedback: how many of the layer's inputs, the last ones, come from `z_in`.
        message_bits: of `s_in`; 0 for spikes, 16 for signed graded spikes.
        shared: whether the stock model keeps a convolution's weights shared (Lava's Conv) instead
            of unrolling them into a matrix (Sparse); same sums.
        clock_index: which of the `clock_size` tick neurons on port `tick` carries the bias; None
            where there is none.
        lanes: samples that run side by side; more than one with the fused model only.
        constant: int32 (n_out,), synaptic sums of an input that never changes; they then come with
            the bias and `s_in` is not used. Stock model only.
    """

    def __init__(self, *, layer: Layer, layer_name: str, schedule: Schedule, feedback: int,
                 message_bits: int, shared: bool, clock_index: int | None, clock_size: int,
                 lanes: int, constant: np.ndarray | None = None) -> None:
        super().__init__(layer=layer, layer_name=layer_name, schedule=schedule, feedback=feedback,
                         message_bits=message_bits, shared=shared, clock_index=clock_index,
                         clock_size=clock_size, lanes=lanes, constant=constant,
                         name=layer_name.replace(".", "_"))
        n_in, n_out = int(np.prod(layer.input_shape)), int(np.prod(layer.shape))
        self.s_in = InPort(shape=(lanes * (n_in - feedback),))
        self.z_in = InPort(shape=(lanes * max(feedback, 1),))
        self.tick = InPort(shape=(clock_size,))
        self.s_out = OutPort(shape=(lanes * n_out,))
        self.v = Var(shape=(lanes * n_out,), init=0)


@implements(proc=SpikingLayer, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockSpikingLayer(AbstractSubProcessModel):
    """Lava's Sparse or Conv, and LIFReset: what a Loihi 2 compiler sees. Gated neurons are a
    process of our own, which it does not."""

    def __init__(self, proc: SpikingLayer) -> None:
        p = proc.proc_params
        layer, schedule = p["layer"], p["schedule"]
        bias, phase = neuron_bias(layer), schedule.phases[p["layer_name"]]
        if isinstance(layer.neuron, Glif):
            self.lif = GLIF(neuron=layer.neuron, shape=layer.shape, schedule=schedule, phase=phase)
        else:
            self.lif = LIFReset(shape=bias.shape, du=4095, vth=layer.neuron.threshold,
                                dv=dilate_decay(layer.neuron.decay, schedule.dilation),
                                reset_interval=schedule.period, reset_offset=phase)
        self.lif.s_out.connect(proc.s_out)
        proc.vars.v.alias(self.lif.vars.v)
        self.synapses = 0
        with_bias = split_bias(bias)
        if p["constant"] is not None:  # of one sign each: any integer, not only even ones
            for part in (np.maximum(p["constant"], 0), np.minimum(p["constant"], 0)):
                with_bias += split_exponents(part)
        elif p["shared"] and layer.type != "dense":
            self._convolve(proc.s_in, layer, p["message_bits"])
        else:
            matrix = unroll(layer)
            upstream = matrix.shape[1] - p["feedback"]
            self._connect(proc.s_in, matrix[:, :upstream], bits=p["message_bits"])
            if p["feedback"]:
                self._connect(proc.z_in, matrix[:, upstream:])
        for mantissas, exponent in with_bias:
            matrix = sparse.lil_matrix((len(bias), p["clock_size"]), dtype=np.int32)
            matrix[:, p["clock_index"]] = mantissas[:, None]
            self._connect(proc.tick, matrix.tocsr(), exponent)

    def _connect(self, port: InPort, matrix: sparse.csr_matrix, exponent: int = 0,
                 bits: int = 0) -> None:
        synapse = Sparse(weights=matrix, weight_exp=exponent, num_message_bits=bits)
        port.connect(synapse.s_in)
        synapse.a_out.connect(self.lif.a_in)
        setattr(self, f"synapse_{self.synapses}", synapse)  # Lava looks for attributes, not lists
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
    """The reference's arithmetic, once per wave; between waves nothing is computed.

    `v` is the membrane at the last wave; what leaks until the next is made up for then.
    """

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    z_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    tick: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        layer, schedule = proc_params["layer"], proc_params["schedule"]
        self.schedule = schedule
        self.first_wave = schedule.phases[proc_params["layer_name"]]
        self.lanes, self.feedback = proc_params["lanes"], proc_params["feedback"]
        threadpool_limits(1)  # one thread per process: the processes share the cores
        self.cell = LayerCell(layer, schedule.dilation)
        self.silent = np.zeros(self.lanes * int(np.prod(layer.shape)), np.uint8)

    def run_spk(self) -> None:
        tick = self.schedule.tick_at(self.first_wave, self.time_step)
        spikes = self.silent
        if tick is not None:
            if tick == 0:
                self.cell.start(self.lanes)
            fired = self.cell.step(self.inputs)
            self.v = self.cell.v.ravel().astype(np.int32)
            if self.cell.spiking:
                spikes = fired.ravel().view(np.uint8)
        self.s_out.send(spikes)
        self.inputs = self.s_in.recv().reshape(-1, self.lanes)
        if self.feedback:
            z = self.z_in.recv().reshape(-1, self.lanes)
            self.inputs = np.concatenate([self.inputs, z])
