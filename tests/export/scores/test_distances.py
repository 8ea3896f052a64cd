"""Fréchet distances against the published protocol; FID and Inception Score through stand-ins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from export.scores.autoencoder import Autoencoder, load_autoencoder, train_autoencoder_command
from export.scores.distances import Frechet, Gaussian, Inception, frechet_distance
from hw_configs.files import UserError
from train.config import RunConfig
from train.data import load_images, to_float
from train.settings import load_toml, presets


def _noise(count: int, seed: int, size: int = 16) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_distance_is_the_papers_formula():
    """Against scipy's root of the matrix product, and zero for a set against itself."""
    rng = np.random.default_rng(0)
    a, b = (Gaussian.of(torch.from_numpy(rng.normal(size=(200, 8)) @ rng.normal(size=(8, 8))))
            for _ in range(2))
    root = linalg.sqrtm(a.covariance @ b.covariance).real
    direct = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(direct, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    shifted = Gaussian(a.mean + 3, a.covariance)
    assert frechet_distance(a, shifted) == pytest.approx(8 * 9)


def test_scoring_leaves_the_autoencoder_as_it_was():
    autoencoder = Autoencoder.for_images(1, 16).train()
    before = {k: v.clone() for k, v in autoencoder.state_dict().items()}
    Frechet(autoencoder, _noise(300, 0)).score(_noise(300, 1))
    assert all(torch.equal(v, before[k]) for k, v in autoencoder.state_dict().items())
    assert autoencoder.training


def test_as_published(shared_data):
    """The authors' autoencoder and statistics: 4.59 for real training digits (train mode)."""
    config = load_toml(presets()["mnist"].read_text(), "mnist", RunConfig(data_dir=shared_data))
    autoencoder = load_autoencoder(shared_data / "fad" / "mnist_64.pth")
    assert sum(p.numel() for p in autoencoder.parameters()) == 918305
    test = to_float(load_images(config, "test"))
    published = np.load(shared_data / "fad" / "mnist_test_64.npz")
    ours = Gaussian.of(autoencoder.features(test, batch_statistics=True))
    assert np.abs(ours.mean - published["mu"]).max() < 1e-5
    assert frechet_distance(ours, Gaussian(published["mu"].astype(float), published["sigma"])) < (
        1e-6)
    with torch.no_grad():
        assert torch.mean((autoencoder(test[:1000]) - test[:1000]) ** 2) < 0.003
    real = to_float(load_images(config, "train", 5120))
    score = Frechet(autoencoder, test).score(real)
    assert score.train_bn == pytest.approx(4.59, abs=0.01)
    assert score.eval_bn == pytest.approx(5.00, abs=0.01)
    assert score.images == 5120


def test_own_autoencoder(tmp_path, capsys):
    """Trained on digits it separates digits from noise, loads, and resumes where it was cut."""
    out = tmp_path / "encoder.pth"
    options = ["--dataset", "digits", "--out", str(out), "--batch-size", "32"]
    train_autoencoder_command([*options, "--steps", "60"])
    assert "digits" in capsys.readouterr().out
    config = load_toml(presets()["digits"].read_text(), "digits", RunConfig())
    test, train = (to_float(load_images(config, split)) for split in ("test", "train"))
    frechet = Frechet(load_autoencoder(out), test)
    assert frechet.score(train).eval_bn < 0.2 * frechet.score(_noise(512, 0)).eval_bn
    with pytest.raises(UserError, match="is there already"):
        train_autoencoder_command([*options, "--steps", "60"])


def test_own_autoencoder_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr("export.scores.autoencoder.STEPS_PER_SAVE", 3)
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    options = ["--dataset", "digits", "--batch-size", "16", "--steps", "7"]
    train_autoencoder_command([*options, "--out", str(whole)])

    seen = []
    step = torch.optim.AdamW.step

    def stops(self, *args):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder_command([*options, "--out", str(cut)])
    assert not cut.exists()
    train_autoencoder_command([*options, "--out", str(cut), "--resume"])
    a, b = (torch.load(f, weights_only=True) for f in (whole, cut))
    assert all(torch.equal(a[k], b[k]) for k in a)


class _Pooled(torch.nn.Module):
    """A stand-in for Inception: mean colours of four quarters, uint8 in."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x.float() / 255, 2).flatten(1)


def test_inception_scores():
    real, fake = _noise(512, 0), _noise(512, 1)
    inception = Inception(_Pooled(), _Pooled(), real)
    near, far = inception.score(fake), inception.score(fake.clamp(min=0))
    assert near.fid < 0.01 < far.fid
    assert 1 <= near.inception_score < 2 and near.images == 512
    assert inception.score(fake) == near  # the reference stays, nothing is random


@pytest.mark.parametrize(("content", "message"), [
    (None, "no such file; FID and Inception Score need"),
    (b"junk", "not torch-fidelity's Inception v3 weights"),
])
def test_inception_without_weights(tmp_path, content, message):
    path = tmp_path / "inception.pth"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Inception.from_weights(path, _noise(4, 0))


@pytest.mark.parametrize("content", [None, b"junk", {"a": 1}, {"latent_layer.bias": [1]}])
def test_no_autoencoder(tmp_path, content):
    path = tmp_path / "ae.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    with pytest.raises(UserError, match="no such file" if content is None else (
            "damaged PyTorch" if isinstance(content, bytes) else "not an autoenc")):
        load_autoencoder(path)


def test_images_must_fit():
    with pytest.raises(UserError, match=r"takes images of \(1, 32, 32\), these are \(1, 16, 16\)"):
        Frechet(Autoencoder.for_images(1, 32), _noise(8, 0))
    with pytest.raises(UserError, match="multiple of 16"):
        Autoencoder.for_images(1, 24)
