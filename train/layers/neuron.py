"""SLAYER's CUBA neuron, time first and stateful, with FSVAE's surrogate gradient.

Arrays are (T, N, ...): the loop over ticks then walks through contiguous memory, and
convolutions merge T and N into one batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from train.backends import compiled as kernels
from train.layers.norm import TdBN
from train.layers.slayer import slayer


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


class _LifFunction(torch.autograd.Function):
    """v_t = trunc(keep * r_{t-1}) + trunc(x_t), s_t = [v_t > V_th], r_t = v_t (1 - s_t).

    trunc is to SLAYER's grid of 1/s_scale, so forward values are SLAYER's; its derivative is
    taken as 1, as SLAYER does.
    """

    @staticmethod
    def forward(ctx, x: Tensor, r0: Tensor, neuron: "Lif") -> tuple[Tensor, Tensor]:
        grid = neuron.grid
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
        ctx.neuron, ctx.keep = neuron, grid.keep_per_tick
        return spikes, r.div_(grid.scale)

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


class _FusedFunction(torch.autograd.Function):
    """tdBN and `_LifFunction` in the CPU's compiled loops (train.backends.compiled)."""

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor | None, beta: Tensor | None, r0: Tensor | None,
                neuron: "Lif", ticks: int) -> tuple[Tensor, Tensor]:
        currents = to_rows(x)
        channels = currents.shape[2]
        ctx.neuron, ctx.shape, ctx.norm = neuron, x.shape, None
        if gamma is None:
            gain, shift = x.new_ones(channels), x.new_zeros(channels)
        else:
            flat = currents.reshape(-1, channels)
            sums = None
            if neuron.norm.gathers:
                sums = torch.from_numpy(kernels.channel_sums(flat.numpy()))
            mean, rstd, gain, batch = neuron.norm.scale_and_shift(sums, len(flat))
            shift = (beta.detach() - mean * gain).to(x.dtype)
            gain = gain.to(x.dtype)
            ctx.norm = mean, rstd, batch
        # In grid units membranes are integers.
        grid = ctx.grid = neuron.grid
        before = torch.zeros_like(currents[0]) if r0 is None else to_rows(r0[None])[0] * grid.scale
        after = before.clone()
        spikes = kernels.fire(currents.numpy(), gain.numpy(), shift.numpy(), after.numpy(), ticks,
                              grid.scale, grid.keep, grid.threshold, grid.leaks)
        ctx.save_for_backward(currents, gain, shift, before)
        shape = (ticks, *x.shape[1:])
        return from_rows(torch.from_numpy(spikes), shape), from_rows(
            after[None] / grid.scale, (1, *x.shape[1:]))[0]

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_r: Tensor):
        currents, gain, shift, before = ctx.saved_tensors
        neuron, surrogate, grid = ctx.neuron, ctx.neuron.surrogate, ctx.grid
        carry = to_rows(grad_r[None])[0].clone()
        grad, sums = kernels.fire_backward(
            currents.numpy(), gain.numpy(), shift.numpy(), before.numpy(),
            to_rows(grad_spikes).numpy(), carry.numpy(), grid.scale, grid.keep, grid.threshold,
            grid.leaks,
            (surrogate.shape, surrogate.center, surrogate.width, surrogate.scale),
            neuron.reset_gradient == "through")
        grad_gamma = grad_beta = None
        if ctx.norm is not None:
            mean, rstd, batch = ctx.norm
            first, second = torch.from_numpy(sums)  # of the gradient, and of gradient * x
            second = (second - mean * first) * rstd  # of gradient * normalised x
            grad_gamma = (second * neuron.norm.gain).to(gain.dtype)
            grad_beta = first.clone().to(gain.dtype)
            q = w = torch.zeros_like(gain)
            if batch:
                ranks = neuron.norm.ranks
                ranks.add_up(first, second)
                count = currents[..., 0].numel() * ranks.size
                q = -(gain * rstd * second / count).to(gain.dtype)
                w = (-gain * first / count - q * mean).to(gain.dtype)
            channels = len(gain)
            kernels.affine(grad.reshape(-1, channels), currents.reshape(-1, channels).numpy(),
                           gain.numpy(), q.numpy(), w.numpy())
        grad_r0 = None
        if ctx.needs_input_grad[3]:
            grad_r0 = from_rows(carry[None], (1, *ctx.shape[1:]))[0]
        return (from_rows(torch.from_numpy(grad), ctx.shape), grad_gamma, grad_beta, grad_r0, None,
                None)


def to_rows(x: Tensor) -> Tensor:
    """(T, N, C, ...) as contiguous (T, rows, C), channels last."""
    return x.movedim(2, -1).contiguous().view(len(x), -1, x.shape[2])


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of `to_rows`, without copying."""
    return rows.view(*shape[:2], *shape[3:], shape[2]).movedim(-1, 2)


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
        self._surrogate, self.reset_gradient, self.norm = surrogate, reset_gradient, norm

    @property
    def surrogate(self) -> Surrogate:
        """Derivative of the spike, in units of the current."""
        return self._surrogate

    @property
    def keep_register(self) -> int:
        """4096 - vDecay."""
        return 4096 - int(self.cx_voltage_decay)

    @cached_property
    def grid(self) -> Grid:
        """Of its membranes: SLAYER's, 64 * scale units per 1."""
        return Grid(float(self.s_scale), self.keep_register / 4096, float(self.v_th_mant * 64))

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
        if self.runs_compiled(current):
            gamma, beta = (self.norm.gamma, self.norm.beta) if self.normalises else (None, None)
            return _FusedFunction.apply(current, gamma, beta, r0, self, ticks or len(current))
        if self.normalises:
            current = self.norm(current)
        if ticks is not None:
            current = current.expand(ticks, *current.shape[1:])
        if r0 is None:
            r0 = torch.zeros_like(current[0])
        return _LifFunction.apply(current, r0, self)

    def runs_compiled(self, current: Tensor) -> bool:
        """Whether the CPU's compiled loops take this current."""
        return (current.device.type == "cpu" and current.dtype == torch.float32
                and isinstance(self.norm, TdBN | None))
