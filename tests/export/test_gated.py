"""Gated neurons from trained model to file: effective values, LIF where that is the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from export.cli import export_command
from export.fold import fold
from export.quantize import quantize
from export.translate import translate
from hw_configs import load_chip
from lava_models import Glif, Lif, UserError, read_net
from lava_models.cost.describe import describe
from lava_models.cost.estimates import load_hardware, place
from lava_models.loihi.board import check_for_chip
from train.checkpoint import load_model
from train.config import GlifConfig, GlifVaeConfig
from train.models.fsvae import GlifVae

SMALL = GlifVaeConfig(image_size=8, hidden=(4, 6), latent=6, k=4, bottleneck=(8, 12), ticks=4,
                      threshold=0.5)


def make(config: GlifConfig) -> GlifVae:
    """A model of random neuron parameters with warm statistics."""
    generator = torch.Generator().manual_seed(0)
    model = GlifVae(replace(SMALL, glif=config), generator).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".neuron." in name and ".norm." not in name and parameter.requires_grad:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    model.calibrate(torch.rand(32, 1, 8, 8, generator=generator) * 2 - 1, generator)
    return model.eval()


def _run(layer, x: np.ndarray) -> np.ndarray:
    """Spikes of a dense float layer, plain or gated, for inputs (T, N, in)."""
    v = np.zeros((x.shape[1], len(layer.bias)))
    spikes, s = [], np.zeros_like(v)
    for t, signal in enumerate(x):
        current = signal @ layer.weight.T + layer.bias
        if layer.gated is None:
            v = layer.keep_register / 4096 * v * (1 - s) + current
            s = v > layer.threshold
        else:
            g = layer.gated
            v = g.keep * v * (1 - g.reset * s) - g.leak + g.gain[t] * current - g.subtract * s
            s = v > g.threshold
        spikes.append(s)
    return np.stack(spikes)


@pytest.mark.parametrize("config", [GlifConfig(), GlifConfig(chip_safe=True),
                                    GlifConfig(parameters="lif")], ids=str)
def test_folded_layers_fire_as_the_model(config):
    model = make(config)
    layer = next(la for la in fold(model) if la.name == "posterior.0")
    assert (layer.gated is None) == (config != GlifConfig())
    x = torch.randint(0, 2, (4, 200, 12), generator=torch.Generator().manual_seed(1)).float()
    wanted = model.posterior.layers[0](x).detach().numpy() > 0
    different = (_run(layer, x.numpy()) != wanted).mean()
    assert 0.05 < wanted.mean() < 0.95 and different < 5e-3  # a decay of 12 bits


def test_integers_are_the_effective_values():
    layer = next(la for la in fold(make(GlifConfig())) if la.name == "decoder.0")
    done = quantize(layer, load_chip(), ticks=4)
    got, unit = done.layer.neuron, 64 * done.scale
    assert isinstance(got, Glif) and done.neuron_error < 2e-3
    np.testing.assert_allclose(got.threshold / unit, layer.gated.threshold, rtol=1e-2)
    np.testing.assert_allclose(got.subtract / unit, layer.gated.subtract, atol=1 / unit)
    np.testing.assert_allclose(1 - got.decay / 4096, layer.gated.keep, atol=1 / 8192)
    np.testing.assert_allclose(got.gain / 4096, layer.gated.gain, atol=1 / 8192)


TRAIN = ["--model", "glif", "--dataset", "digits", "--hidden", "8", "16", "16", "--latent", "8",
         "--k", "4", "--ticks", "3", "--bottleneck", "16", "24", "--epochs", "1", "--device",
         "cpu"]


def test_chip_safe_is_a_lif_network():
    """In the file, and up to the last check before a chip's compiler."""
    images = np.random.default_rng(3).uniform(-1, 1, (4, 1, 8, 8))
    net = translate(make(GlifConfig(chip_safe=True)), load_chip(), random_bits=4, images=images,
                    provenance={}).net
    assert {type(layer.neuron) for _, layer in net.named_layers()} == {Lif}
    placed, _, _ = place(describe(net, "generate"), load_hardware())
    check_for_chip(net, "generate", placed)


def test_readout_that_no_neuron_has_is_refused(tmp_path):
    from train.cli import train_command

    train_command([*TRAIN, "--readout", "tanh-per-tick", "--limit-batches", "1", "--run-dir",
                   str(tmp_path / "run")])
    with pytest.raises(UserError, match="no neuron takes a tanh at every tick"):
        export_command([str(tmp_path / "run" / "model.pt")])


def test_whole_command(tmp_path, capsys):
    from train.cli import train_command

    train_command([*TRAIN, "--run-dir", str(tmp_path / "run")])
    model, config, _ = load_model(tmp_path / "run" / "model.pt")
    assert config.loss.distance == "kld" and config.model.threshold == 0.5  # of the preset
    assert export_command([str(tmp_path / "run" / "model.pt"), "--prove", "1", "--images",
                           "8"]) == 0
    said = capsys.readouterr().out
    assert "verdict: equal" in said
    assert "decay per channel" in said and "rounding at most" in said
    net = read_net(tmp_path / "run" / "model.net")
    kinds = {type(layer.neuron) for _, layer in net.named_layers() if layer.neuron.spiking}
    assert kinds == {Glif}
