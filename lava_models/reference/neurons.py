"""Neurons of a layer for a batch of samples, wave by wave, in exact integers; batch last: (n, B).

Values are integers held in floats wide enough for them: synaptic sums times 64 stay below 2^22 (the
16-bit port, which netfile.check proves), so float32 is exact and BLAS can take the sums; products
with 12-bit factors have up to 36 bits, so membranes are float64. That they cannot leave 24 bits is
proved there, too; what would leave them all the same is an OverflowError here, where Lava's CPU
ports widen silently.
"""

from __future__ import annotations

import math

import numpy as np

from lava_models.net.layers import Glif, Layer
from lava_models.net.schedule import dilate_decay

PORT_MAX, STATE_MAX = 64 * (2**15 - 1), 2**23 - 1
"""Largest synaptic sum times 64, and membrane, that the chip's registers hold."""
PIECE = 16384
"""Membranes updated at a time: 128 KiB."""
ONE = 4096
"""Of decays, shares and gains, which are 12-bit fractions."""


def make_neurons(layer: Layer, dilation: int) -> LifNeurons | GlifNeurons:
    """The neurons of `layer` where a tick takes `dilation` timesteps."""
    kind = GlifNeurons if isinstance(layer.neuron, Glif) else LifNeurons
    return kind(layer, dilation)


class LifNeurons:
    """layers.Lif."""

    def __init__(self, layer: Layer, dilation: int) -> None:
        self.spiking, self.dilation = layer.neuron.spiking, dilation
        self.keep = (ONE - dilate_decay(layer.neuron.decay, dilation)) / ONE
        self.threshold = layer.neuron.threshold * 64
        self.size = math.prod(layer.shape)

    def start(self, batch: int) -> None:
        """Begin with new samples: membranes at 0."""
        self.v = np.zeros((self.size, batch))

    def step(self, sums: np.ndarray) -> np.ndarray:
        """Leak D times, add the wave's sums times 64, float32 (n, B), fire, reset: spikes bool
        (n, B), or the readout's voltages float64."""
        fired = np.empty(self.v.shape, bool)
        # In pieces that stay in the cache: there are about a dozen passes over each.
        v, sums, out = self.v.reshape(-1), sums.reshape(-1), fired.reshape(-1)
        for start in range(0, len(v), PIECE):
            piece = v[start:start + PIECE]
            for _ in range(self.dilation):
                piece *= self.keep
                np.trunc(piece, out=piece)  # towards zero, as the chip rounds
            piece += sums[start:start + PIECE]
            _check_range(sums[start:start + PIECE], piece)
            if self.spiking:
                over = np.greater(piece, self.threshold, out=out[start:start + PIECE])
                np.copyto(piece, 0, where=over)
        return fired if self.spiking else self.v


class GlifNeurons:
    """layers.Glif."""

    spiking = True

    def __init__(self, layer: Layer, dilation: int) -> None:
        self.dilation, self.size = dilation, math.prod(layer.shape)
        neuron, each = layer.neuron, self.size // layer.shape[0]

        def spread(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, each, axis=-1)[..., None].astype(np.float64)

        self.keep = (ONE - spread(dilate_decay(neuron.decay, dilation))) / ONE
        self.after_spike = (ONE - spread(neuron.reset)) / ONE
        self.leak, self.subtract = spread(neuron.leak), spread(neuron.subtract)
        self.threshold, self.gain = spread(neuron.threshold), spread(neuron.gain) / ONE

    def start(self, batch: int) -> None:
        """As LifNeurons'."""
        self.v, self.tick = np.zeros((self.size, batch)), 0
        self.fired = np.zeros((self.size, batch), bool)

    def step(self, sums: np.ndarray) -> np.ndarray:
        """As LifNeurons'."""
        each = max(1, PIECE // self.v.shape[1])
        for first in range(0, self.size, each):
            rows = slice(first, first + each)
            v, fired = self.v[rows], self.fired[rows]
            for _ in range(self.dilation):
                np.trunc(v * self.keep[rows], out=v)
            v += np.trunc(sums[rows] * self.gain[self.tick, rows])
            v -= self.leak[rows]
            v -= self.subtract[rows] * fired
            _check_range(sums[rows], v)
            np.greater(v, self.threshold[rows], out=fired)
            np.copyto(v, np.trunc(v * self.after_spike[rows]), where=fired)
        self.tick += 1
        return self.fired.copy()


def _check_range(sums: np.ndarray, membranes: np.ndarray) -> None:
    """Raises:
        OverflowError: a register of the chip could not hold one of them.
    """
    for values, most, what in ((sums, PORT_MAX, "a synaptic sum times 64"),
                               (membranes, STATE_MAX, "a membrane")):
        if values.size and max(values.max(), -values.min()) > most:
            raise OverflowError(f"{what} is beyond {most}")
