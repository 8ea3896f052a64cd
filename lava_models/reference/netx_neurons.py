"""Neurons of NetX layers, timestep by timestep, exactly as Lava's fixed-point models update them.

State arrays are (B, n), B lanes of n neurons; integers held in float64, in which products of 24-bit
states with 12-bit factors are exact.
"""

from __future__ import annotations

import numpy as np

from hw_configs.files import UserError
from lava_models.net.netx_layers import (
    DECAY_ONE,
    STATE_EXP,
    Cuba,
    Delta,
    NetxLayer,
    Sigma,
    SigmaDelta,
)

PIECE = 16384
"""States updated at a time: 128 KiB, which the cache holds."""
WRAP = 2.0**23
"""Beyond it a current of 24 bits wraps, and a voltage saturates one below."""
INT32 = 2.0**31
LARGEST = 2.0**30
"""Of sigma-delta states: their differences have to fit 32 bits."""


def make_netx_neurons(layer: NetxLayer) -> CubaNeurons | SigmaDeltaNeurons | SigmaNeurons:
    """The neurons of a layer."""
    kinds = {Cuba: CubaNeurons, Delta: DeltaNeurons, SigmaDelta: SigmaDeltaNeurons,
             Sigma: SigmaNeurons}
    return kinds[type(layer.neuron)](layer)


class CubaNeurons:
    """netx_layers.Cuba: states `u`, `v`."""

    states = ("u", "v")

    def __init__(self, layer: NetxLayer) -> None:
        neuron = layer.neuron
        self.name, self.size, self.reset = layer.name, layer.size, neuron.reset
        self.keep_u = (DECAY_ONE - neuron.current_decay) / DECAY_ONE
        self.keep_v = (DECAY_ONE - neuron.voltage_decay) / DECAY_ONE
        self.threshold = neuron.threshold * 2.0**STATE_EXP
        self.bias = layer.bias * 2.0**STATE_EXP
        self.most = _most_sum(layer) * 2.0**STATE_EXP

    def start(self, lanes: int, bias: np.ndarray | None) -> None:
        """Begin at rest.

        Args:
            bias: int (B, n) instead of the layer's own, or None.
        """
        self.v = np.zeros((lanes, self.size))
        self.u = np.zeros((lanes, self.size))
        own = self.bias if bias is None else bias * 2.0**STATE_EXP
        self.constant = np.ascontiguousarray(np.broadcast_to(own, self.v.shape)).reshape(-1)
        self.biased = bool(self.constant.any())
        u, v = self.u.reshape(-1), self.v.reshape(-1)
        pieces = [slice(first, first + PIECE) for first in range(0, v.size, PIECE)]
        self.pieces = [(piece, u[piece], v[piece], self.constant[piece]) for piece in pieces]
        """Views of the states, which are never put elsewhere."""
        most_u = self.most / (1 - self.keep_u) if self.keep_u < 1 else np.inf
        most_v = (most_u + np.abs(self.constant).max(initial=0)) / (1 - self.keep_v) if (
            self.keep_v < 1) else np.inf
        self.wraps, self.saturates = most_u >= WRAP, most_v >= WRAP

    def step(self, sums: np.ndarray | None, timestep: int) -> np.ndarray:
        """Spikes bool (B, n) of a timestep (1-based); `sums` float (B, n), None where all are 0."""
        reset = self.reset
        if reset is not None and timestep % reset.interval == reset.offset:
            self.u[:] = 0
            self.v[:] = 0
        if sums is not None:
            if self.wraps:
                top = max(-sums.min(initial=0), sums.max(initial=0))
                if top * 2.0**STATE_EXP >= INT32 - WRAP:
                    raise UserError(f"{self.name}: a sum of {top:.0f} is beyond what stock Lava "
                                    "can shift into a current")
            sums = sums.reshape(-1)
        fired = np.empty(self.v.shape, bool)
        out = fired.reshape(-1)
        for piece, u, v, bias in self.pieces:
            self._piece(u, v, None if sums is None else sums[piece], bias, out[piece])
        return fired

    def _piece(self, u: np.ndarray, v: np.ndarray, sums: np.ndarray | None, bias: np.ndarray,
               fired: np.ndarray) -> None:
        still = sums is None and self.keep_u == 0  # nothing ever comes in, and u stays 0
        if self.keep_u == 0:
            if sums is not None:
                np.multiply(sums, 2.0**STATE_EXP, out=u, dtype=np.float64)
        else:
            if self.keep_u != 1:
                u *= self.keep_u
                np.trunc(u, out=u)
            if sums is not None:
                u += sums * 2.0**STATE_EXP
        if self.wraps and sums is not None:
            np.copyto(u, np.where(u > WRAP, u - 2 * WRAP, np.where(u <= -WRAP, u + 2 * WRAP, u)))
        if self.keep_v == 0:
            v[:] = u
        else:
            if self.keep_v != 1:
                v *= self.keep_v
                np.trunc(v, out=v)
            if not still:
                v += u
        if self.biased:
            v += bias
        if self.saturates:
            np.maximum(v, 1 - WRAP, out=v)
            np.minimum(v, WRAP - 1, out=v)
        np.greater(v, self.threshold, out=fired)
        np.copyto(v, 0, where=fired)


def _most_sum(layer: NetxLayer) -> float:
    """The largest size of a synaptic sum, if it is known before anything is sent."""
    parts = [s for s in (layer.synapses, layer.recurrent) if s is not None]
    return float("inf") if any(s.graded for s in parts) else float(sum(s.most for s in parts))


class _Sending:
    """What Delta and SigmaDelta do with an activation: send it once it moved far enough."""

    def __init__(self, layer: NetxLayer) -> None:
        self.name, self.size = layer.name, layer.size
        self.scale = 2.0**(layer.neuron.spike_exp + STATE_EXP)
        self.threshold = layer.neuron.threshold * self.scale

    def _start(self, lanes: int) -> None:
        self.act, self.residue = np.zeros((2, lanes, self.size))

    def _send(self, act: np.ndarray) -> np.ndarray:
        """Messages float64 (B, n)."""
        delta = act - self.act
        delta += self.residue
        self.act = act
        if self.threshold > 0:
            sent = np.where(np.abs(delta) >= self.threshold, delta, 0)
            np.subtract(delta, sent, out=self.residue)
        else:
            sent = delta
        sent = sent * 2.0**-STATE_EXP
        return np.floor(sent, out=sent)

    def _check(self, values: np.ndarray) -> None:
        top = max(-values.min(initial=0), values.max(initial=0))
        if top >= LARGEST:
            raise UserError(f"{self.name}: a state reaches {top:.0f}, beyond the 32 bits of stock "
                            "Lava; the input is too large")


class DeltaNeurons(_Sending):
    """netx_layers.Delta: state `act`."""

    states = ("act",)

    def start(self, lanes: int, bias: np.ndarray | None) -> None:
        """Begin at rest; there is no bias."""
        self._start(lanes)
        self.zero = np.zeros((lanes, self.size))

    def step(self, sums: np.ndarray | None, timestep: int) -> np.ndarray:
        """Messages float64 (B, n) for what comes in, whole numbers (B, n)."""
        act = self.zero if sums is None else sums * self.scale
        self._check(act)
        return self._send(act)


class SigmaDeltaNeurons(_Sending):
    """netx_layers.SigmaDelta: states `sigma`, `act`."""

    states = ("sigma", "act")

    def __init__(self, layer: NetxLayer) -> None:
        super().__init__(layer)
        self.bias = layer.bias * self.scale

    def start(self, lanes: int, bias: np.ndarray | None) -> None:
        """As CubaNeurons'."""
        self._start(lanes)
        self.sigma = np.zeros((lanes, self.size))
        self.constant = self.bias if bias is None else bias * self.scale

    def step(self, sums: np.ndarray | None, timestep: int) -> np.ndarray:
        """Messages float64 (B, n); `sums` as CubaNeurons'."""
        if sums is not None:
            self.sigma += sums
        act = self.sigma + self.constant
        self._check(act)
        return self._send(np.maximum(act, 0, out=act))


class SigmaNeurons:
    """netx_layers.Sigma: state `sigma`."""

    states = ("sigma",)

    def __init__(self, layer: NetxLayer) -> None:
        self.name, self.size = layer.name, layer.size

    def start(self, lanes: int, bias: np.ndarray | None) -> None:
        """Begin at 0."""
        self.sigma = np.zeros((lanes, self.size))

    def step(self, sums: np.ndarray | None, timestep: int) -> np.ndarray:
        """The sums so far, float64 (B, n)."""
        if sums is not None:
            self.sigma += sums
        return self.sigma.copy()
