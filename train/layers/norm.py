"""Threshold-dependent batch normalisation (tdBN, Zheng et al. 2021), as a neuron's norm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from train.parallel import Ranks


class TdBN(torch.nn.Module):
    """y = gamma * alpha * V_th * (x - mean) / sqrt(var + eps) + beta, per channel.

    Statistics run over ticks, samples and space. While the posterior is sampled tick by tick
    those of all T ticks do not exist yet: inside `streaming()` the running ones are used, what
    passes is summed up, and the running ones are updated once at the end. `ranks` are the processes
    that share a batch.

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
        self._sums: list[Tensor] | None = None
        self.ranks = Ranks()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (T, N, C, ...)."""
        flat = x.flatten(0, 1)
        if self._sums is not None:
            self._record(flat.detach())
        if self._from_batch and self.ranks.size > 1:
            return self._normalise_over_ranks(flat).unflatten(0, x.shape[:2])
        y = F.batch_norm(flat, self.running_mean, self.running_var, self.gamma * self.gain,
                         self.beta, self._from_batch, self.momentum, self.eps)
        return y.unflatten(0, x.shape[:2])

    def _normalise_over_ranks(self, x: Tensor) -> Tensor:
        """Batch norm of (B, C, ...) with the statistics of all ranks' batches."""
        axes = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        count = self.ranks.size * x.numel() / x.shape[1]
        wide = x.double()
        mean = self.ranks.total(wide.sum(axes)) / count
        var = self.ranks.total((wide - mean.view(shape)).square().sum(axes)) / count
        self._update(mean.detach(), var.detach(), count)
        g = self.gamma * self.gain * (var + self.eps).rsqrt()
        return ((wide - mean.view(shape)) * g.view(shape) + self.beta.view(shape)).to(x.dtype)

    def _update(self, mean: Tensor, var: Tensor, count: float) -> None:
        unbiased = var * (count / max(count - 1, 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)

    @property
    def _from_batch(self) -> bool:
        """Whether statistics are those of the batch: in training, unless streaming."""
        return self.training and self._sums is None

    @property
    def gathers(self) -> bool:
        """Whether what passes counts: in training and while streaming."""
        return self.training or self._sums is not None

    def scale_and_shift(self, sums: Tensor | None, count: int
                        ) -> tuple[Tensor, Tensor, Tensor, bool]:
        """What `forward` does, for kernels that have summed the values themselves.

        Args:
            sums: sum and sum of squares per channel, float64 (2, C); None unless it `gathers`.
            count: how many values each channel has.

        Returns:
            mean, 1/sqrt(var + eps) and gamma * alpha * V_th / sqrt(var + eps), each (C,), and
            whether the first two come from the batch, so that gradients go through them.
        """
        if self._sums is not None:
            self._sums[0] += sums[0]
            self._sums[1] += sums[1]
            self._sums[2] += count
        mean, var = self.running_mean, self.running_var
        if self._from_batch:
            self.ranks.add_up(sums)
            count *= self.ranks.size
            mean = sums[0] / count
            var = (sums[1] / count - mean**2).clamp(min=0)
            self._update(mean, var, count)
        rstd = (var + self.eps).rsqrt()
        return mean, rstd, self.gamma.detach() * self.gain * rstd, self._from_batch

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Use the running statistics inside; update them from what passed, on leaving."""
        zero = torch.zeros_like(self.running_mean, dtype=torch.float64)
        self._sums = [zero, zero.clone(), zero.new_zeros(())]
        try:
            yield
            self.ranks.add_up(*self._sums)
            total, squares, count = self._sums
            if self.training and count > 1:
                mean = total / count
                var = (squares - count * mean**2) / (count - 1)
                # New tensors, not in place: the backward pass still needs the old ones.
                self.running_mean = self._moved(self.running_mean, mean)
                self.running_var = self._moved(self.running_var, var.clamp(min=0))
        finally:
            self._sums = None

    def _moved(self, old: Tensor, new: Tensor) -> Tensor:
        return old.lerp(new.to(old.dtype), self.momentum)

    def _record(self, flat: Tensor) -> None:
        axes = [0, *range(2, flat.ndim)]
        wide = flat.double()
        self._sums[0] += wide.sum(axes)
        self._sums[1] += wide.square().sum(axes)
        self._sums[2] += flat.numel() / flat.shape[1]

    def fold(self) -> tuple[Tensor, Tensor]:
        """(g, b) of the equal affine map y = g * x + b in evaluation."""
        g = self.gamma * self.gain / (self.running_var + self.eps).sqrt()
        return g, self.beta - self.running_mean * g

    @property
    def bias(self) -> Tensor:
        """The equivalent bias, under the name SLAYER's own norms give it."""
        return self.fold()[1]
