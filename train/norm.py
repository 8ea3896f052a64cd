"""Threshold-dependent batch normalisation (tdBN, Zheng et al. 2021), as a neuron's norm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


class TdBN(torch.nn.Module):
    """y = gamma * alpha * V_th * (x - mean) / sqrt(var + eps) + beta, per channel.

    Statistics run over ticks, samples and space. While the posterior is sampled tick by tick
    those of all T ticks do not exist yet: inside `streaming()` the running ones are used, what
    passes is summed up, and the running ones are updated once at the end.

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

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (T, N, C, ...)."""
        flat = x.flatten(0, 1)
        if self._sums is not None:
            self._record(flat.detach())
        batch_statistics = self.training and self._sums is None
        y = F.batch_norm(flat, self.running_mean, self.running_var, self.gamma * self.gain,
                         self.beta, batch_statistics, self.momentum, self.eps)
        return y.unflatten(0, x.shape[:2])

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Use the running statistics inside; update them from what passed, on leaving."""
        zero = torch.zeros_like(self.running_mean, dtype=torch.float64)
        self._sums = [zero, zero.clone(), zero.new_zeros(())]
        try:
            yield
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
