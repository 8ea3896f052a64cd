"""A population's synapses and neurons for B lanes at a time, once per wave: (n, B)."""

from __future__ import annotations

import math

import numpy as np

from lava_models.fused.registers import FINE, OVERFLOWS, PORT, PORT_MAX, STATE_MAX, fire, fire_gated
from lava_models.fused.taps import make_taps
from lava_models.net.layers import Glif
from lava_models.net.populations import GRADED, Connection, Draw, Neurons, Population
from lava_models.net.schedule import dilate_decay
from lava_models.net.synapse import neuron_bias


def make_cell(population: Population, connections: tuple[Connection, ...], dilation: int
              ) -> FusedLayer | FusedGatedLayer:
    """The cell of a layer, for the connections into it, where a tick takes `dilation` timesteps."""
    gated = isinstance(population.kind.layer.neuron, Glif)
    graded = any(c.message == GRADED for c in connections)
    return (FusedGatedLayer if gated else FusedLayer)(population, graded, dilation)


class FusedLayer:
    """A layer of LIF neurons.

    Args:
        population: of Neurons.
        graded: whether integers come in, which stay for the ticks of a sample.
        dilation: D.
    """

    def __init__(self, population: Population, graded: bool, dilation: int) -> None:
        kind: Neurons = population.kind
        layer, self.name, self.dilation = kind.layer, population.name, dilation
        self.taps, self.size, self.graded = make_taps(layer), math.prod(layer.shape), graded
        self.spiking = layer.neuron.spiking
        self.bias = neuron_bias(layer).astype(np.int32)
        if kind.held is not None:
            self.bias = self.bias + kind.held
        self.frame = None
        self._registers(layer.neuron)

    def _registers(self, neuron) -> None:
        self.keep = 4096 - dilate_decay(neuron.decay, self.dilation)
        self.threshold = neuron.threshold * 64 if neuron.spiking else STATE_MAX

    @property
    def bytes_per_sample(self) -> int:
        """Room that a lane takes: membranes, biases, spikes, and what the sums need."""
        return 9 * self.size + self.taps.bytes_per_sample

    def start(self, batch: int) -> None:
        """Begin with new samples: membranes at 0."""
        self.v = np.zeros((self.size, batch), np.int32)
        self.taps.start(batch)
        self.every_bias = np.repeat(self.bias, batch)
        self.frame = None

    def step(self, *signals: np.ndarray) -> np.ndarray:
        """Spikes uint8 (n, B) for the signals (n_in, B) together: spikes, or graded integers.

        Raises:
            OverflowError: a register of the chip could not hold what comes.
        """
        spikes = np.empty(self.v.shape, np.uint8)
        state = self._fire(self._sums(signals), spikes)
        if state != FINE:
            raise OverflowError(f"{self.name}: {OVERFLOWS[state]}")
        return spikes

    def _sums(self, signals: tuple[np.ndarray, ...]) -> np.ndarray:
        signal = signals[0] if len(signals) == 1 else np.concatenate(signals)
        if not self.graded:
            return self.taps(signal)
        if self.frame is None or not np.array_equal(signal, self.frame[0]):
            self.frame = signal.copy(), self.taps(signal).copy()
        return self.frame[1]

    def _fire(self, sums: np.ndarray, spikes: np.ndarray) -> int:
        return fire(self.v.reshape(-1), sums.reshape(-1), self.every_bias, self.keep,
                    self.dilation, self.threshold, spikes.reshape(-1))


class FusedGatedLayer(FusedLayer):
    """A layer of gated neurons."""

    def _registers(self, neuron: Glif) -> None:
        each = self.size // len(neuron.decay)

        def spread(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, each, axis=-1).astype(np.int64)

        self.keep = 4096 - spread(dilate_decay(neuron.decay, self.dilation))
        self.gain = spread(neuron.gain)
        self.rest = tuple(spread(values) for values in (
            neuron.leak, neuron.subtract, neuron.threshold, 4096 - neuron.reset))

    def start(self, batch: int) -> None:
        """As FusedLayer's."""
        super().start(batch)
        self.fired, self.tick = np.zeros((self.size, batch), np.uint8), 0

    def _fire(self, sums: np.ndarray, spikes: np.ndarray) -> int:
        tick, self.tick = self.tick, self.tick + 1
        return fire_gated(self.v, self.fired, sums, self.bias, self.keep, self.dilation,
                          self.gain[tick], *self.rest, spikes)


class FusedDraw:
    """Threshold neurons without memory on the program's own synapses.

    Args:
        draw: what they are.
        connections: into them.
    """

    def __init__(self, draw: Draw, connections: tuple[Connection, ...]) -> None:
        self.threshold, self.constant, self.weights = draw.selection.threshold, 0, {}
        for connection in connections:
            weight = sum(matrix.astype(np.int64) * (1 << exponent)
                         for matrix, exponent in connection.synapses.parts())
            if connection.port == "tick":  # at every wave
                self.constant = weight.toarray()
            elif connection.port != "silence":  # of the copy that is fed back only
                self.weights[connection.port] = weight

    @property
    def ports(self) -> tuple[str, ...]:
        """What `step` is to be given."""
        return tuple(self.weights)

    def step(self, **signals: np.ndarray) -> np.ndarray:
        """z uint8 (C, B) of what comes in at each port, (n, B).

        Raises:
            OverflowError: the chip's port could not hold the sum.
        """
        total = self.constant + sum(self.weights[port] @ signal.astype(np.int64)
                                    for port, signal in signals.items())
        if np.abs(total).max() > PORT_MAX:
            raise OverflowError(f"latents: {OVERFLOWS[PORT]}")
        return (total > self.threshold).astype(np.uint8)
