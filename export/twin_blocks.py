"""A model's layers in the chip's integers, where training has none: gated neurons, their readout,
and the generator of codes that `fit-prior` fits.

Written from the model's equations (train.layers.glif, train.models.prior) and PyTorch's
convolutions, not from what the export makes of them.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from export.quantize import Quantized
from lava_models.net.layers import Glif as ChipGlif
from train.layers.blocks import Readout
from train.layers.integers import MEMBRANE_UNITS, WEIGHT_MAX, IntegerLif
from train.models.prior import THRESHOLD, RatePrior, Stage
from train.models.spiking import SpikingVae

ONE = 4096
"""Of shares, which are 12-bit fractions."""


class GatedTwin(nn.Module):
    """A block of gated neurons; (T, N, ...) -> spikes (T, N, ...), float64.

    Args:
        block: of the model.
        q: its scale, and whether its file's neurons are gated or plain LIFs: those share one
            threshold, so that every channel is in units of its own.
        dilation: D, timesteps per tick.
    """

    def __init__(self, block: nn.Module, q: Quantized, dilation: int) -> None:
        super().__init__()
        self.block, self.q, self.dilation = block, q, dilation
        self.gated = isinstance(q.layer.neuron, ChipGlif)
        with torch.no_grad():
            self.values = {name: v.double() for name, v in vars(block.neuron.values()).items()}

    def _current(self, x: Tensor) -> Tensor:
        """Synaptic sums and bias as integers, float64 (T, N, C, ...)."""
        v, q = self.values, self.q
        gain, bias = (f.double() for f in self.block.neuron.norm.fold())
        if not self.gated:
            unit = v["gain"][0] / v["threshold"]
            gain, bias = gain * unit, bias * unit - v["leak"] / v["threshold"]
        weight = self.block.weight.double()
        spread = [1] * weight.ndim
        spread[self.block.out_axis] = -1
        scaled = q.scale / q.input_max * weight * gain.view(spread)
        weight = _even(scaled.clamp(-WEIGHT_MAX, WEIGHT_MAX))
        y = self.block.synapse2d(x.flatten(0, 1), weight.to(x.dtype)).double()
        return (y + _wide(_even(q.scale * bias), y)).unflatten(0, x.shape[:2])

    def _registers(self) -> dict[str, Tensor | float]:
        """The neurons' integers: shares in 1/4096, the rest in membrane units."""
        v, unit = self.values, MEMBRANE_UNITS * self.q.scale
        keep = ONE - torch.round(ONE * (1 - v["keep"]))
        leak = torch.round(ONE * (1 - (keep / ONE) ** (1 / self.dilation)))
        if not self.gated:
            return {"keep": ONE - leak, "gain": torch.full_like(v["gain"], ONE), "leak": 0.0,
                    "subtract": 0.0, "left": 0.0,
                    "threshold": MEMBRANE_UNITS * float(round(self.q.scale))}
        return {"keep": ONE - leak, "gain": torch.round(ONE * v["gain"]),
                "left": ONE - torch.round(ONE * v["reset"]),
                **{name: torch.round(unit * v[name]) for name in ("leak", "subtract", "threshold")}}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        current = self._current(x)
        r = {name: _wide(value, current[0]) if isinstance(value, Tensor) and value.ndim == 1
             else value for name, value in self._registers().items()}
        u, fired, spikes = torch.zeros_like(current[0]), torch.zeros_like(current[0]), []
        for tick, sums in enumerate(current):
            for _ in range(self.dilation):
                u = torch.trunc(u * r["keep"] / ONE)
            gain = _wide(r["gain"][tick], sums)
            u = u + torch.trunc(MEMBRANE_UNITS * sums * gain / ONE) - r["leak"]
            u = u - r["subtract"] * fired
            fired = (u > r["threshold"]).double()
            u = torch.where(fired > 0, torch.trunc(u * r["left"] / ONE), u)
            spikes.append(fired)
        return torch.stack(spikes)


def _even(x: Tensor) -> Tensor:
    return 2 * torch.round(x / 2)


def _wide(per_channel: Tensor, like: Tensor) -> Tensor:
    """(C,) against (N, C, ...)."""
    return per_channel.view(-1, *[1] * (like.ndim - 2))


def readout_twin(readout: Readout, q: Quantized, dilation: int) -> Readout:
    """The readout of a model of gated neurons, in integers."""
    twin, neuron = copy.deepcopy(readout), readout.neuron
    twin.neuron = IntegerLif(neuron.threshold, neuron.keep_register / ONE, 1, neuron.surrogate,
                             neuron.reset_gradient, dilation=dilation)
    twin.neuron.set_scale(q.scale / q.input_max, q.input_max)
    return twin


def gated_blocks(model: SpikingVae, layers: list[Quantized]) -> dict[str, nn.Module]:
    """All layers of a model of gated neurons by name."""
    done, dilation = {q.name: q for q in layers}, model.config.dilation
    return {name: readout_twin(block, done[name], dilation) if isinstance(block, Readout) else
            GatedTwin(block, done[name], dilation) for name, block in model.named_layers()}


class StageTwin(nn.Module):
    """A stage of a fitted prior: earlier bits and random bits (T, N, n) to bits (T, N, m)."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.stage.weight.to(x).T + self.stage.bias > THRESHOLD).to(x.dtype)


class CodeTwin(nn.Module):
    """The last stage's bits (T, N, C) in the order of the channels: z."""

    def __init__(self, channels: Tensor) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_copy(2, self.channels, x)


def prior_blocks(prior: RatePrior, drawn: str) -> dict[str, nn.Module]:
    """A fitted prior's stages by name, and what makes a code of the last one's bits.

    Args:
        drawn: name of the population of z.
    """
    stages: dict[str, nn.Module] = {f"prior.{i}": StageTwin(s) for i, s in enumerate(prior.stages)}
    return stages | {drawn: CodeTwin(prior.channels)}
