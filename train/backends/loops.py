"""The CPU's compiled loops as PyTorch functions, forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hw_configs.files import UserError
from train.backends import compiled as kernels
from train.backends.backend import GlifValues, LifNeurons, Surrogate
from train.backends.compiled_glif import fire_gated, fire_gated_backward
from train.backends.rows import from_rows, to_rows


class CompiledLoops:
    """train.backends.backend.Backend."""

    name = "compiled"

    def takes(self, current: Tensor, norm: nn.Module | None) -> bool:
        """Float32 on the CPU; of norms tdBN, whose sums the loops take themselves."""
        return (current.device.type == "cpu" and current.dtype == torch.float32
                and (norm is None or hasattr(norm, "affine")))

    def check(self, device: torch.device) -> None:
        """As Backend's."""
        if device.type != "cpu":
            raise UserError(f"--neurons compiled: loops for the CPU, not for {device.type}; use "
                            "--neurons triton")

    def lif(self, current: Tensor, r0: Tensor | None, neurons: LifNeurons, ticks: int | None
            ) -> tuple[Tensor, Tensor]:
        """As Backend's."""
        norm = neurons.norm
        gamma, beta = (None, None) if norm is None else (norm.gamma, norm.beta)
        return _Lif.apply(current, gamma, beta, r0, neurons, ticks or len(current))

    def gated(self, current: Tensor, u0: Tensor | None, values: GlifValues, surrogate: Surrogate
              ) -> tuple[Tensor, Tensor]:
        """As Backend's."""
        v = values
        return _Gated.apply(current, u0, surrogate, v.keep, v.leak, v.reset, v.subtract,
                            v.threshold, v.gain)


class _Lif(torch.autograd.Function):
    """tdBN and the neurons."""

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor | None, beta: Tensor | None, r0: Tensor | None,
                neurons: LifNeurons, ticks: int) -> tuple[Tensor, Tensor]:
        currents = to_rows(x)
        channels = currents.shape[2]
        ctx.neurons, ctx.shape, ctx.affine = neurons, x.shape, None
        if gamma is None:
            gain, shift = x.new_ones(channels), x.new_zeros(channels)
        else:
            flat = currents.reshape(-1, channels)
            sums = None
            if neurons.norm.gathers:
                sums = torch.from_numpy(kernels.channel_sums(flat.numpy()))
            ctx.affine = neurons.norm.affine(sums, len(flat))
            gain, shift = ctx.affine.gain, ctx.affine.shift
        # In grid units membranes are integers.
        grid = ctx.grid = neurons.grid
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
        neurons, surrogate, grid = ctx.neurons, ctx.neurons.surrogate, ctx.grid
        carry = to_rows(grad_r[None])[0].clone()
        grad, sums = kernels.fire_backward(
            currents.numpy(), gain.numpy(), shift.numpy(), before.numpy(),
            to_rows(grad_spikes).numpy(), carry.numpy(), grid.scale, grid.keep, grid.threshold,
            grid.leaks,
            (surrogate.shape, surrogate.center, surrogate.width, surrogate.scale),
            neurons.reset_gradient == "through")
        grad_gamma = grad_beta = None
        if ctx.affine is not None:
            grad_gamma, grad_beta, q, w = ctx.affine.gradients(*torch.from_numpy(sums))
            channels = len(gain)
            kernels.affine(grad.reshape(-1, channels), currents.reshape(-1, channels).numpy(),
                           gain.numpy(), q.numpy(), w.numpy())
        grad_r0 = None
        if ctx.needs_input_grad[3]:
            grad_r0 = from_rows(carry[None], (1, *ctx.shape[1:]))[0]
        return (from_rows(torch.from_numpy(grad), ctx.shape), grad_gamma, grad_beta, grad_r0, None,
                None)


class _Gated(torch.autograd.Function):
    """Gated neurons."""

    @staticmethod
    def forward(ctx, x: Tensor, u0: Tensor | None, surrogate: Surrogate, *values: Tensor
                ) -> tuple[Tensor, Tensor]:
        currents = to_rows(x)
        before = torch.zeros_like(currents[0]) if u0 is None else to_rows(u0[None])[0]
        after = before.clone()
        arrays = [v.contiguous() for v in values]
        spikes = fire_gated(currents.numpy(), after.numpy(), *(a.numpy() for a in arrays))
        ctx.save_for_backward(currents, before, *arrays)
        ctx.surrogate, ctx.shape, ctx.fresh = surrogate, x.shape, u0 is None
        shape = (len(spikes), *x.shape[1:])
        return (from_rows(torch.from_numpy(spikes), shape),
                from_rows(after[None], (1, *x.shape[1:]))[0])

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_u: Tensor):
        currents, before, *values = ctx.saved_tensors
        surrogate, carry = ctx.surrogate, to_rows(grad_u[None])[0].clone()
        grad, sums = fire_gated_backward(
            currents.numpy(), before.numpy(), to_rows(grad_spikes).numpy(), carry.numpy(),
            ctx.fresh, (surrogate.shape, 0.0, surrogate.width, surrogate.scale),
            *(v.numpy() for v in values))
        of_values = torch.from_numpy(sums).to(grad_u.dtype)
        grad_u0 = None if ctx.fresh else from_rows(carry[None], (1, *ctx.shape[1:]))[0]
        return (from_rows(torch.from_numpy(grad), ctx.shape), grad_u0, None, *of_values[:5],
                of_values[5:])
