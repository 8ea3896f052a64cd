"""The prior of rate latents, fitted after the autoencoder: a generator of threshold neurons.

A code is the majority vote of each channel's T spikes (trained rates are next to binary). First its
kind k is drawn, one of K that are equally likely; then the code, group by group of channels, each
channel given the kind and all groups before its own:

    b_c = 1[ sum over earlier groups of W_cj b_j + A_ck + a_c + noise > 0 ]

With logistic noise that is a mixture of sigmoid belief networks that share W, without hidden units.
The training codes are halved log2 K times (2-means with halves of equal size), which gives them
their kinds; with these the likelihood is convex, one logistic regression per channel.

On the chip a kind is a neuron that fires at its own pattern of log2 K random bits, a group is a
layer of memoryless LIFs, kinds and earlier bits are passed on by copies, and the noise is a
weighted sum of 8 random bits whose distribution is next to logistic. So the integers below are the
generator itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
BATCH, RATE = 256, 0.05
POWER_STEPS, HALVE_STEPS = 20, 5
"""Towards the principal component; of 2-means from there."""


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


def halve(codes: Tensor, levels: int, generator: Generator) -> Tensor:
    """Kind of each code, int64 (N,): halved again and again, so that all are equally likely.

    Args:
        codes: float32 (N, C), at least as many as 2^levels.
        levels: how often.
    """
    kind = torch.zeros(len(codes), dtype=torch.long)
    for _ in range(levels):
        kind *= 2
        for node in kind.unique().tolist():
            here = (kind == node).nonzero()[:, 0]
            kind[here[_right_half(codes[here], generator)]] += 1
    return kind


def _right_half(codes: Tensor, generator: Generator) -> Tensor:
    """Indices of one half by 2-means with halves of equal size."""
    centred = codes - codes.mean(dim=0)
    direction = torch.randn(codes.shape[1], generator=generator)
    for _ in range(POWER_STEPS):  # to the principal component, a start that does not vary
        direction = F.normalize(centred.T @ (centred @ direction), dim=0)
    middle = len(codes) // 2
    for _ in range(HALVE_STEPS):
        order = (centred @ direction).argsort()
        direction = centred[order[middle:]].mean(dim=0) - centred[order[:middle]].mean(dim=0)
    return (centred @ direction).argsort()[middle:]


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


@dataclass(frozen=True)
class _Regressions:
    """Real weights, channels in the order they are drawn in."""

    weight: Tensor
    """(C, C), 0 where the column's group does not come before the row's."""
    kinds: Tensor
    """(C, K)."""
    bias: Tensor
    """(C,)."""

    def nats(self, codes: Tensor) -> float:
        """Mean negative log likelihood of codes, over all kinds they could be of."""
        same = codes @ self.weight.T + self.bias
        each = [-F.binary_cross_entropy_with_logits(same + kind, codes, reduction="none").sum(dim=1)
                for kind in self.kinds.T]
        log_likelihood = torch.logsumexp(torch.stack(each), dim=0) - math.log(len(each))
        return -float(log_likelihood.mean())


def fit(codes: Tensor, held: Tensor, kinds: int, groups: int, steps: int, generator: Generator,
        model_sha256: str, on_step: Callable[[], None] = lambda: None) -> RatePrior:
    """Fit by maximum likelihood, for two orders of the channels; the better one on held-out codes.

    Args:
        codes, held: float32 (N, C), 0 or 1.
        kinds: K, a power of two, at most as many as codes.
        groups: stages after the one that draws the kind; divides C.
        steps: of gradient descent, for each order.
        on_step: called after each.
    """
    kind = halve(codes, kinds.bit_length() - 1, generator)
    mean = torch.zeros(kinds, codes.shape[1]).index_add(0, kind, codes)
    mean /= torch.bincount(kind, minlength=kinds)[:, None].clamp(min=1)
    natural = torch.arange(codes.shape[1])
    tried = []
    for order in (natural, spread_out(codes - mean[kind], groups)):
        found = _regress(codes[:, order], kind, kinds, groups, steps, generator, on_step)
        tried.append((found.nats(held[:, order]), order, found))
    nats, order, found = min(tried, key=lambda t: t[0])
    bits = max(len(NOISE) * (len(order) // groups), kinds.bit_length() - 1)
    stages = (_draw_kind(kinds, bits), *_integers(found, groups, bits))
    return RatePrior(stages, order, bits, nats, model_sha256)


def _earlier(channels: int, groups: int) -> Tensor:
    """1 where the column's group comes before the row's."""
    group = torch.arange(channels) // (channels // groups)
    return (group[:, None] > group[None]).float()


def _regress(codes: Tensor, kind: Tensor, kinds: int, groups: int, steps: int,
             generator: Generator, on_step: Callable[[], None]) -> _Regressions:
    channels = codes.shape[1]
    mask, rate = _earlier(channels, groups), codes.mean(dim=0).clamp(1e-3, 1 - 1e-3)
    weight = torch.zeros(channels, channels, requires_grad=True)
    of_kind = torch.zeros(kinds, channels, requires_grad=True)
    bias = torch.logit(rate).requires_grad_()
    optimizer = torch.optim.Adam([weight, of_kind, bias], lr=RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps) + 1e-4
        chosen = torch.randint(len(codes), (BATCH,), generator=generator)
        x = codes[chosen]
        logits = x @ (weight * mask).T + of_kind[kind[chosen]] + bias
        loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        on_step()
    return _Regressions((weight * mask).detach(), of_kind.detach().T, bias.detach())


def _draw_kind(kinds: int, bits: int) -> Stage:
    """Neuron k fires where the first random bits are k's."""
    levels = kinds.bit_length() - 1
    pattern = torch.arange(kinds)[:, None] >> torch.arange(levels) & 1
    weight = torch.zeros(kinds, bits, dtype=torch.int32)
    weight[:, :levels] = (4 * pattern - 2).int()  # 2 for a bit that must be 1, -2 for another
    return Stage(weight, (THRESHOLD + 1 - 2 * pattern.sum(dim=1)).int())


def _integers(found: _Regressions, groups: int, bits: int) -> list[Stage]:
    """Stages of the chip's integers: as fine as weights and port allow."""
    weight, bias = torch.cat([found.kinds, found.weight], dim=1), found.bias
    for noise in range(WEIGHT_MAX // max(NOISE), 0, -1):
        unit = noise * PER_LOGIT  # integers per logit
        stages = list(_stages(_even(weight * unit).clamp(-WEIGHT_MAX, WEIGHT_MAX),
                              _even(bias * unit - MIDDLE * noise), noise, groups, bits))
        worst = max(float(s.weight.abs().sum(dim=1).max() + s.bias.abs().max()) for s in stages)
        clipped = (weight.abs() * unit > WEIGHT_MAX).float().mean()
        if worst <= PORT_MAX and clipped < 1e-3 or noise == 1:
            return stages
    raise AssertionError("noise == 1 returns")


def _even(x: Tensor) -> Tensor:
    return (2 * torch.round(x / 2)).int()


def _stages(weight: Tensor, bias: Tensor, noise: int, groups: int, bits: int) -> Iterator[Stage]:
    """Weight (C, K + C): of kinds, then of channels."""
    size, kinds = len(bias) // groups, weight.shape[1] - len(weight)
    random = torch.tensor(NOISE, dtype=torch.int32) * noise
    for group in range(groups):
        before = kinds + group * size
        rows = slice(group * size, (group + 1) * size)
        own = torch.zeros(size, bits, dtype=torch.int32)
        own[:, :size * len(NOISE)] = torch.kron(torch.eye(size, dtype=torch.int32), random[None])
        # The last stage has no use for the kind any more.
        copied = torch.arange(kinds if group == groups - 1 else 0, before)
        copies = torch.zeros(len(copied), before + bits, dtype=torch.int32)
        copies[torch.arange(len(copied)), copied] = WEIGHT_MAX
        yield Stage(torch.cat([copies, torch.cat([weight[rows, :before], own], dim=1)]),
                    torch.cat([torch.zeros(len(copied)).int(), bias[rows] + THRESHOLD - 1]))


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
