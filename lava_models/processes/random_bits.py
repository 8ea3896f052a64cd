"""RandomBits: the Rule 30 ring of lava_models.net.ring as neurons.

What it costs per step and cell: half a spike of the cell, on 6 synapses and 2 for each bit that
reads it; five quarters of a spike of its two rule neurons, on one synapse each. And per bit: one
spike of its two neurons. What it promises and what not: README.md here.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse

from lava_models.net.ring import Ring, ring_synapses

SPARK = 1 << 22
"""Voltage that makes a neuron without memory fire at timestep 1: a 4096th of it is left then."""


class RandomBits(AbstractProcess):
    """Fires `either` and `both` of n bits anew at every timestep that follows a step of the ring.

    Args:
        ring: the wiring.
        first, second: bool (lanes, N), cells that fire at timesteps 1 and 2. The seed.
    """

    def __init__(self, *, ring: Ring, first: np.ndarray, second: np.ndarray,
                 name: str = "random_bits") -> None:
        super().__init__(ring=ring, first=first, second=second, name=name)
        cells, rule, bits = (len(first) * n for n in ring.sizes)
        self.bits_out = OutPort(shape=(bits,))
        self.cells_out = OutPort(shape=(cells,))
        self.rule_out = OutPort(shape=(rule,))


@implements(proc=RandomBits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockRandomBits(AbstractSubProcessModel):
    """Three LIF populations without memory; the seed is initial voltages, nothing else."""

    def __init__(self, proc: RandomBits) -> None:
        ring = proc.proc_params["ring"]
        first, second = proc.proc_params["first"][0], proc.proc_params["second"][0]
        # dv = 4095 keeps a 4096th of the voltage: nothing of sums up to 63.
        cells, rule, bits = ring.sizes
        self.cells = LIF(shape=(cells,), du=4095, dv=4095, vth=1, v=SPARK * first)
        self.rule = LIF(shape=(rule,), du=4095, dv=4095, vth=2,
                        v=SPARK * np.concatenate([second, np.zeros_like(second)]))
        self.bits = LIF(shape=(bits,), du=4095, dv=4095, vth=1)
        to_rule, to_cells, to_bits = (Sparse(weights=matrix) for matrix in ring_synapses(ring))
        self.to_rule, self.to_cells, self.to_bits = to_rule, to_cells, to_bits
        for source, synapse, target in ((self.cells, to_rule, self.rule),
                                        (self.rule, to_cells, self.cells),
                                        (self.cells, to_bits, self.bits)):
            source.s_out.connect(synapse.s_in)
            synapse.a_out.connect(target.a_in)
        self.cells.s_out.connect(proc.cells_out)
        self.rule.s_out.connect(proc.rule_out)
        self.bits.s_out.connect(proc.bits_out)


@implements(proc=RandomBits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FusedRandomBits(PyLoihiProcessModel):
    """The same spikes from numpy's logic, for any number of lanes."""

    bits_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    cells_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)
    rule_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=8)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.ring = proc_params["ring"]
        self.cells, second = proc_params["first"], proc_params["second"]
        self.rule = np.concatenate([second, np.zeros_like(second)], axis=1)
        self.bits = np.zeros((len(second), 2 * self.ring.bits), bool)

    def run_spk(self) -> None:
        for port, spikes in ((self.cells_out, self.cells), (self.rule_out, self.rule),
                             (self.bits_out, self.bits)):
            port.send(spikes.T.ravel().view(np.uint8))
        self.cells, self.rule, self.bits = (
            self.ring.join(self.rule), self.ring.rule(self.cells), self.ring.observe(self.cells))
