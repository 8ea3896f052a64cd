"""The file is the model: its own blocks in integers, layer by layer, on the reference's spikes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from export.cli import export_command
from export.prove import DeploymentError
from export.translate import default_random_bits, translate
from export.twin import compare_twin, make_twin
from hw_configs import load_chip
from lava_models.net.netfile import MODES
from train.checkpoint import load_model
from train.config import (
    EsvaeConfig,
    GlifConfig,
    GlifVaeConfig,
    PoissonConfig,
    PoissonVaeConfig,
)
from train.data import load_images, to_float
from train.models.esvae import Esvae
from train.models.fsvae import GlifVae
from train.models.poisson import PoissonVae
from train.models.prior import fit

SAMPLES = 3


@pytest.fixture(scope="module")
def exported(digits_run):
    model, config, _ = load_model(digits_run / "model.pt")
    images = to_float(load_images(config, "test", 16)).numpy()
    done = translate(model, load_chip(), random_bits=default_random_bits(config.model),
                     images=images, provenance={})
    return make_twin(model, done, images), done.net, images


@pytest.mark.parametrize("mode", MODES)
def test_every_layer_is_the_model_s(exported, mode):
    twin, net, images = exported
    found = compare_twin(twin, net, mode, images, SAMPLES, 1)
    before = ("encoder", "posterior") if mode == "reconstruct" else ("prior",)
    assert [layer.name for layer in found.layers] == [
        name for name, _ in net.named_layers(*before, "decoder")]
    assert found.equal and str(found).startswith("equal: ")
    assert all(layer.spikes for layer in found.layers)


def _changed(net, name, **fields):
    part, index = name.split(".")
    layers = list(getattr(net, part))
    layers[int(index)] = dataclasses.replace(layers[int(index)], **fields)
    return dataclasses.replace(net, **{part: tuple(layers)})


@pytest.mark.parametrize(("name", "what"), [
    ("encoder.1", "flipped kernel"), ("decoder.1", "flipped kernel"), ("posterior.0", "bias"),
    ("decoder.0", "threshold"), ("encoder.0", "decay"), ("decoder.4", "flipped kernel")])
def test_a_wrong_translation_is_named(exported, name, what):
    """The layer that is wrong is the one that differs: each gets the inputs the reference had."""
    twin, net, images = exported
    layer = dict(net.named_layers())[name]
    wrong = _changed(net, name, **{
        "flipped kernel": {"weight": layer.weight[..., ::-1].copy()},
        "bias": {"bias": layer.bias + 64},
        "threshold": {"neuron": dataclasses.replace(
            layer.neuron, threshold=layer.neuron.threshold * 3 // 4)},
        "decay": {"neuron": dataclasses.replace(layer.neuron, decay=2048)}}[what])
    found = compare_twin(twin, wrong, "reconstruct", images, SAMPLES, 1)
    assert not found.equal
    assert [layer.name for layer in found.layers if layer.differing] == [name]
    assert str(found).startswith(f"NOT equal: {name} (")


# --- models without integers of their own -------------------------------------------------------


def _images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(4)) * 2 - 1


def _twin_and_net(model, random_bits: int):
    images = _images(200).numpy()
    done = translate(model, load_chip(), random_bits=random_bits, images=images, provenance={})
    return make_twin(model, done, images), done.net, images


def gated_model(lag: int = 1, **gates) -> GlifVae:
    """A model of random gates with warm statistics."""
    generator = torch.Generator().manual_seed(0)
    config = GlifVaeConfig(image_size=8, hidden=(4, 6), latent=6, k=4, bottleneck=(8, 12), ticks=4,
                           lag=lag, threshold=0.5, glif=GlifConfig(**gates))
    model = GlifVae(config, generator).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".neuron." in name and ".norm." not in name and parameter.requires_grad:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    model.calibrate(_images(32), generator)
    return model.eval()


GATES = [{}, {"chip_safe": True}, {"parameters": "lif"}, {"gates": "hard"}]


@pytest.mark.parametrize("lag", [1, 2])
@pytest.mark.parametrize("gates", GATES, ids=str)
def test_gated_layers_are_the_model_s(gates, lag):
    twin, net, images = _twin_and_net(gated_model(lag, **gates), 4)
    for mode in MODES:
        found = compare_twin(twin, net, mode, images, 20, 1)
        assert found.equal, str(found)
        assert len(found.layers) == len(net.decoder) + (
            len(net.prior) if mode == "generate" else len(net.encoder) + len(net.posterior))
        if mode == "reconstruct" or gates == {}:  # a random prior of hard gates may never fire
            assert sum(layer.spikes > 0 for layer in found.layers) > len(found.layers) / 2


@pytest.mark.parametrize("part", ["encoder", "posterior", "decoder"])
@pytest.mark.parametrize("field", ["decay", "threshold", "reset", "leak", "subtract", "gain",
                                   "bias", "weight"])
def test_a_wrong_gate_is_named(field, part):
    twin, net, images = _twin_and_net(gated_model(), 4)
    name, layer = f"{part}.0", getattr(net, part)[0]
    if field in ("bias", "weight"):
        value = getattr(layer, field)
        wrong = {field: value + 64 if field == "bias" else value[::-1].copy()}
    else:
        value = getattr(layer.neuron, field)
        wrong = {"neuron": dataclasses.replace(layer.neuron, **{
            field: (value * 3 // 4).astype(np.int32)})}
    found = compare_twin(twin, _changed(net, name, **wrong), "reconstruct", images, 60, 1)
    assert [la.name for la in found.layers if la.differing] == [name]


def poisson_model(**settings) -> PoissonVae:
    """A model of random weights with warm statistics."""
    generator = torch.Generator().manual_seed(0)
    config = PoissonVaeConfig(image_size=8, latent=12, hidden=(4, 6), ticks=4,
                              poisson=PoissonConfig(log_rate_start=-1.0, **settings))
    model = PoissonVae(config, generator)
    model.look_at(((_images(300) + 1) * 127.5).byte())
    model.train()(_images(300), generator)
    return model.eval()


@pytest.mark.parametrize("settings", [{}, {"whiten": True}, {"encoder": "conv"},
                                      {"encoder": "conv", "whiten": True}], ids=str)
def test_steps_of_a_poisson_vae_are_the_model_s(settings):
    twin, net, images = _twin_and_net(poisson_model(**settings), 12)
    for mode, first in (("reconstruct", "host"), ("generate", "prior")):
        found = compare_twin(twin, net, mode, images, 20, 1)
        assert found.equal, str(found)
        assert [la.name for la in found.layers] == [first, "decoder.0", "offset"]
        assert all(la.spikes for la in found.layers)


@pytest.mark.parametrize(("step", "mode"), [("host", "reconstruct"), ("prior", "generate"),
                                            ("decoder.0", "generate"), ("offset", "generate")])
def test_a_wrong_step_of_a_poisson_vae_is_named(step, mode):
    twin, net, images = _twin_and_net(poisson_model(encoder="conv"), 12)
    poisson, layer = net.poisson, net.decoder[0]
    host = poisson.encoder[0]
    wrong = {
        "host": {"poisson": dataclasses.replace(poisson, encoder=(dataclasses.replace(
            host, weight=host.weight[..., ::-1].copy()), *poisson.encoder[1:]))},
        "prior": {"poisson": dataclasses.replace(poisson, prior=poisson.prior[::-1].copy())},
        "decoder.0": {"decoder": (dataclasses.replace(layer, weight=layer.weight[::-1].copy()),)},
        "offset": {"output_offset": net.output_offset + np.float32(0.01)}}[step]
    found = compare_twin(twin, dataclasses.replace(net, **wrong), mode, images, 20, 1)
    assert [la.name for la in found.layers if la.differing] == [step]


@pytest.fixture(scope="module")
def rates():
    """A model with rate latents and a prior fitted to random codes."""
    generator = torch.Generator().manual_seed(0)
    config = EsvaeConfig(image_size=8, hidden=(4, 6), latent=6, ticks=4)
    model = Esvae(config, generator).train()
    model.calibrate(_images(32), generator)
    codes = (torch.rand(400, 6, generator=generator) < torch.linspace(0.2, 0.8, 6)).float()
    model.fitted = fit(codes, codes[:50], 2, 3, 50, generator, "0" * 64)
    return _twin_and_net(model.eval(), 4)


def test_stages_of_a_fitted_prior_are_the_model_s(rates):
    twin, net, images = rates
    for mode in net.modes:
        found = compare_twin(twin, net, mode, images, 20, 1)
        assert found.equal, str(found)
        names = [la.name for la in found.layers]
        assert names[0] == ("prior.0" if mode == "generate" else "encoder.0")
        assert ("selection" in names) == (mode == "generate") and names[-1] == "decoder.3"
    assert net.modes == ("reconstruct", "generate")


@pytest.mark.parametrize(("stage", "name"), [
    (0, "prior.0"), (2, "prior.2"), (4, "selection")])
def test_a_wrong_stage_of_a_fitted_prior_is_named(rates, stage, name):
    twin, net, images = rates
    weight = net.prior[stage].weight
    wrong = _changed(net, f"prior.{stage}", weight=weight[::-1].copy())
    found = compare_twin(twin, wrong, "generate", images, 60, 1)
    assert [la.name for la in found.layers if la.differing] == [name]


# --- what the command makes of it ---------------------------------------------------------------


@pytest.mark.parametrize("accept", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_error_that_grows_too_much_is_refused(digits_run, tmp_path, monkeypatch, capsys, accept):
    monkeypatch.setattr("export.prove.deployment_error",
                        lambda *_: DeploymentError(0.1, 0.2, images=16, draws=1))
    out = tmp_path / "model.net"
    code = export_command([str(digits_run / "model.pt"), "--prove", "1", "--images", "16", "--out",
                           str(out), *(["--accept-error"] if accept else [])])
    said = " ".join(capsys.readouterr().out.split())
    assert (code, out.exists()) == ((0, True) if accept else (1, False))
    assert ("grows by 100%, expected at most 25%" in said) is not accept


def test_a_file_that_is_not_the_model_is_refused(digits_run, tmp_path, monkeypatch, capsys):
    from export import fold

    original = fold._scaled
    monkeypatch.setattr(fold, "_scaled", lambda layer, gain, bias: original(
        layer, gain, 0.9 * bias))  # a fold that loses a part of the bias
    out = tmp_path / "model.net"
    assert export_command([str(digits_run / "model.pt"), "--prove", "1", "--images", "16",
                           "--accept-error", "--out", str(out)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "the model in integers, layer by layer" in said and "NOT equal: encoder.0" in said
    assert not out.exists()
