"""The prior of rate latents, fitted after the autoencoder: a generator of threshold neurons.

A code is the majority vote of each channel's T spikes (trained rates are next to binary). It is
drawn group by group of channels, each channel given all groups before its own:

    b_c = 1[ sum over earlier groups of W_cj b_j + a_c + noise > 0 ]

With logistic noise that is a sigmoid belief network without hidden units, whose likelihood is
convex: one logistic regression per channel. On the chip a group is a layer of memoryless LIFs, the
earlier bits are passed on by copies, and the noise is a weighted sum of 8 random bits whose
distribution is next to logistic. So the integers below are the generator itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from hw_configs.files import UserError
from train.layers.integers import WEIGHT_MAX
from train.torch_file import read_torch

NAME = "prior.pt"
NOISE = (30, 30, 28, 24, 22, 20, 16, 12)
"""Weights of a channel's random bits, found by search: over PER_LOGIT, and without its mean, the
distribution of their sum is nowhere more than .018 from the logistic, on average .008."""
PER_LOGIT, MIDDLE = 20.05, 91
"""The sum's integers per logit, and its mean."""
THRESHOLD = 101
"""Odd, as all sums are even: none lies on it, so that what little a membrane keeps decides
nothing."""
UNIT = 128
"""Sum of the last layer that is a rate of 1."""
PORT_MAX = 2**15 - 1
BATCH, RATE = 256, 0.1


@dataclass(frozen=True)
class Stage:
    """A layer: spikes = [weight x + bias > THRESHOLD], x the layer before and then random bits."""

    weight: Tensor
    """int32 (out, in), even."""
    bias: Tensor
    """int32 (out,), even."""


@dataclass(frozen=True)
class RatePrior:
    """A generator of codes as integers."""

    stages: tuple[Stage, ...]
    channels: Tensor
    """int64 (C,): the channel of each output of the last stage."""
    bits: int
    """M, random bits that each stage takes."""
    validation_nats: float
    """Mean negative log likelihood of held-out codes, with logistic noise and real weights."""
    model_sha256: str
    """Of the model.pt whose codes it was fitted to."""

    def rates(self, count: int, generator: Generator) -> Tensor:
        """Codes (count, C), 0 or 1, float32."""
        x = torch.zeros(count, 0)
        for stage in self.stages:
            noise = torch.randint(2, (count, self.bits), generator=generator,
                                  device=generator.device).float().cpu()
            x = torch.cat([x, noise], dim=1)
            x = (x @ stage.weight.float().T + stage.bias.float() > THRESHOLD).float()
        return torch.zeros_like(x).index_copy(1, self.channels, x)

    def last(self) -> Tensor:
        """Weight int32 (C, C) of the layer whose sums are the rates, UNIT each."""
        weight = torch.zeros(len(self.channels), len(self.channels), dtype=torch.int32)
        weight[self.channels, torch.arange(len(self.channels))] = UNIT
        return weight

    def state(self) -> dict:
        """Plain values, for `torch.save`."""
        return {"stages": [[s.weight, s.bias] for s in self.stages], "channels": self.channels,
                "bits": self.bits, "validation_nats": self.validation_nats,
                "model_sha256": self.model_sha256}

    @classmethod
    def of(cls, state: dict) -> RatePrior:
        """Inverse of `state`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is no such state.
        """
        prior = cls(tuple(Stage(*s) for s in state["stages"]), state["channels"], state["bits"],
                    state["validation_nats"], state["model_sha256"])
        prior._check()
        return prior

    def _check(self) -> None:
        """Raises:
            ValueError: the stages do not fit together.
        """
        size = 0
        plain = {int: self.bits, float: self.validation_nats, str: self.model_sha256}
        if not self.stages or any(type(value) is not kind for kind, value in plain.items()):
            raise ValueError("no stages, or an entry of another type")
        for stage in self.stages:
            out = stage.bias.numel()
            if (stage.weight.dtype, stage.bias.dtype) != (torch.int32, torch.int32) or (
                    tuple(stage.weight.shape) != (out, size + self.bits)
                    or stage.bias.ndim != 1):
                raise ValueError(f"a stage of shape {tuple(stage.weight.shape)}, expected int32 "
                                 f"({out}, {size + self.bits})")
            size = out
        if self.channels.dtype != torch.int64 or sorted(self.channels.tolist()) != list(
                range(size)):
            raise ValueError(f"channels are no order of 0 to {size - 1}")


def spread_out(codes: Tensor, groups: int) -> Tensor:
    """An order of the channels, int64 (C,), in groups that follow each other: those within one,
    which do not know of each other, are as little correlated as a greedy choice finds."""
    size = codes.shape[1] // groups
    constant = codes.std(dim=0) == 0
    strength = torch.corrcoef(codes.T).nan_to_num(0).abs()
    strength[constant] = strength[:, constant] = 0
    left, order = list(range(codes.shape[1])), []
    # The most entangled channels lead, so that the most is known when the others are drawn.
    left.sort(key=lambda c: -float(strength[c].sum()))
    for _ in range(groups):
        group = [left.pop(0)]
        while len(group) < size:
            best = min(left, key=lambda c: float(strength[c, group].sum()))
            left.remove(best)
            group.append(best)
        order += group
    return torch.tensor(order)


def fit(codes: Tensor, held: Tensor, groups: int, steps: int, generator: Generator,
        model_sha256: str, on_step: Callable[[], None] = lambda: None) -> RatePrior:
    """Fit by maximum likelihood, for two orders of the channels; the better one on held-out codes.

    Args:
        codes, held: float32 (N, C), 0 or 1.
        groups: stages; divides C.
        steps: of gradient descent, for each order.
        on_step: called after each.
    """
    natural = torch.arange(codes.shape[1])
    tried = []
    for order in (natural, spread_out(codes, groups)):
        weight, bias = _regress(codes[:, order], groups, steps, generator, on_step)
        tried.append((_nats(held[:, order], weight, bias), order, weight, bias))
    nats, order, weight, bias = min(tried, key=lambda t: t[0])
    stages = _integers(weight, bias, groups)
    return RatePrior(tuple(stages), order, len(NOISE) * (len(order) // groups), nats, model_sha256)


def _earlier(channels: int, groups: int) -> Tensor:
    """1 where the column's group comes before the row's."""
    group = torch.arange(channels) // (channels // groups)
    return (group[:, None] > group[None]).float()


def _nats(codes: Tensor, weight: Tensor, bias: Tensor) -> float:
    total = F.binary_cross_entropy_with_logits(codes @ weight.T + bias, codes, reduction="sum")
    return float(total) / len(codes)


def _regress(codes: Tensor, groups: int, steps: int, generator: Generator,
             on_step: Callable[[], None]) -> tuple[Tensor, Tensor]:
    """Weight (C, C) and bias (C,) of the logistic regressions."""
    channels = codes.shape[1]
    mask, rate = _earlier(channels, groups), codes.mean(dim=0).clamp(1e-3, 1 - 1e-3)
    weight = torch.zeros(channels, channels, requires_grad=True)
    bias = torch.logit(rate).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], lr=RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps) + 1e-4
        x = codes[torch.randint(len(codes), (BATCH,), generator=generator)]
        logits = x @ (weight * mask).T + bias
        loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        on_step()
    return (weight * mask).detach(), bias.detach()


def _integers(weight: Tensor, bias: Tensor, groups: int) -> list[Stage]:
    """Stages of the chip's integers: as fine as weights and port allow."""
    for noise in range(WEIGHT_MAX // max(NOISE), 0, -1):
        unit = noise * PER_LOGIT  # integers per logit
        stages = list(_stages(_even(weight * unit).clamp(-WEIGHT_MAX, WEIGHT_MAX),
                              _even(bias * unit - MIDDLE * noise), noise, groups))
        worst = max(float(s.weight.abs().sum(dim=1).max() + s.bias.abs().max()) for s in stages)
        clipped = (weight.abs() * unit > WEIGHT_MAX).float().mean()
        if worst <= PORT_MAX and clipped < 1e-3 or noise == 1:
            return stages
    raise AssertionError("noise == 1 returns")


def _even(x: Tensor) -> Tensor:
    return (2 * torch.round(x / 2)).int()


def _stages(weight: Tensor, bias: Tensor, noise: int, groups: int):
    size = len(bias) // groups
    random = torch.tensor(NOISE, dtype=torch.int32) * noise
    for group in range(groups):
        before = group * size
        rows = slice(before, before + size)
        copies = WEIGHT_MAX * torch.eye(before, dtype=torch.int32)
        own = torch.kron(torch.eye(size, dtype=torch.int32), random[None])
        yield Stage(
            torch.cat([torch.cat([copies, torch.zeros(before, own.shape[1]).int()], dim=1),
                       torch.cat([weight[rows, :before], own], dim=1)]),
            torch.cat([torch.zeros(before).int(),
                       bias[rows] + THRESHOLD - 1]))


def load_prior(model: Path, sha256: str) -> RatePrior | None:
    """The prior beside a model.pt, if one was fitted.

    Raises:
        UserError: it is damaged, or was fitted to another model.pt.
    """
    path = model.with_name(NAME)
    if not path.is_file():
        return None
    try:
        prior = RatePrior.of(read_torch(path, "one of fit-prior"))
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        why = error if isinstance(error, ValueError) else type(error).__name__
        raise UserError(f"{path}: not a prior of fit-prior ({why}); fit it again, or remove it"
                        ) from None
    if prior.model_sha256 != sha256:
        raise UserError(f"{path}: was fitted to another {model.name} than the one beside it; run "
                        "fit-prior again, or remove it")
    return prior
