"""When things happen: from the layer graph to phases, dilation and period, in one place.

One model tick lasts D timesteps of the chip. Every synapse + neuron hop takes one timestep,
so spikes travel through the layers as a wave: layer n sees tick t one timestep after layer
n-1. The latent spikes z come back to the first autoregressive layer after `loop depth`
timesteps and are to arrive there L ticks later; therefore D * L = loop depth. The loader, the
reference simulator and the reports all take their timing from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw_configs.files import UserError


@dataclass(frozen=True)
class Schedule:
    """Timing of one model on the chip. All timesteps are 1-based, as in Lava."""

    ticks: int
    """T, model steps per sample."""
    lag: int
    """L, ticks until z is fed back; 0 where it is not."""
    dilation: int
    """D, timesteps per tick."""
    phases: Mapping[str, int]
    """For every layer: the timestep of its first input, at which it sends its first wave. A source
    emits one timestep earlier."""

    @property
    def period(self) -> int:
        """P, timesteps per sample."""
        return self.dilation * self.ticks

    def timesteps(self, phase: int, sample: int) -> np.ndarray:
        """Timesteps at which a layer of `phase` sees the T waves of `sample` (0-based): (T,)."""
        return phase + self.dilation * np.arange(self.ticks) + self.period * sample

    def tick_at(self, phase: int, timestep: int) -> int | None:
        """The tick (0-based, within its sample) whose wave a layer of `phase` sees at `timestep`;
        None between two waves and before the first."""
        beat, off = divmod(timestep - phase, self.dilation)
        return beat % self.ticks if beat >= 0 and not off else None

    def last_wave(self, phase: int, sample: int) -> int:
        """Timestep at which a layer of `phase` sees tick T of `sample`."""
        return int(self.timesteps(phase, sample)[-1])

    def run_length(self, phase: int, samples: int) -> int:
        """Timesteps until a layer of `phase` has seen all of `samples` samples, back to back."""
        return self.last_wave(phase, samples - 1)


def make_schedule(layers: Sequence[str], selection: str, first: str | None, *, ticks: int,
                  lag: int, random: Sequence[str] = ()) -> Schedule:
    """Phases of a chain of layers with one feedback edge from `selection` to `first`, or none: then
    a tick takes one timestep.

    Args:
        layers: names in the order in which the wave passes, each fed by the one before it.
        selection: the layer that emits z.
        first: the layer that z is fed back to, or None.
        ticks: T.
        lag: L.
        random: what takes random bits beside `selection`.

    Raises:
        UserError: the loop depth is no multiple of the lag, so no dilation fits.
    """
    # The first layer's input is emitted at timestep 1, so its phase is 2. Its bias comes from a
    # tick neuron that fires at timestep 1 as well. Random bits need a timestep more.
    begin = 2 + (layers[0] in (selection, *random))
    phases = {name: begin + hop for hop, name in enumerate(layers)}
    if first is None:
        return Schedule(ticks, 0, 1, phases)
    loop_depth = phases[selection] + 1 - phases[first]
    if lag < 1 or loop_depth % lag:
        raise UserError(f"lag {lag} does not divide the loop depth of {loop_depth} timesteps "
                        f"({first} ... {selection} -> {first}); use a lag that does")
    return Schedule(ticks, lag, loop_depth // lag, phases)


def dilate_decay(decay, dilation: int):
    """Per-timestep decay register for a per-tick one, both in 1/4096; numbers or arrays.

    The leak of one tick, (4096 - decay)/4096, is spread over D timesteps:
    dv = round(4096 * (1 - (1 - decay/4096)^(1/D))).
    """
    spread = np.round(4096 * (1 - (1 - decay / 4096) ** (1 / dilation))).astype(int)
    return spread if np.ndim(decay) else int(spread)
