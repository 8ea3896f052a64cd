"""The file is the model: its own blocks in integers, layer by layer, on the reference's spikes."""

from __future__ import annotations

import dataclasses

import pytest

from export.cli import export_command
from export.prove import DeploymentError
from export.translate import default_random_bits, translate
from export.twin import compare_twin, has_twin, integer_twin
from hw_configs import load_chip
from lava_models.net.netfile import MODES
from train.checkpoint import load_model
from train.data import load_images, to_float

SAMPLES = 3


@pytest.fixture(scope="module")
def exported(digits_run):
    model, config, _ = load_model(digits_run / "model.pt")
    images = to_float(load_images(config, "test", 16)).numpy()
    done = translate(model, load_chip(), random_bits=default_random_bits(config.model),
                     images=images, provenance={})
    return integer_twin(model, done.layers), done.net, images


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


def test_gated_neurons_have_no_twin():
    from train.config import GlifVaeConfig, PoissonVaeConfig
    from train.models.build import build_model

    small = {"hidden": (8, 16, 16), "latent": 8, "k": 4, "ticks": 4, "bottleneck": (8, 8),
             "image_size": 8}
    assert not has_twin(build_model(GlifVaeConfig(**small)))
    assert not has_twin(build_model(PoissonVaeConfig()))


@pytest.mark.parametrize("accept", [False, True])
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
