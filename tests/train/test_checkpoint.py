"""model.pt: refused in one line when it is not one, above all when it could run code."""

from __future__ import annotations

import pickle

import pytest
import torch

from hw_configs.files import UserError
from train.checkpoint import load, load_model, save


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_missing(tmp_path):
    with pytest.raises(UserError, match=r"no.pt: no such file; train-fsvae writes"):
        load(tmp_path / "no.pt")


def test_text_file(tmp_path):
    (tmp_path / "model.pt").write_text("hello")
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        load(tmp_path / "model.pt")


def test_bare_pickle(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        load(tmp_path / "model.pt")


def test_code_in_a_checkpoint_is_refused_unexecuted(tmp_path, capsys):
    torch.save({"format": "fsvae-checkpoint", "config": _Evil()}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="holds more than tensors and plain values"):
        load(tmp_path / "model.pt")
    assert "executed" not in capsys.readouterr().out


def test_truncated(tmp_path, digits_run):
    data = (digits_run / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="not a PyTorch checkpoint|damaged"):
        load(tmp_path / "model.pt")


def test_foreign_checkpoint(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="a PyTorch file, but not a model.pt of train-fsvae"):
        load(tmp_path / "model.pt")


def test_missing_entry(tmp_path):
    save(tmp_path / "model.pt", {"config": {}, "model": {}})
    with pytest.raises(UserError, match="'epoch' is missing"):
        load(tmp_path / "model.pt")


def test_weights_that_do_not_fit(tmp_path, digits_run):
    state = load(digits_run / "model.pt")
    state["config"]["model"]["latent"] = 16
    save(tmp_path / "model.pt", state)
    with pytest.raises(UserError, match="weights do not fit the config: size mismatch"):
        load_model(tmp_path / "model.pt")


def test_weights_that_are_not_finite(tmp_path, digits_run):
    state = load(digits_run / "model.pt")
    state["model"]["encoder.0.synapse.weight"][0] = float("inf")
    save(tmp_path / "model.pt", state)
    with pytest.raises(UserError, match="is not finite; the training diverged"):
        load_model(tmp_path / "model.pt")


def test_settings_of_all_models_as_older_releases_stored_them(tmp_path, digits_run):
    """Foreign ones say nothing: model and config are those of the file without them."""
    state = load(digits_run / "model.pt")
    state["config"]["model"] |= {"glif": {"gates": "hard"}, "poisson": {"anneal": 0.1}}
    save(tmp_path / "model.pt", state)
    model, config, _ = load_model(tmp_path / "model.pt")
    _, now, _ = load_model(digits_run / "model.pt")
    assert config == now
    assert model.config == config.model
