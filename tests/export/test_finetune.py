"""finetune-fsvae: the exported network is the trained one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from export.cli import export_command
from export.finetune import finetune_command
from export.fold import fold
from export.translate import SEEN, translate
from hw_configs import load_chip
from lava_models import UserError, read_net
from train.checkpoint import load, load_model, save, sha256_of
from train.data import to_float
from train.models.ann import AnnVae


@pytest.fixture(scope="module")
def tuned(digits_run, tmp_path_factory):
    """Run folder of a model fine-tuned for a few steps."""
    folder = tmp_path_factory.mktemp("tuned")
    shutil.copy(digits_run / "model.pt", folder / "model.pt")
    finetune_command([str(folder / "model.pt"), "--epochs", "2", "--limit-batches", "3"])
    return folder / "integer"


def test_exports_the_integers_it_was_trained_with(tuned, capsys):
    assert export_command([str(tuned / "model.pt"), "--prove", "1", "--images", "32"]) == 0
    assert "verdict: equal" in capsys.readouterr().out
    model, config, _ = load_model(tuned / "model.pt")
    assert config.model.arithmetic == "integer" and config.start_from.name == "model.pt"
    net = read_net(tuned / "model.net")
    layers = dict(net.named_layers())
    for part, blocks in (("encoder", model.encoder), ("posterior", model.posterior.layers),
                         ("prior", model.prior.layers), ("decoder", model.decoder)):
        for i, block in enumerate(blocks):
            bias = None if block.neuron.norm is not None else block.bias
            weight, bias = block.neuron.integers(block.weight, bias, block.out_axis)
            layer = layers[f"{part}.{i}"]
            assert np.array_equal(weight.detach().numpy(), layer.weight)
            assert np.array_equal(bias.detach().numpy(), layer.bias)


def test_weights_moved_and_statistics_did_not(tuned):
    before, after = (load(p)["model"] for p in (tuned.parent / "model.pt", tuned / "model.pt"))
    for name, value in before.items():
        if name.endswith(("running_mean", "running_var")):
            assert np.array_equal(value, after[name]), name
    assert not np.array_equal(before["decoder.1.synapse.weight"], after["decoder.1.synapse.weight"])


def test_resumes_to_the_same_weights(tuned, tmp_path):
    from train.trainer import Trainer

    model, config, _ = load_model(tuned / "model.pt")
    cut = tmp_path / "cut"
    from export.finetune import set_scales

    source = load_model(tuned.parent / "model.pt")[0]
    trainer = Trainer(config, cut, prepare=lambda m: set_scales(m, source, 0.9, 0.5))
    trainer.run(until=lambda epoch, step: step == 2)
    Trainer(config, cut, resume=True).run()
    whole = tmp_path / "whole"
    Trainer(config, whole, prepare=lambda m: set_scales(m, source, 0.9, 0.5)).run()
    a, b = (load(p / "checkpoints" / "last.pt")["model"] for p in (cut, whole))
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_resumes_with_its_own_settings(tuned, tmp_path):
    """Flags need not be said again; others are refused by name."""
    shutil.copytree(tuned.parent, tmp_path / "run")
    model, cut = tmp_path / "run" / "model.pt", tmp_path / "run" / "integer"
    finetune_command([str(model), "--limit-batches", "3", "--lr", "0.001", "--force"])
    finetune_command([str(model), "--resume", "--epochs", "3"])
    config = load_model(cut / "model.pt")[1]
    state = load(cut / "checkpoints" / "last.pt")
    assert (state["epoch"], config.optim.limit_batches, config.optim.lr) == (3, 3, 0.001)
    assert state["provenance"]["start_from_sha256"] == sha256_of(model)
    for flags, said in ((["--lr", "0.002"], "--lr 0.001, not 0.002"),
                        (["--fill", "0.9"], "--fill 0.9: the scales are chosen when a run begins"),
                        (["--seed", "8"], "--seed 3, not 8")):
        with pytest.raises(UserError, match=said):
            finetune_command([str(model), "--resume", *flags])


def test_nothing_is_chosen_by_test_images(digits_run, tmp_path, monkeypatch):
    """The scales come of the training images that an export sees: the same integers."""
    import train.data

    real = train.data.load_images

    def no_test_set(config, split, limit=None):
        assert split == "train"
        return real(config, split, limit)

    for module in ("train.data", "train.trainer", "export.translate"):
        monkeypatch.setattr(f"{module}.load_images", no_test_set)
    model = shutil.copy(digits_run / "model.pt", tmp_path / "model.pt")
    finetune_command([str(model), "--epochs", "1", "--limit-batches", "1", "--fill", "1"])
    float_model, config, _ = load_model(model)
    seen = to_float(real(config, "train", SEEN)).numpy()
    wanted = translate(float_model, load_chip(), random_bits=4, images=seen, provenance={})
    tuned = load_model(tmp_path / "integer" / "model.pt")[0]
    for q, (name, block) in zip(wanted.layers, tuned.named_layers()):
        assert q.name == name and float(block.neuron.input_max) == q.input_max
        assert float(block.neuron.weight_scale) == pytest.approx(q.scale / q.input_max)


def test_outgrown_layer_is_refused(tuned, tmp_path):
    """A trained scale is never changed on the way to the file."""
    state = load(tuned / "model.pt")
    state["model"]["decoder.0.neuron.norm.beta"] += 1e4
    save(tmp_path / "model.pt", {k: v for k, v in state.items()
                                 if k not in ("format", "format_version")})
    with pytest.raises(UserError, match="decoder.0: outgrew its .* --fill"):
        export_command([str(tmp_path / "model.pt")])
    assert not (tmp_path / "model.net").exists()
    assert fold(load_model(tuned / "model.pt")[0])[0].scale > 0


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.pt"], "nowhere.pt: no such file"),
    (["TUNED"], "was trained in integers already"),
    (["FLOAT", "--fill", "0"], "--fill 0.0: expected more than 0"),
    (["FLOAT"], "already holds a run"),
])
def test_bad_input(tuned, arguments, message):
    known = {"TUNED": str(tuned / "model.pt"), "FLOAT": str(tuned.parent / "model.pt")}
    with pytest.raises(UserError, match=message):
        finetune_command([known.get(a, a) for a in arguments])


def test_integers_need_their_scales(tmp_path):
    """train-fsvae alone cannot start with integers."""
    from train.cli import train_command

    with pytest.raises(UserError, match="--arithmetic integer: .* finetune-fsvae"):
        train_command(["--arithmetic", "integer", "--run-dir", str(tmp_path / "run")])


def test_ann_is_refused(tmp_path):
    from train.cli import train_command

    train_command(["--dataset", "digits", "--model", "ann", "--run-dir", str(tmp_path / "ann"),
                   "--hidden", "8", "16", "--latent", "8", "--epochs", "1", "--limit-batches",
                   "2"])
    model = tmp_path / "ann" / "model.pt"
    assert isinstance(load_model(model)[0], AnnVae)
    with pytest.raises(UserError, match="--model ann"):
        finetune_command([str(model)])
    with pytest.raises(UserError, match="--model ann"):
        export_command([str(model)])
