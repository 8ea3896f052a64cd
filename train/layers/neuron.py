"""SLAYER's CUBA neuron, time first and stateful, with FSVAE's surrogate gradient.

Arrays are (T, N, ...): the loop over ticks then walks through contiguous memory, and
convolutions merge T and N into one batch.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from train.backends.backend import Backend, Grid, LifNeurons, Surrogate
from train.backends.choice import backend_for
from train.backends.lava_dl import slayer

P_SCALE = 4096
"""SLAYER's registers per 1 of a decay."""


class Lif(slayer.neuron.cuba.Neuron):
    """slayer.neuron.cuba.Neuron without current memory (iDecay = 4096), time first.

    Args:
        threshold: V_th.
        keep: fraction of the membrane kept per tick (1 - vDecay/4096).
        scale: SLAYER's scale; states live on a grid of 1/(64 * scale).
        surrogate: derivative of the spike.
        reset_gradient: "through" the reset or "ignore" it (SLAYER).
        norm: module applied to the input current, or None.
    """

    def __init__(self, threshold: float, keep: float, scale: int, surrogate: Surrogate,
                 reset_gradient: str, norm: torch.nn.Module | None = None) -> None:
        super().__init__(threshold=threshold, current_decay=1.0, voltage_decay=1 - keep,
                         scale=scale, norm=None)
        self.keep_register = P_SCALE - int(np.round(np.float32(P_SCALE * (1 - keep))))
        """4096 - vDecay, known without asking the device."""
        self._surrogate, self.reset_gradient, self.norm = surrogate, reset_gradient, norm
        self.backend: Backend | None = None
        """What runs it; None: what fits the current best."""

    @property
    def surrogate(self) -> Surrogate:
        """Derivative of the spike, in units of the current."""
        return self._surrogate

    def _load_from_state_dict(self, state: dict, prefix: str, *args) -> None:
        super()._load_from_state_dict(state, prefix, *args)
        if f"{prefix}voltage_decay" in state:
            decay = state[f"{prefix}voltage_decay"].round().clamp(0, P_SCALE)  # as SLAYER reads it
            self.keep_register = P_SCALE - int(decay)

    @cached_property
    def grid(self) -> Grid:
        """Of its membranes: SLAYER's, 64 * scale units per 1."""
        return Grid(float(self.s_scale), self.keep_register / P_SCALE, float(self.v_th_mant * 64))

    @property
    def normalises(self) -> bool:
        """Whether it normalises its current itself."""
        return self.norm is not None

    def forward(self, current: Tensor, r0: Tensor | None = None,
                ticks: int | None = None) -> tuple[Tensor, Tensor]:
        """Spikes (T, N, ...) and membranes after the last tick (N, ...) for currents (T, N, ...).

        Args:
            r0: membranes left by the tick before, default 0.
            ticks: for a current (1, N, ...) that stays the same, the number of ticks.
        """
        norm = self.norm if self.normalises else None
        neurons = LifNeurons(self.grid, self.surrogate, self.reset_gradient, norm)
        return backend_for(current, norm, self.backend).lif(current, r0, neurons, ticks)
