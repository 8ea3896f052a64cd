"""The Poisson VAE from the trained model to the file: rates, units kept, error after deployment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.cli import export_command
from export.poisson import units_kept
from export.prove import deployment_error
from export.translate import translate
from hw_configs import load_chip
from lava_models import UserError, read_net
from lava_models.reference.host_encoder import host_rates
from train.checkpoint import load_model
from train.config import PoissonConfig, PoissonVaeConfig
from train.data import load_images, to_float
from train.models.poisson import PoissonVae


def make(**settings) -> PoissonVae:
    config = PoissonVaeConfig(image_size=8, latent=12, hidden=(4, 6), ticks=4,
                         poisson=PoissonConfig(log_rate_start=-1.0, **settings))
    return PoissonVae(config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("settings", [{}, {"whiten": True}, {"encoder": "conv"},
                                      {"encoder": "conv", "whiten": True}], ids=str)
def test_rates_of_the_host_are_the_model_s(settings):
    model = make(**settings)
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (300, 1, 8, 8), generator=generator, dtype=torch.uint8)
    model.look_at(pictures)
    images = pictures.float() / 127.5 - 1
    model.train()(images, generator)  # warm statistics
    model.eval()
    net = translate(model, load_chip(), random_bits=12, images=images.numpy(),
                    provenance={}).net
    with torch.no_grad():
        x = model.to_pixels(images)
        rates = model.rates(model.log_ratio(x)).numpy()
        kept = units_kept(2 * model.decoder.weight.double().numpy() if not settings.get("whiten")
                          else 2 * torch.linalg.solve(model.whiten, model.decoder.weight).numpy(),
                          rates.astype(float))
        np.testing.assert_allclose(host_rates(net, images.numpy()), rates[:, kept], rtol=2e-4,
                                   atol=1e-6)
        # Counts at their mean: the image of the file is the model's, up to the weights' rounding.
        mean = torch.zeros(1, 12).double()
        mean[:, kept] = torch.from_numpy(rates[:1, kept]).double()
        rest = np.setdiff1d(np.arange(12), kept)
        mean[:, rest] = torch.from_numpy(rates[:, rest].mean(0)).double()
        wanted = model.to_image(model.decoder(mean.float())).numpy()
    got = rates[0, kept] @ net.decoder[0].weight.T * 64 / net.output_scale + net.output_offset
    np.testing.assert_allclose(got.clip(-1, 1).reshape(wanted.shape), wanted, atol=0.05)


def test_units_that_never_change_are_left_out():
    rng = np.random.default_rng(2)
    rates = rng.uniform(0, 1, (100, 4))
    rates[:, 1] = 7.0
    weight = rng.standard_normal((64, 4))
    weight[:, 3] *= 1e-3
    assert units_kept(weight, rates).tolist() == [0, 2]


def test_gaussian_latents_are_refused():
    with pytest.raises(UserError, match="Gaussian latents are not spikes"):
        translate(make(distribution="gaussian"), load_chip(), random_bits=12,
                  images=np.zeros((2, 1, 8, 8), np.float32), provenance={})


def test_whole_command_and_error_within_2_percent(tmp_path, capsys):
    from train.cli import train_command

    train_command(["--model", "poisson", "--dataset", "digits", "--epochs", "40", "--latent", "64",
                   "--run-dir", str(tmp_path / "run"), "--device", "cpu"])
    assert export_command([str(tmp_path / "run" / "model.pt"), "--prove", "2", "--images",
                           "297"]) == 0
    said = capsys.readouterr().out
    assert "verdict: equal" in said and "run on the host" in said
    net = read_net(tmp_path / "run" / "model.net")
    assert not net.loops and 10 < net.latent <= 64
    # Twenty draws of every test image, so that the mean moves by about half a percent. Better than
    # the float model by a few percent, as units that never change add no noise any more.
    model, config, _ = load_model(tmp_path / "run" / "model.pt")
    images = to_float(load_images(config, "test")).numpy()
    error = deployment_error(model, net, images, 0, 20, lambda: None)
    assert -0.1 < error.change < 0.02
