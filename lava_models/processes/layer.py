"""SpikingLayer: synapses from one or two sources, a bias from a tick neuron, and LIF neurons."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from scipy import sparse

from lava_models.synapse import split_bias


class SpikingLayer(AbstractProcess):
    """One layer of model.net.

    Args:
        weights: one int32 CSR matrix (n_out, n_in) per source, each with its port `s_in_<i>`.
        message_bits: per source, 0 for spikes, 16 for signed graded spikes.
        bias: int32 (n_out,), added once per tick.
        clock_index: which of the `clock_size` tick neurons on port `tick` carries the bias.
        decay: leak per timestep, in 1/4096.
        threshold: vth mantissa.
        reset_interval, reset_offset: timesteps, as for lava's LIFReset.
    """

    def __init__(self, *, weights: list[sparse.csr_matrix], message_bits: list[int],
                 bias: np.ndarray, clock_index: int, clock_size: int, decay: int, threshold: int,
                 reset_interval: int, reset_offset: int, name: str) -> None:
        super().__init__(weights=weights, message_bits=message_bits, bias=bias,
                         clock_index=clock_index, clock_size=clock_size, decay=decay,
                         threshold=threshold, reset_interval=reset_interval,
                         reset_offset=reset_offset, name=name)
        n_out = weights[0].shape[0]
        for i, matrix in enumerate(weights):
            setattr(self, f"s_in_{i}", InPort(shape=(matrix.shape[1],)))
        self.tick = InPort(shape=(clock_size,))
        self.s_out = OutPort(shape=(n_out,))
        self.v = Var(shape=(n_out,), init=0)


@implements(proc=SpikingLayer, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockSpikingLayer(AbstractSubProcessModel):
    """Lava's Sparse and LIFReset: what a Loihi 2 compiler sees."""

    def __init__(self, proc: SpikingLayer) -> None:
        p = proc.proc_params
        n_out = p["weights"][0].shape[0]
        self.lif = LIFReset(shape=(n_out,), du=4095, dv=p["decay"], vth=p["threshold"],
                            reset_interval=p["reset_interval"], reset_offset=p["reset_offset"])
        self.lif.s_out.connect(proc.s_out)
        proc.vars.v.alias(self.lif.vars.v)
        self.synapses = 0
        for i, (matrix, bits) in enumerate(zip(p["weights"], p["message_bits"], strict=True)):
            self._connect(getattr(proc, f"s_in_{i}"), matrix, 0, bits)
        for mantissas, exponent in split_bias(p["bias"]):
            matrix = sparse.lil_matrix((n_out, p["clock_size"]), dtype=np.int32)
            matrix[:, p["clock_index"]] = mantissas[:, None]
            self._connect(proc.tick, matrix.tocsr(), exponent, 0)

    def _connect(self, port: InPort, matrix: sparse.csr_matrix, exponent: int, bits: int) -> None:
        synapse = Sparse(weights=matrix, weight_exp=exponent, num_message_bits=bits)
        port.connect(synapse.s_in)
        synapse.a_out.connect(self.lif.a_in)
        setattr(self, f"synapse_{self.synapses}", synapse)  # Lava looks for attributes, not lists
        self.synapses += 1
