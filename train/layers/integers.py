"""Integer arithmetic in the forward pass: quantisation-aware training.

tdBN is folded with its running statistics, which stay as they are; weights, biases, thresholds and
leaks are the chip's integers, for the scales that export/finetune.py chose. Rounding passes
gradients straight through to the float weights, gamma and beta behind the integers, so that the
spikes trained on are those of the exported file. What is left to the file: that a choice of 1 in k
is drawn by a threshold, and the readout's truncation.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from train.backends.backend import Grid, Surrogate
from train.layers.neuron import Lif

WEIGHT_MAX = 254
"""As export.quantize.WEIGHT_MAX."""
MEMBRANE_UNITS = 64
"""Membrane units per unit of synaptic sum."""


class _Even(torch.autograd.Function):
    """To the nearest even integer's double; the gradient passes."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return 2 * torch.round(x / 2)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


class IntegerLif(Lif):
    """A `Lif` that gets sums of integers and leaks as the chip does, D times per tick.

    Buffers (in the checkpoint; 0 until `set_scale`):
        weight_scale: integer weight per unit of the folded float weight, float64.
        input_max: integers per unit of input: 1 for spikes, more for the image.

    Args:
        dilation: D, timesteps per tick.
        The others are `Lif`'s.
    """

    def __init__(self, *args, dilation: int, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.dilation = dilation
        self.register_buffer("weight_scale", torch.zeros((), dtype=torch.float64))
        self.register_buffer("input_max", torch.ones((), dtype=torch.float64))
        self._scale = 0.0

    def set_scale(self, weight_scale: float, input_max: float = 1.0) -> None:
        """Fix the layer's integers."""
        self.weight_scale.fill_(weight_scale)
        self.input_max.fill_(input_max)
        self._scale = weight_scale * input_max

    def _load_from_state_dict(self, state: dict, prefix: str, *args) -> None:
        super()._load_from_state_dict(state, prefix, *args)
        self._scale = float(self.weight_scale * self.input_max)

    @property
    def scale(self) -> float:
        """Integer of a synaptic sum per unit of the float model's current; known without asking
        the device."""
        return self._scale

    normalises = False
    """tdBN is in the weights."""

    @cached_property
    def keep_per_leak(self) -> float:
        """The leak of a tick spread over D timesteps (lava_models.net.schedule.dilate_decay)."""
        keep = self.keep_register / 4096
        return 1 - round(4096 * (1 - keep ** (1 / self.dilation))) / 4096

    @property
    def grid(self) -> Grid:
        """Of its membranes, 64 per unit of synaptic sum."""
        threshold = round(self.scale * self.threshold) * MEMBRANE_UNITS
        return Grid(MEMBRANE_UNITS, self.keep_per_leak, float(threshold), self.dilation)

    @property
    def surrogate(self) -> Surrogate:
        """The float model's, in units of synaptic sums."""
        return super().surrogate.stretched(self.scale)

    def integers(self, weight: Tensor, bias: Tensor | None, out_axis: int
                 ) -> tuple[Tensor, Tensor]:
        """(weight, bias) as float32 tensors of even integers, with gradients to what is given.

        Args:
            weight: of the synapse, before tdBN.
            bias: of a layer without tdBN, else None.
            out_axis: weight's axis of output channels.
        """
        weight = weight.double()
        if self.norm is not None:
            gain, bias = (v.double() for v in self.norm.fold())
            spread = [1] * weight.ndim
            spread[out_axis] = -1
            weight = weight * gain.view(spread)
        scaled = (self.weight_scale * weight).clamp(-WEIGHT_MAX, WEIGHT_MAX)
        even = _Even.apply(self.weight_scale * self.input_max * bias.double())
        return _Even.apply(scaled).float(), even.float()
