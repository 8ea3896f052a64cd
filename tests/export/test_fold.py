"""Folding tdBN: every block's current in evaluation is weight * s + bias of the folded layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from export.fold import fold
from train.checkpoint import load_model


def test_currents_are_the_models(digits_run):
    model, _, _ = load_model(digits_run / "model.pt")
    blocks = {**{f"encoder.{i}": b for i, b in enumerate(model.encoder)},
              **{f"posterior.{i}": b for i, b in enumerate(model.posterior.layers)},
              **{f"prior.{i}": b for i, b in enumerate(model.prior.layers)},
              **{f"decoder.{i}": b for i, b in enumerate(model.decoder)}}
    layers = fold(model)
    assert [layer.name for layer in layers] == list(blocks)
    generator = torch.Generator().manual_seed(0)
    for layer in layers:
        x = (torch.rand(1, 3, *layer.input_shape, generator=generator) > 0.6).float()
        block = blocks[layer.name]
        with torch.no_grad():
            theirs = block.current(x)[0]
            if block.neuron.norm is not None:
                theirs = block.neuron.norm(theirs[None])[0]
            else:
                theirs = theirs + block.bias[:, None, None]
        weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
        x = x[0].double()
        if layer.kind == "dense":
            ours = F.linear(x, weight, bias)
        elif layer.kind == "conv":
            ours = F.conv2d(x, weight, bias, stride=layer.stride, padding=layer.padding)
        else:
            ours = F.conv_transpose2d(x, weight, bias, stride=layer.stride, padding=layer.padding,
                                      output_padding=layer.output_padding)
        torch.testing.assert_close(theirs.double(), ours, atol=1e-4, rtol=1e-4, msg=layer.name)


def test_decays_and_thresholds(digits_run):
    layers = fold(load_model(digits_run / "model.pt")[0])
    assert {layer.keep_register for layer in layers[:-1]} == {1024}  # 0.25 * 4096, exact
    assert all(layer.threshold == pytest.approx(0.2) for layer in layers[:-1])
    assert layers[-1].threshold is None
    assert layers[-1].keep_register / 4096 == pytest.approx(0.8, abs=1e-3)
    assert np.any(layers[-1].bias)
