"""SLAYER's CUBA neuron, time first and stateful, with FSVAE's surrogate gradient.

Arrays are (T, N, ...): the loop over ticks then walks through contiguous memory, and
convolutions merge T and N into one batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from train.slayer import slayer


@dataclass(frozen=True)
class Surrogate:
    """Derivative of the spike with respect to the membrane v.

    rectangle:    [|v - center| < width / 2] / width
    triangle:     max(0, 1 - |v - center| / width) / width
    exponential:  SLAYER's, scale/(2 tau) exp(-|v - center| / tau), tau = 100 V_th width,
                  scale = 0.1 (slayer/neuron/cuba.py, TAU_RHO_MULT and SCALE_RHO_MULT)
    """

    shape: str
    center: float
    width: float
    threshold: float

    def derivative(self, v: Tensor) -> Tensor:
        distance = (v - self.center).abs_()
        if self.shape == "rectangle":
            return (distance < self.width / 2).to(v.dtype).div_(self.width)
        if self.shape == "triangle":
            return distance.div_(-self.width).add_(1).clamp_(min=0).div_(self.width)
        tau = 100 * self.threshold * self.width
        return distance.div_(-tau).exp_().mul_(0.1 / (2 * tau))


class _LifFunction(torch.autograd.Function):
    """v_t = trunc(keep * r_{t-1}) + trunc(x_t), s_t = [v_t > V_th], r_t = v_t (1 - s_t).

    trunc is to SLAYER's grid of 1/s_scale, so forward values are SLAYER's; its derivative is
    taken as 1, as SLAYER does.
    """

    @staticmethod
    def forward(ctx, x: Tensor, r0: Tensor, neuron: "Lif") -> tuple[Tensor, Tensor]:
        scale, threshold = neuron.s_scale, neuron.grid_threshold
        keep = neuron.keep_register / 4096
        # In grid units states are integers: float32 holds their product with a power of two
        # exactly, any other 12-bit factor needs float64.
        wide = x.dtype if math.log2(keep).is_integer() else torch.float64
        v = (x * scale).trunc_()
        r = r0 * scale
        for v_t in v:
            v_t += (r.to(wide) * keep).trunc_().to(x.dtype)
            r = v_t.masked_fill(v_t > threshold, 0)
        spikes = (v > threshold).to(x.dtype)
        v.div_(scale)
        ctx.save_for_backward(v, spikes)
        ctx.neuron, ctx.keep = neuron, keep
        return spikes, r.div_(scale)

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_r: Tensor):
        v, spikes = ctx.saved_tensors
        slope = ctx.neuron.surrogate.derivative(v)
        grad = grad_spikes * slope
        if ctx.neuron.reset_gradient == "ignore":  # SLAYER: the leak alone, as if never reset
            stay, carry = None, grad_r
        else:  # dr_t/dv_t = (1 - s_t) - v_t ds_t/dv_t
            stay, carry = slope.mul_(v).neg_().sub_(spikes).add_(1), grad_r
        for t in range(len(v) - 1, -1, -1):
            grad[t] += carry if stay is None else carry * stay[t]
            carry = grad[t] * ctx.keep
        return grad, carry, None


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
        self.surrogate, self.reset_gradient, self.norm = surrogate, reset_gradient, norm

    @property
    def keep_register(self) -> int:
        """4096 - vDecay."""
        return 4096 - int(self.cx_voltage_decay)

    @property
    def grid_threshold(self) -> int:
        """V_th on the state's grid: vThMant * 64."""
        return self.v_th_mant * 64

    def forward(self, current: Tensor, r0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spikes (T, N, ...) and membranes after the last tick (N, ...) for currents (T, N, ...).

        Args:
            r0: membranes left by the tick before, default 0.
        """
        if self.norm is not None:
            current = self.norm(current)
        if r0 is None:
            r0 = torch.zeros_like(current[0])
        return _LifFunction.apply(current, r0, self)

    def fire(self, current: Tensor) -> Tensor:
        """Spikes (T, N, ...) of currents (T, N, ...) that are already normalised."""
        return _LifFunction.apply(current, torch.zeros_like(current[0]), self)[0]
