"""Clock: tick neurons, each firing once per interval from its own first timestep on.

Biases ride on them (a bias must act once per tick, not once per timestep), and so does the
inhibition that keeps one sample's latents out of the next.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.process import LIF


class Clock(AbstractProcess):
    """n tick neurons with one interval.

    Args:
        first: timestep (1-based) at which each neuron fires first, shape (n,).
        interval: timesteps between its spikes.
    """

    def __init__(self, *, first: np.ndarray, interval: int, name: str = "clock") -> None:
        super().__init__(first=first, interval=interval, name=name)
        self.s_out = OutPort(shape=np.shape(first))


@implements(proc=Clock, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockClock(AbstractSubProcessModel):
    """One LIF each: no leak, bias 1, threshold interval - 1, initial voltage sets the phase.

    v = v0 + 64 * t crosses (interval - 1) * 64 at t = first if v0 = 64 * (interval - first).
    """

    def __init__(self, proc: Clock) -> None:
        first = np.asarray(proc.proc_params["first"])
        interval = proc.proc_params["interval"]
        self.lif = LIF(shape=first.shape, du=4095, dv=0, bias_mant=1, bias_exp=6,
                       vth=interval - 1, v=64 * (interval - first))
        self.lif.s_out.connect(proc.s_out)
