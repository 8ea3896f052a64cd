"""PyTorch's operators: any device, and what the other backends are checked against."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from train.backends.backend import GlifValues, LifNeurons, Surrogate


class Operators:
    """train.backends.backend.Backend."""

    name = "operators"

    def takes(self, current: Tensor, norm: nn.Module | None) -> bool:
        """Anything."""
        return True

    def check(self, device: torch.device) -> None:
        """As Backend's: it runs anywhere."""

    def lif(self, current: Tensor, r0: Tensor | None, neurons: LifNeurons, ticks: int | None
            ) -> tuple[Tensor, Tensor]:
        """As Backend's."""
        current = neurons.currents(current, ticks)
        if r0 is None:
            r0 = torch.zeros_like(current[0])
        return _Lif.apply(current, r0, neurons)

    def gated(self, current: Tensor, u0: Tensor | None, values: GlifValues, surrogate: Surrogate
              ) -> tuple[Tensor, Tensor]:
        """As Backend's."""
        u, v = u0, values
        shape = (-1, *[1] * (current.ndim - 3))
        keep, leak, reset, subtract, threshold = (
            w.view(shape) for w in (v.keep, v.leak, v.reset, v.subtract, v.threshold))
        spikes = []
        if u is None:
            u = s = torch.zeros_like(current[0])
        else:
            s = _Spike.apply(u - threshold, surrogate)
        for t, gain in enumerate(v.gain):
            x = current[0 if len(current) == 1 else t]
            u = keep * u * (1 - reset * s) - leak + gain.view(shape) * x - subtract * s
            s = _Spike.apply(u - threshold, surrogate)
            spikes.append(s)
        return torch.stack(spikes), u


class _Lif(torch.autograd.Function):
    """v_t = trunc(keep * r_{t-1}) + trunc(x_t), s_t = [v_t > V_th], r_t = v_t (1 - s_t).

    trunc is to SLAYER's grid of 1/s_scale, so forward values are SLAYER's; its derivative is
    taken as 1, as SLAYER does.
    """

    @staticmethod
    def forward(ctx, x: Tensor, r0: Tensor, neurons: LifNeurons) -> tuple[Tensor, Tensor]:
        grid = neurons.grid
        # In grid units states are integers: float32 holds their product with a power of two
        # exactly, any other 12-bit factor needs float64.
        wide = x.dtype if math.log2(grid.keep).is_integer() else torch.float64
        v = (x * grid.scale).trunc_()
        r = r0 * grid.scale
        for v_t in v:
            leaked = r.to(wide)
            for _ in range(grid.leaks):
                leaked = (leaked * grid.keep).trunc_()
            v_t += leaked.to(x.dtype)
            r = v_t.masked_fill(v_t > grid.threshold, 0)
        spikes = (v > grid.threshold).to(x.dtype)
        v.div_(grid.scale)
        ctx.save_for_backward(v, spikes)
        ctx.neurons, ctx.keep = neurons, grid.keep_per_tick
        return spikes, r.div_(grid.scale)

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_r: Tensor):
        v, spikes = ctx.saved_tensors
        slope = ctx.neurons.surrogate.derivative(v)
        grad = grad_spikes * slope
        if ctx.neurons.reset_gradient == "ignore":  # SLAYER: the leak alone, as if never reset
            stay, carry = None, grad_r
        else:  # dr_t/dv_t = (1 - s_t) - v_t ds_t/dv_t
            stay, carry = slope.mul_(v).neg_().sub_(spikes).add_(1), grad_r
        for t in range(len(v) - 1, -1, -1):
            grad[t] += carry if stay is None else carry * stay[t]
            carry = grad[t] * ctx.keep
        return grad, carry, None


class _Spike(torch.autograd.Function):
    """[d > 0], with the surrogate's derivative."""

    @staticmethod
    def forward(ctx, distance: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad * ctx.surrogate.derivative(ctx.saved_tensors[0]), None
