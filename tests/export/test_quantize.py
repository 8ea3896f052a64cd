"""Quantisation: even, bounded, and refused when nothing of a layer is left."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.fold import FloatLayer
from export.quantize import quantize, quantize_first
from hw_configs import load_chip
from lava_models import UserError
from lava_models.net.layers import SPIKE, Interval, fan_in_bound, graded, membrane_bound

CHIP = load_chip()


def _layer(weight, bias=None, threshold=0.2, keep=1024, **more):
    weight = np.asarray(weight, float)
    bias = np.zeros(len(weight)) if bias is None else np.asarray(bias, float)
    return FloatLayer("prior.0", "dense", weight, bias, threshold, keep, weight.shape[1:], **more)


def _signal(input_max: int) -> Interval:
    return graded(input_max) if input_max > 1 else SPIKE


def _quantized(seed: int, inputs: int, spread: float, bias: float, input_max: int):
    """Nine neurons with normal weights and biases of these standard deviations, quantised."""
    rng = np.random.default_rng(seed)
    layer = _layer(rng.normal(0, spread, (9, inputs)), rng.normal(0, bias, 9))
    return quantize(layer, CHIP, 16, _signal(input_max))


def _fits(q, input_max: int) -> None:
    assert not (q.layer.weight % 2).any() and not (q.layer.bias % 2).any()
    assert np.abs(q.layer.weight).max() <= 254
    assert np.abs(q.layer.bias).max() <= CHIP.bias_max
    assert fan_in_bound(q.layer, _signal(input_max)).max() <= CHIP.activation_max
    assert membrane_bound(q.layer, _signal(input_max), 16) <= CHIP.state_max
    assert 1 <= q.layer.neuron.threshold <= CHIP.threshold_max


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 3000), (31, 120), (127, 25)]), st.data())
@settings(max_examples=60, deadline=None)
def test_everything_fits(seed, input_max_and_most, data):
    """What ten levels of every weight and threshold leave room for is never refused: the port takes
    32 767 of 20 * input_max * (sum of weights / largest), bias and threshold 4 094 and 131 071 of
    20 * input_max / largest times theirs. So few inputs keep that sum well below it: some .8 / 2.8
    of their number."""
    input_max, most = input_max_and_most
    spread = data.draw(st.floats(0.02, 0.1))
    bias = spread * data.draw(st.floats(0, 25 / input_max))
    _fits(_quantized(seed, data.draw(st.integers(1, most)), spread, bias, input_max), input_max)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.floats(1e-3, 0.3), st.floats(0, 2),
       st.sampled_from([1, 31, 127]))
@settings(max_examples=60, deadline=None)
def test_nothing_overflows(seed, inputs, spread, bias, input_max):
    """Of layers most of which have no scale: refused or within every register."""
    try:
        q = _quantized(seed, inputs, spread, bias, input_max)
    except UserError as error:
        assert "cannot be quantised" in str(error)
    else:
        _fits(q, input_max)


def test_integers_follow_the_scale():
    rng = np.random.default_rng(0)
    layer = _layer(rng.normal(0, 0.05, (20, 50)), rng.normal(0, 0.1, 20))
    q = quantize(layer, CHIP, 16)
    inside = np.abs(layer.weight * q.scale) < 254
    assert np.abs(q.layer.weight / q.scale - layer.weight)[inside].max() <= 1.01 / q.scale
    assert np.abs(q.layer.bias / q.scale - layer.bias).max() <= 1.01 / q.scale
    assert abs(q.layer.neuron.threshold / q.scale - 0.2) <= 0.51 / q.scale
    assert q.weight_error < 0.02
    assert q.limited_by == "" and q.scale == q.best_scale


def test_wide_layer_is_scaled_down_to_the_port():
    layer = _layer(np.full((4, 2000), 0.1) * np.random.default_rng(0).choice([-1, 1, 1], (4, 2000)))
    q = quantize(layer, CHIP, 16)
    assert q.limited_by == "16-bit port"
    assert q.scale < q.best_scale
    assert 0.9 < q.sum_used <= 1


def test_large_bias_is_the_limit():
    q = quantize(_layer(np.eye(4) * 0.3 - 0.1, [9, -9, 0, 0]), CHIP, 16)
    assert q.limited_by == "13-bit bias"


def test_outlier_is_clipped_for_the_sake_of_the_rest():
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.01, (50, 400))
    weight[0, 0] = 0.2  # 20 sigma
    q = quantize(_layer(weight), CHIP, 16)
    assert q.layer.weight[0, 0] == 254
    assert q.scale > 254 / 0.2


def test_readout_keeps_below_its_threshold():
    layer = dataclasses.replace(_layer(np.full((1, 9), 0.5), [3.0]), threshold=None,
                                keep_register=3277)
    q = quantize(layer, CHIP, 16)
    assert not q.layer.neuron.spiking
    assert membrane_bound(q.layer, SPIKE, 16) <= CHIP.threshold_max << 6


@pytest.mark.parametrize(("weight", "message"), [
    (np.zeros((2, 3)), "prior.0: all weights are zero"),
    (np.array([[np.nan, 1.0]]), "prior.0: all weights are zero or not finite"),
])
def test_dead_layer_is_refused(weight, message):
    with pytest.raises(UserError, match=message):
        quantize(_layer(weight), CHIP, 16)


def test_layer_with_nothing_left_is_refused():
    """A bias 5 000 times the weights: at the scale the bias allows, the weights vanish."""
    with pytest.raises(UserError, match="prior.0: cannot be quantised: .* leaves 7 levels"):
        quantize(_layer(np.eye(4) * 0.01 - 0.003, [200, 0, 0, 0], threshold=20.0), CHIP, 16)


def test_first_layer_shares_the_port_between_image_and_weights():
    rng = np.random.default_rng(0)
    layer = _layer(rng.normal(0, 0.3, (16, 9)), rng.normal(0, 0.2, 16))
    q = quantize_first(layer, CHIP, 16, mean_square=0.8)
    input_max = q.input_max
    assert fan_in_bound(q.layer, _signal(input_max)).max() <= CHIP.activation_max
    assert input_max >= 16
    assert abs(q.layer.neuron.threshold / q.scale - 0.2) < 0.01
