"""From a trained network with rate latents to its file, scored and fine-tuned."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from export.cli import export_command
from export.finetune import finetune_command
from export.scores.score import score_command
from hw_configs.files import UserError
from lava_models import ChipBits, Reference, encode_images, read_net
from train.checkpoint import load_model
from train.cli import train_command
from train.data import load_images, to_float
from train.fit_prior import fit_prior_command


@pytest.fixture(scope="module")
def rate_run(tmp_path_factory):
    """Run folder of a very small one, trained for a few steps on scikit-learn's digits."""
    run = tmp_path_factory.mktemp("rate") / "run"
    train_command(["--model", "esvae", "--dataset", "digits", "--run-dir", str(run), "--hidden",
                   "8", "16", "--latent", "8", "--ticks", "4", "--epochs", "3", "--seed", "3",
                   "--device", "cpu"])
    return run


def test_export_is_proven_and_like_the_float_model(rate_run):
    assert export_command([str(rate_run / "model.pt"), "--images", "64", "--prove", "3"]) == 0
    net = read_net(rate_run / "model.net")
    assert (net.modes, net.lag, net.k, net.ticks) == (("reconstruct",), 0, 4, 4)
    assert not net.selection.worst_error, "T = 4: exact"
    model, config, _ = load_model(rate_run / "model.pt")
    images = to_float(load_images(config, "test", 100))
    with torch.no_grad():
        rates = model.encode(images).mean(dim=0).numpy()
    spikes = Reference(net, "reconstruct").run_samples(
        ChipBits.of(net, "reconstruct", 0), 0, 100, encode_images(net, images.numpy())).spikes
    chip = spikes["encoder.2"].mean(axis=1)
    assert np.abs(chip - rates).mean() < 0.1, "8-bit weights move few spikes"
    assert np.abs(spikes["selection"].mean(axis=1) - chip).mean() > 0, "z is drawn anew"


def test_scores_and_integers(rate_run, capsys):
    """Three forms; the file has no prior yet, so it is not scored on what it cannot do."""
    export_command([str(rate_run / "model.pt"), "--images", "64", "--prove", "1"])
    out = rate_run / "scores"
    assert score_command([str(rate_run / "model.pt"), "--samples", "64", "--images", "64",
                          "--out", str(out)]) == 0
    rows = json.loads((out / "scores.json").read_text())["rows"]
    assert [(r["form"], r["kind"]) for r in rows] == [
        ("float", "esvae"), ("integers", "esvae"), ("chip", "esvae")]
    errors = [r["reconstruction"] for r in rows]
    assert max(errors) < 1.1 * min(errors)
    assert list(rows[2]["cost"]) == ["reconstruct"] and rows[2]["cost"]["reconstruct"]["cores"] > 0
    assert rows[2]["cost"]["reconstruct"]["timesteps"] == 4


def test_finetuned_integers_are_the_file_s(rate_run):
    """Encoder spikes of the model trained in integers equal the reference's, one by one."""
    assert finetune_command([str(rate_run / "model.pt"), "--epochs", "1", "--force"]) == 0
    path = rate_run / "integer" / "model.pt"
    assert export_command([str(path), "--images", "64", "--prove", "1"]) == 0
    net, (model, config, _) = read_net(path.with_name("model.net")), load_model(path)
    images = to_float(load_images(config, "test", 20))
    with torch.no_grad():
        mine = model.encode(images).bool().permute(1, 0, 2).numpy()
    spikes = Reference(net, "reconstruct").run_samples(
        ChipBits.of(net, "reconstruct", 0), 0, 20, encode_images(net, images.numpy())).spikes
    assert np.array_equal(spikes["encoder.2"], mine) and mine.any()


def test_with_a_prior_it_generates(rate_run, tmp_path):
    """The file takes the fitted prior along; float model and chip draw codes of the same law."""
    (tmp_path / "model.pt").write_bytes((rate_run / "model.pt").read_bytes())
    assert fit_prior_command([str(tmp_path / "model.pt"), "--groups", "4"]) == 0
    assert export_command([str(tmp_path / "model.pt"), "--images", "64", "--prove", "2"]) == 0
    net, (model, _, _) = read_net(tmp_path / "model.net"), load_model(tmp_path / "model.pt")
    assert net.modes == ("reconstruct", "generate") and len(net.prior) == 6
    count = 1500
    z = Reference(net, "generate").run_samples(
        ChipBits.of(net, "generate", 1), 0, count).spikes["selection"]
    assert (z == z[:, :1]).all(), "a drawn code is 0 or 1 at all ticks"
    drawn = model.fitted.rates(count, torch.Generator().manual_seed(1)).numpy()
    spread = 4.5 * np.sqrt(2 * 0.25 / count)
    assert np.abs(z[:, 0].mean(axis=0) - drawn.mean(axis=0)).max() < spread
    both = np.abs(np.corrcoef(z[:, 0].T) - np.corrcoef(drawn.T))
    assert np.nanmax(both) < 0.2
    (tmp_path / "model.pt").write_bytes((tmp_path / "model.pt").read_bytes() + b" ")
    with pytest.raises(UserError, match="prior.pt: was fitted to another model.pt"):
        load_model(tmp_path / "model.pt")
