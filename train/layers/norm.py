"""Threshold-dependent batch normalisation (tdBN, Zheng et al. 2021), as a neuron's norm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from train.parallel import Ranks


@dataclass(frozen=True)
class Affine:
    """What a tdBN does to one call's currents: gain * x + shift, and its backward."""

    gain: Tensor
    """gamma * alpha * V_th / sqrt(var + eps), in the currents' type: (C,)."""
    shift: Tensor
    """beta - mean * gain: (C,)."""
    mean: Tensor
    rstd: Tensor
    """1 / sqrt(var + eps), as `mean` (C,)."""
    norm_gain: float
    """alpha * V_th."""
    count: int
    """Values per channel, of all ranks, that mean and variance are of; 0 where they are running
    ones, through which no gradient goes."""
    ranks: Ranks

    def gradients(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of gamma and beta, and (q, w) such that that of x is gain * g + q * x + w.

        Args:
            first, second: sums per channel of the gradient g of gain * x + shift, and of g * x,
                float64 (C,).
        """
        kind = self.gain.dtype
        second = (second - self.mean * first) * self.rstd  # of gradient * normalised x
        grad_gamma, grad_beta = (second * self.norm_gain).to(kind), first.to(kind, copy=True)
        if not self.count:
            zero = torch.zeros_like(self.gain)
            return grad_gamma, grad_beta, zero, zero
        first, second = first.clone(), second.clone()
        self.ranks.add_up(first, second)
        q = -(self.gain * self.rstd * second / self.count).to(kind)
        w = (-self.gain * first / self.count - q * self.mean).to(kind)
        return grad_gamma, grad_beta, q, w


class TdBN(torch.nn.Module):
    """y = gamma * alpha * V_th * (x - mean) / sqrt(var + eps) + beta, per channel.

    Statistics run over ticks, samples and space; running ones are updated in place. While the
    posterior is sampled tick by tick those of all T ticks do not exist yet: inside `streaming()`
    the running ones are used, what passes is summed up, and the running ones are updated once at
    the end. `ranks` are the processes that share a batch. Nothing here waits for a device.

    Args:
        channels: number of channels.
        gain: alpha * V_th, the standard deviation that the output starts with.
    """

    momentum, eps = 0.1, 1e-5

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.gamma = torch.nn.Parameter(torch.ones(channels))
        self.beta = torch.nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self._sums: Tensor | None = None
        self._count = 0
        self.ranks = Ranks()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (T, N, C, ...)."""
        return _Normalise.apply(x, self.gamma, self.beta, self)

    def _update(self, mean: Tensor, var: Tensor, count: int) -> None:
        unbiased = var * (count / max(count - 1, 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)

    @property
    def gathers(self) -> bool:
        """Whether what passes counts: in training and while streaming."""
        return self.training or self._sums is not None

    @torch.no_grad()
    def affine(self, sums: Tensor | None, count: int) -> Affine:
        """What happens to currents that have been summed up; they count from here on.

        Args:
            sums: sum and sum of squares per channel, float64 (2, C); None unless it `gathers`.
            count: how many values each channel has.
        """
        streaming = self._sums is not None
        if streaming:
            self._sums += sums
            self._count += count
        if self.training and not streaming:
            self.ranks.add_up(sums)
            count *= self.ranks.size
            mean = sums[0] / count
            var = (sums[1] / count - mean**2).clamp(min=0)
            self._update(mean, var, count)
        else:  # copied: they move on before the backward pass
            mean, var, count = self.running_mean.clone(), self.running_var, 0
        rstd = (var + self.eps).rsqrt()
        gain = self.gamma * self.gain * rstd
        shift = (self.beta - mean * gain).to(self.gamma.dtype)
        return Affine(gain.to(self.gamma.dtype), shift, mean, rstd, self.gain, count, self.ranks)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Use the running statistics inside; update them from what passed, on leaving."""
        self._sums = torch.zeros((2, *self.running_mean.shape), dtype=torch.float64,
                                 device=self.running_mean.device)
        self._count = 0
        try:
            yield
            count = self._count * self.ranks.size
            if self.training and count > 1:
                self.ranks.add_up(self._sums)
                mean = self._sums[0] / count
                self._update(mean, (self._sums[1] / count - mean**2).clamp(min=0), count)
        finally:
            self._sums = None

    def fold(self) -> tuple[Tensor, Tensor]:
        """(g, b) of the equal affine map y = g * x + b in evaluation."""
        g = self.gamma * self.gain / (self.running_var + self.eps).sqrt()
        return g, self.beta - self.running_mean * g

    @property
    def bias(self) -> Tensor:
        """The equivalent bias, under the name SLAYER's own norms give it."""
        return self.fold()[1]


def channel_sums(x: Tensor, y: Tensor) -> Tensor:
    """Sums per channel of x, and of x * y, both (T, N, C, ...): float64 (2, C).

    A tick at a time: in float64 all of them would be the largest array of a training step.
    """
    axes = [0, *range(2, x.ndim - 1)]
    return sum(torch.stack([a.double().sum(axes), (a.double() * b).sum(axes)])
               for a, b in zip(x, y))


class _Normalise(torch.autograd.Function):
    """tdBN in PyTorch's operators, in the same order of operations as the kernels."""

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, norm: TdBN) -> Tensor:
        count = x.numel() // x.shape[2]
        ctx.affine = norm.affine(channel_sums(x, x) if norm.gathers else None, count)
        ctx.save_for_backward(x)
        ctx.spread = (-1, *[1] * (x.ndim - 3))
        return (x * ctx.affine.gain.view(ctx.spread)).add_(ctx.affine.shift.view(ctx.spread))

    @staticmethod
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        grad_gamma, grad_beta, q, w = ctx.affine.gradients(*channel_sums(grad, x))
        gain, q, w = (v.view(ctx.spread) for v in (ctx.affine.gain, q, w))
        return (grad * gain).add_(x * q).add_(w), grad_gamma, grad_beta, None
