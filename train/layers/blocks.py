"""SLAYER's cuba blocks run time first: (T, N, ...) in, spikes (T, N, ...) out.

Weights, names and neuron parameters are SLAYER's; only the order of the axes and the neuron's
backward differ (train.layers.neuron). The step of delay that SLAYER adds per block is left to the
chip's schedule.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hw_configs.files import UserError
from train.backends.lava_dl import slayer
from train.layers.glif import Glif
from train.layers.integers import IntegerLif
from train.layers.neuron import Lif


def product_type(x: Tensor) -> torch.dtype:
    """Of products of x: that of autocast where it is on."""
    if x.is_cuda and torch.is_autocast_enabled():
        return torch.get_autocast_gpu_dtype()
    if x.device.type == "cpu" and torch.is_autocast_cpu_enabled():
        return torch.get_autocast_cpu_dtype()
    return x.dtype


class _TimeFirst:
    """Mixed into a SLAYER block that swaps in our neuron; merges T and N around the synapse.

    The block brings `synapse2d`: currents (B, ...) of inputs (B, ...) and a weight.
    """

    neuron: Lif | Glif
    out_axis = 0
    """The weight's axis of output channels."""

    def synapses(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as products take them: those of integer arithmetic folded and rounded,
        and under autocast, where no gradient needs them wide, in its type."""
        weight, bias = self.weight, None
        if isinstance(self.neuron, IntegerLif):
            weight, bias = self.neuron.integers(weight, None, self.out_axis)
        if not torch.is_grad_enabled():
            weight = weight.to(product_type(weight))
        return weight, bias

    def current(self, x: Tensor, synapses: tuple[Tensor, Tensor | None] | None = None) -> Tensor:
        """Synaptic currents (T, N, ...) of inputs (T, N, ...).

        Under autocast the products are taken in its type: spikes are exact in bfloat16, weights
        and sums are rounded to 8 bits. Everything after them is float32. With integer arithmetic
        they are integers below 2^24, which float32 holds; the bias is in them.

        Args:
            synapses: what `synapses()` gave, for a pass that takes it many times.
        """
        weight, bias = self.synapses() if synapses is None else synapses
        y = self.synapse2d(x.flatten(0, 1), weight).float()
        if bias is not None:
            y = y + bias.view(-1, *[1] * (y.ndim - 2))
        return y.unflatten(0, x.shape[:2])

    @property
    def weight(self) -> Tensor:
        """SLAYER's weight without its axis of depth (and, in dense blocks, of space)."""
        return self.synapse.weight[..., 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.current(x))[0]

    def export_hdf5(self, handle) -> None:
        """SLAYER's, which a block of ours does not have: its weights are floats, its norm apart.

        Raises:
            UserError: always.
        """
        raise UserError("export_hdf5: exports layer by layer what has no integers yet; "
                        "export-netx model.pt writes the whole network in the same format, proven")


_SLAYER_NEURON = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.0}
"""Parameters for the neuron that SLAYER's constructors build and ours then replaces."""


class Dense(_TimeFirst, slayer.block.cuba.Dense):
    """Fully connected block, (T, N, in) -> (T, N, out)."""

    def __init__(self, inputs: int, outputs: int, neuron: Lif | Glif) -> None:
        super().__init__(_SLAYER_NEURON, inputs, outputs, delay_shift=False,
                         pre_hook_fx=None)
        self.neuron = neuron

    @property
    def weight(self) -> Tensor:
        return self.synapse.weight.flatten(1)

    def synapse2d(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)


class Conv(_TimeFirst, slayer.block.cuba.Conv):
    """3x3 convolution with stride 2, (T, N, C, H, W) -> (T, N, C', H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int, neuron: Lif | Glif) -> None:
        super().__init__(_SLAYER_NEURON, inputs, outputs, 3, stride=2, padding=1,
                         delay_shift=False, pre_hook_fx=None)
        self.neuron = neuron

    def synapse2d(self, x: Tensor, weight: Tensor) -> Tensor:
        weight = weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, stride=2, padding=1)


class ConvT(_TimeFirst, slayer.block.cuba.ConvT):
    """3x3 transposed convolution, output padding stride - 1: stride 2 doubles H and W."""

    out_axis = 1

    def __init__(self, inputs: int, outputs: int, neuron: Lif | Glif, stride: int = 2) -> None:
        super().__init__(_SLAYER_NEURON, inputs, outputs, 3, stride=stride, padding=1,
                         delay_shift=False, pre_hook_fx=None)
        # SLAYER takes no such argument, but its synapse (a ConvTranspose3d) honours the field.
        self.synapse.output_padding = (stride - 1, stride - 1, 0)
        self.neuron = neuron

    def synapse2d(self, x: Tensor, weight: Tensor) -> Tensor:
        weight = weight.contiguous(memory_format=torch.channels_last)
        return F.conv_transpose2d(x, weight, stride=self.synapse.stride[0], padding=1,
                                  output_padding=self.synapse.output_padding[0])


class Readout(ConvT):
    """Stride-1 transposed convolution into membranes that never fire.

    u = sum_t keep^(T-t) I_t: the convolution is linear, so the spikes are summed first and
    convolved once. (T, N, C, H, W) -> (N, C', H, W).
    """

    def __init__(self, inputs: int, outputs: int, neuron: Lif) -> None:
        super().__init__(inputs, outputs, neuron, stride=1)
        bound = (9 * outputs) ** -0.5  # torch's default for a transposed convolution
        self.bias = torch.nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        keep, weight, bias, scale = self.neuron.grid.keep_per_tick, self.weight, self.bias, 1.0
        if isinstance(self.neuron, IntegerLif):
            # Real numbers from here on: the chip truncates at every leak, which takes less than
            # 1/(1 - keep per leak) of its membrane units off, of thousands.
            weight, bias = self.neuron.integers(weight, bias, self.out_axis)
            scale = self.neuron.scale
        weights = self._weights(x, keep)
        with torch.autocast(x.device.type, enabled=False):  # once per image: float32 is cheap
            # Spikes lie channels last: summed in that order, nothing is copied, either way.
            rows = x.movedim(2, -1)
            total = (weights @ rows.reshape(len(x), -1)).view(rows.shape[1:]).movedim(-1, 1)
            u = self.synapse2d(total, weight)
        return (u + (bias * weights.sum())[:, None, None]) / scale

    def tanh_per_tick(self, x: Tensor) -> Tensor:
        """sum_t keep^(T-t) tanh(I_t): (N, C', H, W)."""
        current = self.current(x) + self.bias[:, None, None]
        return torch.tensordot(self._weights(x, self.neuron.grid.keep_per_tick), current.tanh(), 1)

    @staticmethod
    def _weights(x: Tensor, keep: float) -> Tensor:
        """Of the T ticks of x in the leaky sum."""
        return keep ** torch.arange(len(x) - 1, -1, -1, device=x.device, dtype=x.dtype)
