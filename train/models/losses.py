"""Losses: mean squared error plus a distance between posterior and prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """Scalars, or their numbers; `total` is what is minimised."""

    total: Tensor
    reconstruction: Tensor
    """Mean squared error over pixels in [-1, 1]."""
    distance: Tensor
    """MMD or KLD, before its weight."""


def mmd(q: Tensor, p: Tensor, synapse_time: float) -> Tensor:
    """Mean over ticks, samples and channels of (PSP(q) - PSP(p))^2, for rates (T, N, C).

    PSP_t = PSP_{t-1} + (x_t - PSP_{t-1}) / tau_syn. The paper's formula sums where the authors'
    code (and we) take the mean.
    """
    difference, psp, total = q - p, torch.zeros_like(q[0]), 0.0
    for d in difference:  # the filter is linear: filter the difference
        psp = psp + (d - psp) / synapse_time
        total = total + psp.square().mean()
    return total / len(difference)


RBF_KERNELS, RBF_RATIO = 5, 2.0
"""Gaussian kernels of `mmd_rbf` (ESVAE's), each so many times as wide as the one before."""


def mmd_rbf(a: Tensor, b: Tensor) -> Tensor:
    """Maximum mean discrepancy of two samples (N, C) and (M, C), ESVAE's estimate: the sum of
    Gaussian kernels around the mean squared distance of all pairs, which carries no gradient."""
    both = torch.cat([a, b])
    distance = (both[:, None] - both[None]).square().sum(-1)
    count = len(both)
    middle = distance.detach().sum() / (count * (count - 1))
    kernels = sum(torch.exp(-distance / (middle * RBF_RATIO ** (i - RBF_KERNELS // 2)))
                  for i in range(RBF_KERNELS))
    n = len(a)
    return kernels[:n, :n].mean() + kernels[n:, n:].mean() - 2 * kernels[:n, n:].mean()


def kld(q: Tensor, p: Tensor, epsilon: float = 0.01) -> Tensor:
    """Bernoulli KL divergence summed over ticks and channels, mean over samples."""
    def term(a: Tensor, b: Tensor) -> Tensor:
        return a * torch.log((a + epsilon) / (b + epsilon))

    return (term(q, p) + term(1 - q, 1 - p)).sum(dim=(0, 2)).mean()


def gaussian_kld(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), per unit as both are: (N, C)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
