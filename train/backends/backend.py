"""What a backend is told about a layer's neurons: their numbers, and the spike's derivative."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

SHAPES = ("rectangle", "triangle", "exponential")
"""Of `Surrogate`; kernels get the index."""


@dataclass(frozen=True)
class Surrogate:
    """Derivative of the spike with respect to the membrane v.

    rectangle:    scale / width * [|v - center| < width / 2]
    triangle:     scale / width * max(0, 1 - |v - center| / width)
    exponential:  scale / width * exp(-2 |v - center| / width)

    Center and width are in units of v; scale is the area under the curve, scale / width its height.
    The exponential is SLAYER's (slayer/neuron/cuba.py), whose own numbers are width = 200 V_th
    tau_grad and scale = 0.1 scale_grad: for V_th = 0.2 a slope of 0.0025 wherever a membrane is, so
    that 1e-18 is left of a gradient after a network's eight layers.
    """

    shape: str
    center: float
    width: float
    scale: float = 1.0

    def derivative(self, v: Tensor) -> Tensor:
        """ds/dv at membranes v."""
        distance, height = (v - self.center).abs_(), self.scale / self.width
        if self.shape == "rectangle":
            return (distance < self.width / 2).to(v.dtype).mul_(height)
        if self.shape == "triangle":
            return distance.div_(-self.width).add_(1).clamp_(min=0).mul_(height)
        return distance.mul_(-2 / self.width).exp_().mul_(height)

    def stretched(self, units: float) -> Surrogate:
        """The same of a v counted in so many units per 1; the area stays."""
        return replace(self, center=self.center * units, width=self.width * units)


@dataclass(frozen=True)
class Grid:
    """The numbers a membrane moves on: integers, of which `scale` make 1."""

    scale: float
    keep: float
    """Fraction kept per leak, a multiple of 1/4096."""
    threshold: float
    """In grid units."""
    leaks: int = 1
    """Leaks per tick, each truncated."""

    @property
    def keep_per_tick(self) -> float:
        """Fraction kept per tick."""
        return self.keep**self.leaks


@dataclass(frozen=True)
class LifNeurons:
    """Leaky integrate-and-fire neurons of one layer."""

    grid: Grid
    surrogate: Surrogate
    reset_gradient: str
    """"through" the reset or "ignore" it (SLAYER)."""
    norm: nn.Module | None
    """What their current is normalised by first (train.layers.norm.TdBN), or None."""

    def currents(self, current: Tensor, ticks: int | None) -> Tensor:
        """The current (T or 1, N, ...) normalised, and at every tick (T, N, ...)."""
        if self.norm is not None:
            current = self.norm(current)
        return current if ticks is None else current.expand(ticks, *current.shape[1:])


@dataclass(frozen=True)
class GlifValues:
    """What the equations use, per channel: u_t = keep * u_{t-1} * (1 - reset * s_{t-1}) - leak
    + gain_t * X_t - subtract * s_{t-1}."""

    keep: Tensor
    """1 - alpha (1 - tau): (C,)."""
    leak: Tensor
    """(1 - alpha) l: (C,)."""
    reset: Tensor
    """gamma, the share of the membrane that a spike takes: (C,)."""
    subtract: Tensor
    """(1 - gamma) v_re, what a spike takes besides: (C,)."""
    threshold: Tensor
    """V_th: (C,)."""
    gain: Tensor
    """1 - beta (1 - c_t), of the current at each tick: (T, C)."""


class Backend(Protocol):
    """What runs a layer's neurons, forward and backward. Arrays are (T, N, C, ...), membranes
    (N, C, ...)."""

    name: str
    """As --neurons takes it."""

    def takes(self, current: Tensor, norm: nn.Module | None) -> bool:
        """Whether it runs neurons with this current and norm."""

    def check(self, device: torch.device) -> None:
        """See that it runs on a device.

        Raises:
            UserError: it does not; says what is missing.
        """

    def lif(self, current: Tensor, r0: Tensor | None, neurons: LifNeurons, ticks: int | None
            ) -> tuple[Tensor, Tensor]:
        """Spikes, and membranes after the last tick.

        Args:
            r0: membranes left by the tick before, default 0.
            ticks: for a current (1, N, ...) that stays the same, the number of ticks.
        """

    def gated(self, current: Tensor, u0: Tensor | None, values: GlifValues, surrogate: Surrogate
              ) -> tuple[Tensor, Tensor]:
        """The same of gated neurons; `values.gain` has a row per tick.

        Args:
            u0: membranes as they were before the reset, default none.
        """
