"""From float layers to the chip's integers: one scale per layer, every accumulator bounded.

w_int = 2 * round(s * w / 2), b_int = 2 * round(s * b / 2), vth = round(s * V_th). The scale s is
the one with the least error for the weights that are there; then it is reduced until the worst
case of every register fits (interval bound over the integers, lava_models.net.netfile).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.fold import FloatGlif, FloatLayer
from hw_configs import Chip
from hw_configs.files import UserError
from lava_models.net.layers import (
    SPIKE,
    Conv,
    ConvT,
    Dense,
    Glif,
    Interval,
    Layer,
    Lif,
    fan_in_bound,
    graded,
    membrane_bound,
)

WEIGHT_MAX = 254
"""Largest weight used: even, and valid in mixed-sign and single-sign layers alike."""
_STEP = 0.98
"""Factor by which a scale is reduced until it fits."""
_INPUT_SCALES = (8, 16, 24, 32, 48, 64, 96, 127)
"""Candidates for the largest graded spike of the image."""
_FEWEST_LEVELS = 8
"""A layer whose threshold or largest weight has fewer steps than this is not worth running."""


@dataclass(frozen=True)
class Quantized:
    """A layer's integers and what they cost."""

    name: str
    layer: Layer
    scale: float
    """Integer per unit of the float model (inputs included for the first layer)."""
    best_scale: float
    """The scale with the least error, before any register's limit."""
    weight_error: float
    """Root-mean-square error of the weights over their root mean square."""
    sum_used: float
    """Worst-case synaptic sum over the port's limit."""
    membrane_used: float
    """Worst-case membrane over the register's limit."""
    limited_by: str
    """What held the scale down, or nothing."""
    input_max: int
    """Largest integer that arrives: 1 for spikes, more for a graded image."""
    neuron_error: float | None = None
    """Of gated neurons: largest rounding error of a share, or of leak, subtraction or threshold
    over the threshold."""

    @property
    def bits(self) -> int:
        """Bits per stored weight (even integers, sign included)."""
        weight = self.layer.weight
        magnitude = int(np.abs(weight).max()) // 2
        return max(1, magnitude.bit_length()) + int(weight.min() < 0 < weight.max())


def quantize(layer: FloatLayer, chip: Chip, ticks: int, signal: Interval = SPIKE,
             fill: float = 1.0) -> Quantized:
    """Integers for one layer; one that was trained in integers keeps its scale.

    Args:
        layer: the float layer.
        chip: its register limits.
        ticks: T, for the bound of the membrane.
        signal: integers that arrive: of spikes, or of an image, whose real range is [-1, 1].
        fill: share of the port and the membrane that the worst case may use.

    Raises:
        UserError: no scale leaves anything of the layer, or the one it was trained with is too
            large.
    """
    largest, input_max = np.abs(layer.weight).max(), signal.high
    trained = layer.scale is not None
    if not largest > 0 or not np.isfinite(layer.weight).all():
        raise UserError(f"{layer.name}: all weights are zero or not finite; train it longer")
    scale, limited_by = layer.scale, ""
    if not trained:
        candidates = WEIGHT_MAX / largest * np.geomspace(1, 4, 41)
        scale = min(candidates, key=lambda s: _error(layer, s, input_max))
    best = scale
    while True:
        quantized = _integers(layer, scale, chip, input_max)
        problem = _misfit(quantized, chip, ticks, signal, fill)
        if problem and trained:
            raise UserError(f"{layer.name}: outgrew its {problem} while trained in integers; start "
                            "finetune-fsvae again with a smaller --fill")
        levels = min(np.abs(quantized.weight).max() // 2, _threshold_levels(quantized))
        if levels < _FEWEST_LEVELS:
            raise UserError(f"{layer.name}: cannot be quantised: {limited_by or 'its threshold'} "
                            f"leaves {levels} levels, expected {_FEWEST_LEVELS} or more")
        if not problem:
            break
        scale, limited_by = scale * _STEP, problem
    error = np.sqrt(np.mean((quantized.weight / scale - layer.weight) ** 2)
                    / np.mean(layer.weight**2))
    limit = _membrane_limit(quantized, chip)
    return Quantized(layer.name, quantized, scale * input_max, best * input_max, float(error),
                     float(fan_in_bound(quantized, signal).max() / chip.activation_max),
                     membrane_bound(quantized, signal, ticks) / limit, limited_by, input_max,
                     layer.gated and _neuron_error(layer.gated, quantized.neuron,
                                                   scale * input_max))


def _threshold_levels(layer: Layer) -> int:
    """Steps of a synaptic sum up to the threshold."""
    if isinstance(layer.neuron, Glif):
        return int(layer.neuron.threshold.min()) // 64
    return layer.neuron.threshold if layer.neuron.spiking else 2**17


def _neuron_error(exact: FloatGlif, got: Glif, scale: float) -> float:
    shares = {"decay": 1 - exact.keep, "reset": exact.reset, "gain": exact.gain}
    errors = [np.abs(getattr(got, name) / 4096 - share).max() for name, share in shares.items()]
    for name in ("leak", "subtract", "threshold"):
        real = getattr(exact, name)
        errors.append((np.abs(getattr(got, name) / (64 * scale) - real) / exact.threshold).max())
    return float(max(errors))


def quantize_first(layer: FloatLayer, chip: Chip, ticks: int, mean_square: float,
                   fill: float = 1.0) -> Quantized:
    """The first layer, with the best choice of the largest graded spike of the image.

    A finer image leaves fewer bits for the weights, as their product must fit the port. The
    choice has the least expected squared error of the synaptic sum.

    Args:
        mean_square: mean of the squared pixels in [-1, 1].
    """
    def expected_error(option: Quantized) -> float:
        return option.weight_error**2 * mean_square + 1 / (12 * option.input_max**2)

    options, problem = [], None
    for input_max in _INPUT_SCALES if layer.scale is None else (layer.input_max,):
        try:
            options.append(quantize(layer, chip, ticks, graded(input_max), fill))
        except UserError as error:
            problem = error
    if not options:
        raise problem
    return min(options, key=expected_error)


def _error(layer: FloatLayer, scale: float, input_max: int) -> float:
    """Mean squared error of the weights; a rounded threshold counts as an error of all."""
    weight = np.clip(2 * np.round(scale * layer.weight / 2), -WEIGHT_MAX, WEIGHT_MAX) / scale
    if layer.threshold is not None and layer.gated is None:
        exact = scale * input_max * layer.threshold
        weight = weight * exact / max(round(exact), 1)
    return float(np.mean((weight - layer.weight) ** 2))


def _integers(layer: FloatLayer, scale: float, chip: Chip, input_max: int) -> Layer:
    weight = np.clip(2 * np.round(scale * layer.weight / 2), -WEIGHT_MAX, WEIGHT_MAX)
    bias = 2 * np.round(scale * input_max * layer.bias / 2)
    arrays = {"weight": weight.astype(np.int32), "bias": bias.astype(np.int32),
              "neuron": _neuron(layer, scale * input_max, chip)}
    if layer.kind == "dense":
        return Dense(**arrays)
    geometry = {"input_shape": layer.input_shape, "stride": layer.stride, "padding": layer.padding}
    if layer.kind == "conv":
        return Conv(**arrays, **geometry)
    return ConvT(**arrays, **geometry, output_padding=layer.output_padding)


def _neuron(layer: FloatLayer, scale: float, chip: Chip) -> Lif | Glif:
    """The neurons' integers; `scale` is the integer of a synaptic sum of 1."""
    if layer.gated is not None:
        v = layer.gated
        membrane = {name: np.round(64 * scale * getattr(v, name)).astype(np.int32)
                    for name in ("threshold", "leak", "subtract")}
        return Glif(**membrane, **v.fractions())
    fires = layer.threshold is not None
    threshold = round(scale * layer.threshold) if fires else chip.threshold_max
    return Lif(4096 - layer.keep_register, threshold, fires)


def _membrane_limit(layer: Layer, chip: Chip) -> int:
    if layer.neuron.spiking:
        return chip.state_max
    return layer.neuron.threshold << chip.activation_shift.value


def _misfit(layer: Layer, chip: Chip, ticks: int, signal: Interval, fill: float) -> str:
    """The register that overflows in the worst case, or nothing."""
    if fan_in_bound(layer, signal).max() > fill * chip.activation_max:
        return f"{chip.activation_bits.value}-bit port"
    if np.abs(layer.bias).max() > chip.bias_max:
        return f"{chip.bias_bits.value}-bit bias"
    if membrane_bound(layer, signal, ticks) > fill * _membrane_limit(layer, chip):
        return f"{chip.state_bits.value}-bit membrane"
    if isinstance(layer.neuron, Lif) and layer.neuron.threshold > chip.threshold_max:
        return f"{chip.threshold_bits.value}-bit threshold"
    return ""
