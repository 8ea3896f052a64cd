"""Settings: precedence, presets, and a clear line for each wrong one."""

from __future__ import annotations

import dataclasses

import pytest

from hw_configs.files import UserError
from train.cli import parse
from train.config import DATASETS, RunConfig, from_dict, load_toml, presets, to_dict, validate


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
