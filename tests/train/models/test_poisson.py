"""The Poisson VAE: counts, loss, whitening; the exact loss against sampling, KL against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from hw_configs.files import UserError
from train.cli import parse
from train.config import (
    FsvaeConfig,
    PoissonConfig,
    PoissonLoss,
    PoissonVaeConfig,
    RunConfig,
    validate,
)
from train.data import load_images
from train.models.losses import gaussian_kld
from train.models.poisson import PoissonVae, poisson_kld, sample_counts, soft_clamp, window

WINDOWS = ("sigmoid", "linear", "cubic", "quintic", "cosine")
LEVEL = 1e-4


def make(seed: int = 0, **poisson) -> PoissonVae:
    config = PoissonVaeConfig(image_size=8, latent=12, hidden=(4,),
                              poisson=PoissonConfig(**{"log_rate_start": 1.0, **poisson}))
    return PoissonVae(config, torch.Generator().manual_seed(seed))


def images(n: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_rise_from_0_to_1_symmetrically(kind):
    x = torch.linspace(-4, 4, 801)
    y = window(x, kind)
    assert (y.diff() >= 0).all()
    torch.testing.assert_close(y + window(-x, kind), torch.ones_like(y))
    if kind != "sigmoid":  # the compact ones are exact outside
        assert (y[x <= -1] == 0).all() and (y[x >= 1] == 1).all()


@pytest.mark.parametrize("kind", WINDOWS)
def test_soft_counts_become_poisson_counts(kind):
    """Chi-square test of 20 000 counts at a temperature of next to nothing, at the level above."""
    rate = torch.full((20000,), 1.7)
    z = sample_counts(rate, 1e-4, kind, torch.Generator().manual_seed(2)).round()
    seen = np.bincount(z.long().clamp(max=6).numpy(), minlength=7)
    p = stats.poisson.pmf(np.arange(6), 1.7)
    assert stats.chisquare(seen, len(z) * np.append(p, 1 - p.sum())).pvalue > LEVEL


def test_gradient_of_soft_counts_is_that_of_their_mean():
    """d E[z] / d rate = 1 for Poisson counts; a normal interval at the level above."""
    rate = torch.full((40000,), 2.0, requires_grad=True)
    sample_counts(rate, 0.3, "cubic", torch.Generator().manual_seed(3)).sum().backward()
    error = float(rate.grad.std()) / len(rate) ** 0.5
    assert abs(float(rate.grad.mean()) - 1) < stats.norm.isf(LEVEL / 2) * error + 0.02


def test_kl_divergence_is_the_one_between_poisson_distributions():
    log_prior, log_ratio = torch.tensor([-1.0, 0.5]), torch.tensor([[0.7, -1.2]])
    got = poisson_kld(log_prior, log_ratio)[0]
    for i, kl in enumerate(got.tolist()):
        r = math.exp(log_prior[i])
        rate, n = r * math.exp(log_ratio[0, i]), np.arange(60)
        p = stats.poisson.pmf(n, rate)
        wanted = (p * (stats.poisson.logpmf(n, rate) - stats.poisson.logpmf(n, r))).sum()
        assert kl == pytest.approx(wanted, rel=1e-5)


def test_exact_loss_is_the_expectation_of_the_sampled_one():
    model, x, loss = make(estimator="exact").train(), images(64), PoissonLoss()
    generator = torch.Generator().manual_seed(4)
    exact = model.losses(model(x, generator), x, loss)
    model.eval()
    drawn = torch.stack([model.losses(model(x, generator), x, loss).reconstruction
                         for _ in range(2000)])
    error = float(drawn.std()) / len(drawn) ** 0.5
    assert abs(float(drawn.mean() - exact.reconstruction)) < stats.norm.isf(LEVEL / 2) * error
    assert error < 0.01 * float(exact.reconstruction)


def test_loss_is_squared_error_in_0_to_1_plus_beta_kl():
    model, x = make().eval(), images(5)
    output = model(x, torch.Generator().manual_seed(5))
    loss = model.losses(output, x, PoissonLoss(distance_weight=0.5))
    squared = ((output.pixels - (x.flatten(1) + 1) / 2) ** 2).sum(1).mean()
    assert float(loss.total) == pytest.approx(float(squared + 0.5 * loss.distance), rel=1e-5)
    assert float(loss.reconstruction) == pytest.approx(float(4 * squared / 64), rel=1e-5)
    assert (output.latents == output.latents.round()).all()  # true counts in evaluation


def test_temperature_falls_and_beta_rises():
    model = make(anneal=0.5, temperature_start=1.0, temperature_end=0.05, beta_start=1e-4)
    seen = []
    for done in (0.0, 0.25, 0.5, 1.0):
        model.anneal(done)
        seen.append((round(model.temperature, 4), round(model.beta, 5)))
    assert seen == [(1.0, 0.0001), (0.525, 0.50005), (0.05, 1.0), (0.05, 1.0)]


@pytest.mark.parametrize("settings", [{}, {"estimator": "exact"}, {"estimator": "straight-through"},
                                      {"encoder": "conv"}, {"window": "cubic"},
                                      {"distribution": "gaussian"}], ids=str)
def test_every_kind_learns(settings):
    """A hundred steps halve the loss of images that are mixtures of two patterns."""
    generator = torch.Generator().manual_seed(6)
    patterns = torch.rand(2, 1, 8, 8, generator=generator)
    x = torch.einsum("nk,kchw->nchw", torch.rand(64, 2, generator=generator), patterns) * 2 - 1
    model = make(**settings).train()
    optimizer = torch.optim.Adamax(model.parameters(), lr=2e-2)
    losses = []
    for step in range(100):
        model.anneal(step / 100)
        loss = model.losses(model(x, generator), x, PoissonLoss())
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(float(loss.reconstruction))
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


def test_gaussian_kld_is_the_shared_one():
    model, x = make(distribution="gaussian").eval(), images(5)
    mean, log_variance = model.encoder(model.to_pixels(x).unflatten(1, model.shape)).chunk(2, 1)
    loss = model.losses(model(x, torch.Generator().manual_seed(7)), x, PoissonLoss())
    torch.testing.assert_close(loss.distance, gaussian_kld(mean, log_variance).sum(1).mean())


def test_whitened_pixels_are_uncorrelated_with_unit_variance_and_come_back():
    generator = torch.Generator().manual_seed(8)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(4000, 1, 10, 10, generator=generator), 3, 1)
    pictures = (smooth * 255).to(torch.uint8)
    model = make(whiten=True)
    model.look_at(pictures)
    x = pictures.float() / 127.5 - 1
    white = model.to_pixels(x)
    covariance = torch.cov(white.T)
    assert float(covariance.diagonal().mean()) == pytest.approx(1, abs=0.02)
    assert float((covariance - torch.diag(covariance.diagonal())).abs().max()) < 0.35
    torch.testing.assert_close(model.to_image(white), x, atol=2e-3, rtol=0)


def test_soft_clamp():
    x = torch.tensor([-5.0, 9.0, 50.0])
    assert soft_clamp(x, 10.0).tolist() == pytest.approx([-5, 8.687, 10], abs=1e-3)


def test_run_leaves_dictionary_rates_and_numbers(tmp_path):
    from train.cli import train_command

    train_command(["--model", "poisson", "--dataset", "digits", "--epochs", "1", "--latent", "16",
                   "--limit-batches", "3", "--run-dir", str(tmp_path / "run"), "--device", "cpu"])
    assert (tmp_path / "run" / "samples" / "dictionary-0001.png").is_file()
    assert (tmp_path / "run" / "samples" / "rates-0001.png").is_file()
    row = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "validation_silent_units" in row and "validation_counts_per_image" in row


def test_presets_of_the_model_go_over_those_of_the_data_set(tmp_path):
    config = parse(["--dataset", "mnist", "--model", "poisson", "--lr", "1e-3"]).run
    assert (config.model.image_size, config.model.latent) == (28, 512)
    assert (config.optim.optimizer, config.optim.lr, config.optim.clip) == ("adamax", 1e-3, 1000)
    patches = parse(["--dataset", "cifar10", "--model", "poisson"]).run
    assert patches.crops == 4 and patches.model.poisson.whiten and patches.model.image_channels == 1
    (tmp_path / "mine.toml").write_text('[model]\nkind = "poisson"\nlatent = 99\n')
    mine = parse(["--dataset", "mnist", "--config", str(tmp_path / "mine.toml")]).run
    assert (mine.model.kind, mine.model.latent, mine.model.image_size) == ("poisson", 99, 28)
    for each in (config, patches, mine):
        validate(each)


def test_crops_are_squares_of_the_image_at_places_that_stay(tmp_path):
    from PIL import Image

    big = np.arange(400, dtype=np.uint8).reshape(20, 20) % 251
    for i in range(10):
        Image.fromarray(big).save(tmp_path / f"{i}.png")
    config = RunConfig(dataset="folder", data_dir=tmp_path, crops=3,
                       model=FsvaeConfig(image_size=6))
    first = load_images(config, "train")
    assert first.shape == (27, 1, 6, 6) and torch.equal(first, load_images(config, "train"))
    windows = np.lib.stride_tricks.sliding_window_view(big, (6, 6)).reshape(-1, 6, 6)
    for crop in first[:, 0].numpy():
        assert (windows == crop).all((1, 2)).any()
    assert len(first.flatten(1).unique(dim=0)) > 9
    with pytest.raises(UserError, match="holds no square of 32"):
        load_images(RunConfig(dataset="folder", data_dir=tmp_path, crops=1), "train")


@pytest.mark.parametrize("settings, said", [
    ({"temperature_end": 2.0}, "--temperature-end 2.0: expected more than 0"),
    ({"anneal": 1.5}, "--anneal 1.5"),
    ({"distribution": "gaussian", "estimator": "exact"}, "sampled with --distribution gaussian"),
])
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        validate(RunConfig(model=PoissonVaeConfig(poisson=PoissonConfig(**settings)),
                           loss=PoissonLoss()))
