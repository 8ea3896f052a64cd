"""Settings: precedence, presets, and a clear line for each wrong one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hw_configs.files import UserError
from train.cli import parse
from train.config import DATASETS, KINDS, GlifVaeConfig, RunConfig, validate
from train.models.fsvae import GlifVae, Output
from train.models.losses import kld
from train.settings import flags_of, from_dict, load_toml, presets, run_of, to_dict


def test_there_is_a_preset_for_every_data_set():
    assert set(presets()) >= set(DATASETS)


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_go_through_the_real_command_line(name):
    config = parse(["--preset", name]).run
    validate(config)
    assert from_dict(to_dict(config), "x") == config


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "celeba"])
def test_constants_of_the_paper(name):
    c = parse(["--dataset", name]).run
    assert (c.model.ticks, c.model.latent, c.model.k) == (16, 128, 20)
    assert (c.optim.lr, c.optim.batch_size, c.optim.epochs, c.optim.weight_decay) == (
        1e-3, 250, 150, 1e-3)
    assert (c.model.keep, c.model.threshold, c.model.readout_keep) == (0.25, 0.2, 0.8)
    assert (c.loss.distance, c.loss.synapse_time) == ("mmd", 2.0)


def test_flags_win_over_file_over_preset(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("[model]\nlatent = 10\nticks = 4\n[optim]\nlr = 1\n")
    c = parse(["--dataset", "mnist", "--config", str(file), "--ticks", "2"]).run
    assert (c.model.ticks, c.model.latent, c.model.k, c.optim.lr) == (2, 10, 20, 1.0)


@pytest.mark.parametrize(("text", "message"), [
    ("ticks = 3", r"unknown setting 'ticks'"),
    ("[model]\nlatnet = 3", r"unknown setting 'model.latnet' \(did you mean 'latent'\?\)"),
    ("[model]\nticks = 'many'", "model.ticks = 'many', expected int"),
    ("[model]\nsurrogate = 'step'", "expected one of rectangle, triangle, exponential"),
    ("[model]\nhidden = 3", "model.hidden = 3"),
    ("[model", "not valid TOML"),
])
def test_bad_file(tmp_path, text, message):
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        parse(["--config", str(file)])
    assert "my.toml" in str(error.value)


@pytest.mark.parametrize(("group", "change", "message"), [
    ("model", {"image_size": 20}, r"--image-size 20: expected a multiple of 16"),
    ("model", {"k": 1}, "--k 1: expected 2 to 64"),
    ("model", {"lag": 3}, "--lag 3: expected 1, 2 or 4"),
    ("model", {"threshold": 0.21}, "--state-scale 80: expected a scale at which"),
    ("model", {"keep": 1.0}, "--keep 1.0"),
    ("model", {"image_channels": 2}, "--image-channels 2: expected 1 or 3"),
    ("optim", {"batch_size": 0}, "--batch-size 0: expected at least 1"),
    ("optim", {"lr": 0.0}, "--lr 0.0: expected a positive number"),
])
def test_settings_that_do_not_fit(group, change, message):
    base = RunConfig()
    config = dataclasses.replace(
        base, **{group: dataclasses.replace(getattr(base, group), **change)})
    with pytest.raises(UserError, match=message):
        validate(config)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown data set 'mnits' \(did you mean 'mnist'\?\)"):
        parse(["--dataset", "mnits"])
    with pytest.raises(UserError, match=r"unknown preset 'cifar' \(did you mean 'cifar10'\?\)"):
        parse(["--preset", "cifar"])


def test_unknown_option_exits_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(["--epoch", "3"])
    assert exit_.value.code != 0
    assert "--epochs" in capsys.readouterr().err


def test_missing_config_file():
    with pytest.raises(UserError, match="no such file; --config takes a TOML file"):
        parse(["--config", "nowhere.toml"])


def test_load_toml_keeps_the_rest():
    assert load_toml("seed = 3", "x", RunConfig(dataset="mnist")) == RunConfig(
        dataset="mnist", seed=3)


OLD = """
dataset = "digits"
[model]
kind = "{kind}"
ticks = 3
latent = 7
k = 5
threshold = 0.21
surrogate_center = "zero"
state_scale = 100
arithmetic = "float"
[model.glif]
gates = "hard"
[model.poisson]
estimator = "exact"
[loss]
distance = "mmd"
distance_weight = 0.5
synop_weight = 0.0
scheduled_sampling = "paper"
[optim]
epochs = 9
"""
"""Before each model had settings of its own, a run stored those of all."""


@pytest.mark.parametrize("kind", KINDS)
def test_what_older_releases_stored_still_loads(tmp_path, kind):
    (tmp_path / "config.toml").write_text(OLD.format(kind=kind))
    resumed = parse(["--run-dir", str(tmp_path), "--resume"])
    config = resumed.run
    validate(config)
    assert resumed.model == config.model.kind == kind
    assert (config.model.latent, config.loss.weight, config.optim.epochs) == (7, 0.5, 9)
    assert config.model.ticks == (1 if kind == "ann" else 3)
    assert config.model.k == {"fsvae": 5, "glif": 5, "esvae": 3}.get(kind, 0)
    if kind == "glif":
        assert config.model.glif.gates == "hard"
    if kind == "poisson":
        assert config.model.poisson.estimator == "exact"
    stored = to_dict(config)
    assert from_dict(stored, "x") == config
    assert ("poisson" in stored["model"]) == (kind == "poisson")
    with pytest.raises(UserError, match="unknown setting 'model.latnet'"):
        from_dict({"model": {"latnet": 1}}, "x")


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_of_another_model_is_refused_by_name(kind):
    for other in KINDS:
        for flag in flags_of(other) - flags_of(kind):
            with pytest.raises(UserError, match=f"^{flag}: is no setting of --model {kind}; it "):
                parse(["--model", kind, flag, "1"])


@pytest.mark.parametrize(("arguments", "owners"), [
    (["--model", "poisson", "--keep", ".5"], "fsvae and esvae and glif"),
    (["--model", "poisson", "--arithmetic", "integer"], "fsvae and esvae"),
    (["--model", "ann", "--arithmetic=integer"], "fsvae and esvae"),
    (["--model", "ann", "--ticks", "4"], "fsvae and esvae and glif and poisson"),
    (["--model", "glif", "--surrogate_center", "zero"], "fsvae and esvae"),
    (["--model", "esvae", "--lag", "4"], "fsvae and glif"),
    (["--chip-safe"], "glif"),
])
def test_refusal_names_the_models_that_have_it(arguments, owners):
    with pytest.raises(UserError, match=f"it belongs to --model {owners}$"):
        parse(arguments)


def test_file_with_a_setting_of_another_model(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('[model]\nkind = "poisson"\nkeep = 0.5\n')
    with pytest.raises(UserError, match="my.toml: 'model.keep' is no setting of --model poisson; "
                                        "it belongs to --model fsvae and esvae and glif$"):
        parse(["--config", str(file)])
    assert parse(["--config", str(file), "--model", "glif"]).run.model.keep == 0.5
    file.write_text('[model.glif]\nchip_safe = true\n')
    with pytest.raises(UserError, match="'model.glif' is no setting of --model fsvae; it belongs"):
        parse(["--config", str(file)])
    file.write_text('model = 3\n')
    with pytest.raises(UserError, match="model = 3, expected a section"):
        parse(["--config", str(file)])
    file.write_text('[model]\nkind = "fsave"\n')
    with pytest.raises(UserError, match="model.kind = 'fsave', expected one of fsvae, esvae"):
        parse(["--config", str(file)])


def test_help_shows_the_model_s_own_settings(capsys):
    for kind in KINDS:
        with pytest.raises(SystemExit):
            parse(["--model", kind, "--help"])
        shown = capsys.readouterr().out
        for flag in set.union(*map(flags_of, KINDS)):
            assert (f" {flag} " in shown.replace("\n", " ")) == (flag in flags_of(kind)), flag


def test_default_weights_are_the_models_own():
    weights = {kind: run_of(kind).loss.weight for kind in KINDS}
    assert weights == {"fsvae": 1.0, "esvae": 0.0, "glif": 1.0, "poisson": 1.0, "ann": 1 / 240}
    loss = dataclasses.replace(run_of("fsvae").loss, distance="kld")
    assert loss.weight == 1e-4
    assert dataclasses.replace(loss, distance_weight=0.0).weight == 0.0


def test_kl_weight_of_the_glif_preset_is_the_published_one():
    """Their loss, squared error on [0, 1] + 6e-3 KL, is a quarter of ours of the same images."""
    model = GlifVae(GlifVaeConfig(image_size=8, hidden=(4, 4), latent=3, k=4, bottleneck=(4, 4)),
                    torch.Generator().manual_seed(0))
    image, drawn = torch.rand(2, 5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    posterior, prior = torch.randint(2, (2, 5, 5, 12)).float()
    rates = (z.unflatten(-1, (3, 4)).mean(-1) for z in (posterior, prior))
    published = (drawn - image).square().mean() + 6e-3 * kld(*rates)
    for dataset in ("celeba", "mnist"):
        loss = parse(["--model", "glif", "--dataset", dataset]).run.loss
        ours = model.losses(Output(2 * drawn - 1, posterior, prior, prior), 2 * image - 1, loss)
        assert float(ours.total) == pytest.approx(4 * float(published), rel=1e-5)


def test_resume_keeps_the_model(tmp_path):
    (tmp_path / "config.toml").write_text('[model]\nkind = "ann"\n')
    with pytest.raises(UserError, match="--model glif: .*config.toml is of --model ann"):
        parse(["--run-dir", str(tmp_path), "--resume", "--model", "glif"])


def test_loss_of_another_model():
    with pytest.raises(TypeError, match="--model ann takes AnnLoss, not SpikingLoss"):
        RunConfig(model=run_of("ann").model)
