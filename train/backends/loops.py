"""tdBN and neurons as PyTorch functions over kernels that do each in one pass either way: the CPU's
compiled loops here, a GPU's in triton_blocks.py."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from hw_configs.files import UserError
from train.backends import compiled
from train.backends.backend import GlifValues, Grid, LifNeurons, Surrogate
from train.backends.compiled_glif import fire_gated, fire_gated_backward
from train.backends.rows import from_rows, to_rows


class Kernels(Protocol):
    """What computes. Arrays are contiguous: currents x (T or 1, R, C), a single tick of which
    stands for T equal ones; spikes (T, R, C), membranes (R, C), values per channel (C,)."""

    def channel_sums(self, x: Tensor) -> Tensor:
        """Sum and sum of squares per channel of x (rows, C): float64 (2, C)."""

    def affine(self, grad: Tensor, x: Tensor, p: Tensor, q: Tensor, w: Tensor) -> None:
        """grad <- p * grad + q * x + w, all per channel; grad, x (rows, C)."""

    def fire(self, x: Tensor, gain: Tensor, shift: Tensor, r: Tensor, ticks: int, grid: Grid
             ) -> Tensor:
        """Spikes of currents gain * x + shift; r, in grid units, is updated."""

    def fire_backward(self, x: Tensor, gain: Tensor, shift: Tensor, r0: Tensor,
                      grad_spikes: Tensor, grad_r: Tensor, grid: Grid, surrogate: Surrogate,
                      through: bool) -> tuple[Tensor, Tensor]:
        """Gradient of `fire` with respect to gain * x + shift, of the shape of x, and float64
        (2, C): its sum per channel, and that of gradient * x.

        Args:
            r0: membranes before the first tick, in grid units.
            grad_r: gradient of the membranes after the last tick, in units of 1; becomes that of
                those before the first.
            through: whether the gradient goes through the reset.
        """

    def fire_gated(self, x: Tensor, u: Tensor, *values: Tensor) -> Tensor:
        """Spikes of gated neurons; u, membranes before the reset, is updated. `values` are
        keep, leak, reset, subtract, threshold and gain of GlifValues."""

    def fire_gated_backward(self, x: Tensor, u0: Tensor, grad_spikes: Tensor, grad_u: Tensor,
                            fresh: bool, surrogate: Surrogate, *values: Tensor
                            ) -> tuple[Tensor, Tensor]:
        """Gradient of `fire_gated` with respect to x, and float64 (5 + T, C): summed per channel,
        those of its values.

        Args:
            grad_u: as grad_r in `fire_backward`.
            fresh: whether there is nothing before the first tick, where no gradient goes.
            surrogate: its center counts from the threshold and is 0.
        """


class Loops:
    """The part of train.backends.backend.Backend that kernels decide."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels

    def lif(self, current: Tensor, r0: Tensor | None, neurons: LifNeurons, ticks: int | None
            ) -> tuple[Tensor, Tensor]:
        """As Backend's."""
        norm = neurons.norm
        gamma, beta = (None, None) if norm is None else (norm.gamma, norm.beta)
        return _Lif.apply(current, gamma, beta, r0, neurons, ticks or len(current), self.kernels)

    def gated(self, current: Tensor, u0: Tensor | None, values: GlifValues, surrogate: Surrogate
              ) -> tuple[Tensor, Tensor]:
        """As Backend's."""
        v = values
        return _Gated.apply(current, u0, surrogate, self.kernels, v.keep, v.leak, v.reset,
                            v.subtract, v.threshold, v.gain)


class CompiledLoops(Loops):
    """train.backends.backend.Backend."""

    name = "compiled"

    def __init__(self) -> None:
        super().__init__(_Compiled())

    def takes(self, current: Tensor, norm: nn.Module | None) -> bool:
        """Float32 on the CPU; of norms tdBN, whose sums the loops take themselves."""
        return (current.device.type == "cpu" and current.dtype == torch.float32
                and (norm is None or hasattr(norm, "affine")))

    def check(self, device: torch.device) -> None:
        """As Backend's."""
        if device.type != "cpu":
            raise UserError(f"--neurons compiled: loops for the CPU, not for {device.type}; use "
                            "--neurons triton")


class _Compiled:
    """`Kernels` of compiled.py and compiled_glif.py."""

    def channel_sums(self, x: Tensor) -> Tensor:
        return torch.from_numpy(compiled.channel_sums(x.numpy()))

    def affine(self, grad: Tensor, x: Tensor, *per_channel: Tensor) -> None:
        compiled.affine(grad.numpy(), x.numpy(), *_arrays(per_channel))

    def fire(self, x: Tensor, gain: Tensor, shift: Tensor, r: Tensor, ticks: int, grid: Grid
             ) -> Tensor:
        return torch.from_numpy(compiled.fire(*_arrays((x, gain, shift, r)), ticks, grid.scale,
                                              grid.keep, grid.threshold, grid.leaks))

    def fire_backward(self, x: Tensor, gain: Tensor, shift: Tensor, r0: Tensor,
                      grad_spikes: Tensor, grad_r: Tensor, grid: Grid, surrogate: Surrogate,
                      through: bool) -> tuple[Tensor, Tensor]:
        s = surrogate
        grad, sums = compiled.fire_backward(
            *_arrays((x, gain, shift, r0, grad_spikes, grad_r)), grid.scale, grid.keep,
            grid.threshold, grid.leaks, (s.shape, s.center, s.width, s.scale), through)
        return torch.from_numpy(grad), torch.from_numpy(sums)

    def fire_gated(self, x: Tensor, u: Tensor, *values: Tensor) -> Tensor:
        return torch.from_numpy(fire_gated(*_arrays((x, u, *values))))

    def fire_gated_backward(self, x: Tensor, u0: Tensor, grad_spikes: Tensor, grad_u: Tensor,
                            fresh: bool, surrogate: Surrogate, *values: Tensor
                            ) -> tuple[Tensor, Tensor]:
        s = surrogate
        grad, sums = fire_gated_backward(
            *_arrays((x, u0, grad_spikes, grad_u)), fresh, (s.shape, 0.0, s.width, s.scale),
            *_arrays(values))
        return torch.from_numpy(grad), torch.from_numpy(sums)


def _arrays(tensors: tuple[Tensor, ...]) -> tuple:
    return tuple(t.numpy() for t in tensors)


class _Lif(torch.autograd.Function):
    """tdBN and the neurons."""

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor | None, beta: Tensor | None, r0: Tensor | None,
                neurons: LifNeurons, ticks: int, kernels: Kernels) -> tuple[Tensor, Tensor]:
        currents = to_rows(x)
        channels = currents.shape[2]
        ctx.neurons, ctx.shape, ctx.affine, ctx.kernels = neurons, x.shape, None, kernels
        if gamma is None:
            gain, shift = x.new_ones(channels), x.new_zeros(channels)
        else:
            flat = currents.view(-1, channels)
            sums = kernels.channel_sums(flat) if neurons.norm.gathers else None
            ctx.affine = neurons.norm.affine(sums, len(flat))
            gain, shift = ctx.affine.gain, ctx.affine.shift
        # In grid units membranes are integers.
        grid = ctx.grid = neurons.grid
        before = torch.zeros_like(currents[0]) if r0 is None else to_rows(r0[None])[0] * grid.scale
        after = before.clone()
        spikes = kernels.fire(currents, gain, shift, after, ticks, grid)
        ctx.save_for_backward(currents, gain, shift, before)
        return (from_rows(spikes, (ticks, *x.shape[1:])),
                from_rows(after[None] / grid.scale, (1, *x.shape[1:]))[0])

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_r: Tensor):
        currents, gain, shift, before = ctx.saved_tensors
        neurons, carry = ctx.neurons, to_rows(grad_r[None])[0].clone()
        grad, sums = ctx.kernels.fire_backward(
            currents, gain, shift, before, to_rows(grad_spikes), carry, ctx.grid,
            neurons.surrogate, neurons.reset_gradient == "through")
        grad_gamma = grad_beta = None
        if ctx.affine is not None:
            grad_gamma, grad_beta, q, w = ctx.affine.gradients(*sums)
            channels = len(gain)
            ctx.kernels.affine(grad.view(-1, channels), currents.view(-1, channels), gain, q, w)
        grad_r0 = None
        if ctx.needs_input_grad[3]:
            grad_r0 = from_rows(carry[None], (1, *ctx.shape[1:]))[0]
        return from_rows(grad, ctx.shape), grad_gamma, grad_beta, grad_r0, None, None, None


class _Gated(torch.autograd.Function):
    """Gated neurons."""

    @staticmethod
    def forward(ctx, x: Tensor, u0: Tensor | None, surrogate: Surrogate, kernels: Kernels,
                *values: Tensor) -> tuple[Tensor, Tensor]:
        currents, values = to_rows(x), [v.contiguous() for v in values]
        before = torch.zeros_like(currents[0]) if u0 is None else to_rows(u0[None])[0]
        after = before.clone()
        spikes = kernels.fire_gated(currents, after, *values)
        ctx.save_for_backward(currents, before, *values)
        ctx.surrogate, ctx.shape, ctx.fresh, ctx.kernels = surrogate, x.shape, u0 is None, kernels
        return (from_rows(spikes, (len(spikes), *x.shape[1:])),
                from_rows(after[None], (1, *x.shape[1:]))[0])

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_u: Tensor):
        currents, before, *values = ctx.saved_tensors
        carry = to_rows(grad_u[None])[0].clone()
        grad, sums = ctx.kernels.fire_gated_backward(
            currents, before, to_rows(grad_spikes), carry, ctx.fresh, ctx.surrogate, *values)
        of_values = sums.to(grad_u.dtype)
        grad_u0 = None if ctx.fresh else from_rows(carry[None], (1, *ctx.shape[1:]))[0]
        return (from_rows(grad, ctx.shape), grad_u0, None, None, *of_values[:5], of_values[5:])
