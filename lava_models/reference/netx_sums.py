"""Synaptic sums of NetX layers over a stretch of timesteps, exact, by matrix products.

Sums are integers held in floats: float32 while no product can leave 24 bits, else float64. Rows of
silent timesteps and lanes are left out.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hw_configs.files import UserError
from lava_models.net.netx_layers import ConvSynapses, DenseSynapses, NetxSynapses

EXACT = {np.float32: 2**24, np.float64: 2**53}
"""Integers up to here are exact."""
INT32 = 2**31


def make_netx_sums(synapses: NetxSynapses, name: str) -> _Sums:
    """What adds up the messages that reach a layer; `name` is the layer's, for errors."""
    if isinstance(synapses, ConvSynapses):
        return _ConvSums(synapses, name)
    return _Sums(synapses, name) if synapses.delay is None else _DelayedSums(synapses, name)


class _Sums:
    """Of a dense layer."""

    reach = 0
    """Timesteps by which the latest synapse is later than the earliest."""

    def __init__(self, synapses: NetxSynapses, name: str) -> None:
        self.synapses, self.name, self.most = synapses, name, synapses.most
        self.weights: dict[type, object] = {}

    def __call__(self, sent: np.ndarray) -> np.ndarray:
        """Messages (R, n_in) to sums (R, n_out), floats that hold integers."""
        s = self.synapses
        if not s.graded and sent.dtype != bool:
            sent = sent != 0
        loud = sent.any(axis=1)
        if not loud.any():
            return np.zeros((len(sent), s.outputs), np.float32)
        every = bool(loud.all())
        some = sent if every else sent[loud]
        bound = self.most * (1 if some.dtype == bool else int(np.abs(some).max()))
        if bound >= INT32:
            raise UserError(f"{self.name}: sums may reach {bound}, beyond the 32 bits that stock "
                            "Lava adds up in; the input is too large")
        kind = np.float32 if bound < EXACT[np.float32] else np.float64
        sums = self._products(some, kind)
        if s.shift:
            sums = np.floor(sums / (1 << s.shift))
        if every:
            return sums
        out = np.zeros((len(sent), s.outputs), kind)
        out[loud] = sums
        return out

    def _products(self, sent: np.ndarray, kind: type) -> np.ndarray:
        if kind not in self.weights:
            self.weights[kind] = np.ascontiguousarray(self.synapses.weight.T, kind)
        return sent.astype(kind) @ self.weights[kind]


class _ConvSums(_Sums):
    """Of a convolution: the windows that its outputs see as columns, one timestep at a time, so
    that they stay in the cache. Columns that lie outside stay 0."""

    def __init__(self, synapses: ConvSynapses, name: str) -> None:
        super().__init__(synapses, name)
        self.taps = list(synapses.taps())
        self.columns: dict[type, np.ndarray] = {}

    def _products(self, sent: np.ndarray, kind: type) -> np.ndarray:
        s: ConvSynapses = self.synapses
        (c, h, w), (o, oh, ow), (ky, kx), g = s.input_shape, s.shape, s.kernel, s.groups
        if kind not in self.weights:
            self.weights[kind] = s.weight.reshape(g, o // g, -1).astype(kind)
            self.columns[kind] = np.zeros((c, ky, kx, oh, ow), kind)
        weights, columns = self.weights[kind], self.columns[kind]
        flat = columns.reshape(g, -1, oh * ow)
        out = np.empty((len(sent), g, o // g, oh * ow), kind)
        for row, result in zip(sent.reshape(-1, c, h, w), out):
            for (a, b), (oy, ox), (y, x) in self.taps:
                columns[:, a, b, oy, ox] = row[:, y, x]
            np.matmul(weights, flat, out=result)
        out = out.reshape(len(sent), -1)
        if self.most * int(np.abs(sent).max()) >= 2**23:  # Lava's Conv keeps 24 bits
            out = (out + 2**23) % 2**24 - 2**23
        return out


class _DelayedSums(_Sums):
    """Of a dense layer with delays: sums by delay, to be added that much later."""

    def __init__(self, synapses: DenseSynapses, name: str) -> None:
        super().__init__(synapses, name)
        self.parts = []
        for delay in np.unique(synapses.delay):
            here = (synapses.delay == delay) & (synapses.weight != 0)
            rows, columns = (np.flatnonzero(here.any(axis=axis)) for axis in (1, 0))
            if not rows.size:
                continue
            weight = np.where(here, synapses.weight, 0)[np.ix_(rows, columns)]
            of = dataclasses.replace(synapses, weight=weight, delay=None)
            self.parts.append((int(delay), rows, columns, _Sums(of, name)))
        self.reach = max((delay for delay, *_ in self.parts), default=0)

    def later(self, sent: np.ndarray) -> np.ndarray:
        """Messages (K, B, n_in) to sums (K + reach, B, n_out) by the timestep they arrive in."""
        k, lanes, n = sent.shape
        out = np.zeros((k + self.reach, lanes, self.synapses.outputs))
        for delay, rows, columns, sums in self.parts:
            some = sent if len(columns) == n else sent[:, :, columns]
            out[delay:delay + k, :, rows] += sums(some.reshape(k * lanes, -1)).reshape(
                k, lanes, -1)
        return out
