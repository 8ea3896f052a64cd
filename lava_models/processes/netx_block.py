"""NetxBlock: one layer of any NetX file: its synapses and neurons."""

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
from lava.proc.conv.process import Conv
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta
from threadpoolctl import threadpool_limits

from lava_models.net import netx_layers
from lava_models.net.netx_layers import STATE_EXP, ConvSynapses, Cuba, DenseSynapses, NetxLayer
from lava_models.reference.netx_reference import NetxCell

GRADED_BITS = 16
"""Of graded messages, NetX's default."""
BIAS_EXP = 6


class NetxBlock(AbstractProcess):
    """A layer with what ends on it. `s_in`: messages of the layer before, or, of an input layer of
    Delta neurons, their input itself.

    Args:
        layer: the layer.
        bias: int (lanes, n) instead of the layer's own, or None.
        lanes: samples that run side by side, (lanes, n) on the ports; more than one with the fused
            model only.
    """

    def __init__(self, *, layer: NetxLayer, bias: np.ndarray | None, lanes: int) -> None:
        super().__init__(layer=layer, bias=bias, lanes=lanes, name=layer.name.replace(".", "_"))
        inputs = layer.size if layer.synapses is None else layer.synapses.inputs
        self.s_in = InPort(shape=(lanes * inputs,))
        self.s_out = OutPort(shape=(lanes * layer.size,))


@implements(proc=NetxBlock, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockNetxBlock(AbstractSubProcessModel):
    """Lava's own processes with NetX's own arguments: what a Loihi 2 compiler sees."""

    def __init__(self, proc: NetxBlock) -> None:
        layer, bias = proc.proc_params["layer"], proc.proc_params["bias"]
        own = layer.bias if bias is None else bias[0]
        self.neuron = _stock_neuron(layer, own.astype(np.int32))
        self.neuron.s_out.connect(proc.s_out)
        if isinstance(layer.synapses, ConvSynapses):
            self._convolve(proc.s_in, layer)
        elif layer.synapses is not None:
            self.synapses = _stock_dense(layer.synapses)
            proc.s_in.connect(self.synapses.s_in)
            self.synapses.a_out.connect(self.neuron.a_in)
        elif not isinstance(layer.neuron, Cuba):
            proc.s_in.connect(self.neuron.a_in)
        if layer.recurrent is not None:
            self.recurrent = _stock_dense(layer.recurrent)
            self.neuron.s_out.connect(self.recurrent.s_in)
            self.recurrent.a_out.connect(self.neuron.a_in)

    def _convolve(self, port: InPort, layer: NetxLayer) -> None:
        s = layer.synapses
        # Lava's maps and kernels are (x, y, channel), and it convolves where NetX correlates.
        kernel = np.flip(s.weight, (2, 3)).transpose(0, 3, 2, 1)
        self.synapses = Conv(weight=kernel, input_shape=s.input_shape[::-1], stride=s.stride[::-1],
                             padding=s.padding[::-1], dilation=s.dilation[::-1], groups=s.groups,
                             num_message_bits=GRADED_BITS * s.graded)
        port.reshape(s.input_shape).transpose((2, 1, 0)).connect(self.synapses.s_in)
        self.synapses.a_out.transpose((2, 1, 0)).reshape((layer.size,)).connect(self.neuron.a_in)


def _stock_dense(s: DenseSynapses) -> Dense | DelayDense:
    weights = s.weight << (s.exponent - s.shift)
    common = {"weights": weights.astype(int), "weight_exp": -s.exponent, "num_weight_bits": s.bits,
              "num_message_bits": GRADED_BITS * s.graded}
    if s.delay is None:
        return Dense(**common)
    return DelayDense(delays=np.array(s.delay), max_delay=62, **common)


def _stock_neuron(layer: NetxLayer, bias: np.ndarray) -> AbstractProcess:
    neuron, shape = layer.neuron, (layer.size,)
    if isinstance(neuron, Cuba):
        common = {"shape": shape, "du": neuron.current_decay - 1, "dv": neuron.voltage_decay,
                  "vth": neuron.threshold, "bias_mant": bias, "bias_exp": BIAS_EXP}
        if neuron.reset is None:
            return LIF(**common)
        return LIFReset(reset_interval=neuron.reset.interval, reset_offset=neuron.reset.offset,
                        **common)
    if isinstance(neuron, netx_layers.Sigma):
        return Sigma(shape=shape)
    common = {"shape": shape, "vth": neuron.threshold, "spike_exp": neuron.spike_exp,
              "state_exp": STATE_EXP}
    if isinstance(neuron, netx_layers.Delta):
        return Delta(**common)
    return SigmaDelta(bias=bias, **common)


@implements(proc=NetxBlock, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FusedNetxBlock(PyLoihiProcessModel):
    """The reference's arithmetic, timestep by timestep."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        layer, self.lanes = proc_params["layer"], proc_params["lanes"]
        threadpool_limits(1)  # one thread per process: the processes share the cores
        self.cell = NetxCell(layer)
        self.cell.start(self.lanes, proc_params["bias"])
        self.direct = layer.synapses is None and not isinstance(layer.neuron, Cuba)
        self.late = None
        if layer.synapses is not None:
            self.late = np.zeros((1, self.lanes, layer.synapses.inputs), np.int32)

    def run_spk(self) -> None:
        if self.direct:
            self.late = self._received()
        sent = self.cell.advance(self.late, self.time_step, 1, {})
        self.s_out.send(sent.ravel().astype(np.int32))
        if self.late is not None and not self.direct:
            self.late = self._received()

    def _received(self) -> np.ndarray:
        return self.s_in.recv().reshape(1, self.lanes, -1)
