"""LatentSelection: one threshold neuron per latent channel draws z (lava_models.latents).

It exists twice. One copy feeds the decoder. The other feeds z back and is silenced in the last
L ticks of a sample, so that the next sample starts with z_0 = 0.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from scipy import sparse

from lava_models.latents import Selection
from lava_models.synapse import split_exponents


class LatentSelection(AbstractProcess):
    """z = 1[ n * w_zeta - R * w_random > theta ] for `channels` channels.

    Args:
        channels: C.
        selection: k, b and the integers that follow from them.
        silencers: number of tick neurons on port `silence`, each of which mutes the feedback.
        dilation: D; the neurons forget everything between two waves.
        phase: timestep of the first wave.
    """

    def __init__(self, *, channels: int, selection: Selection, silencers: int, dilation: int,
                 phase: int, name: str = "selection") -> None:
        super().__init__(channels=channels, selection=selection, silencers=silencers,
                         dilation=dilation, phase=phase, name=name)
        self.zeta_in = InPort(shape=(channels * selection.k,))
        self.bits_in = InPort(shape=(channels * selection.bits,))
        self.silence = InPort(shape=(silencers,))
        self.z_out = OutPort(shape=(channels,))
        self.z_feedback = OutPort(shape=(channels,))


@implements(proc=LatentSelection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StockLatentSelection(AbstractSubProcessModel):
    """Two LIFReset populations without memory on shared Sparse synapses."""

    def __init__(self, proc: LatentSelection) -> None:
        p = proc.proc_params
        channels, selection = p["channels"], p["selection"]

        def lif() -> LIFReset:
            return LIFReset(shape=(channels,), du=4095, dv=4095, vth=selection.threshold,
                            reset_interval=p["dilation"], reset_offset=p["phase"])

        self.decode, self.feedback = lif(), lif()
        self.synapses = 0
        both = (self.decode, self.feedback)
        per_channel = sparse.identity(channels, dtype=np.int32)
        for port, row in (
            (proc.zeta_in, np.full(selection.k, selection.zeta_weight)),
            (proc.bits_in, -selection.random_weight * 2 ** np.arange(selection.bits)),
        ):
            for mantissas, exponent in split_exponents(row):
                matrix = sparse.kron(per_channel, mantissas[None], format="csr")
                self._connect(port, matrix, exponent, both)
        for mantissas, exponent in split_exponents(
                np.full((channels, p["silencers"]), selection.silence_weight)):
            self._connect(proc.silence, sparse.csr_matrix(mantissas), exponent, (self.feedback,))
        self.decode.s_out.connect(proc.z_out)
        self.feedback.s_out.connect(proc.z_feedback)

    def _connect(self, port: InPort, matrix, exponent: int, targets) -> None:
        synapse = Sparse(weights=matrix.astype(np.int32), weight_exp=exponent)
        port.connect(synapse.s_in)
        for target in targets:
            synapse.a_out.connect(target.a_in)
        setattr(self, f"synapse_{self.synapses}", synapse)  # Lava looks for attributes, not lists
        self.synapses += 1
