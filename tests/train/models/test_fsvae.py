"""The model: the paper's table of shapes and sizes, sampling, lag, and gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from train.config import FsvaeConfig, RunConfig, SpikingLoss
from train.models.fsvae import FSVAE
from train.settings import load_toml, presets

SMALL = FsvaeConfig(image_size=16, hidden=(4, 8), latent=6, k=4, bottleneck=(8, 12), ticks=5)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _warm(config=SMALL, seed=0):
    model = FSVAE(config, _generator(seed)).train()
    image = torch.rand(8, config.image_channels, config.image_size, config.image_size,
                       generator=_generator(9)) * 2 - 1
    model.calibrate(image, _generator(1))
    return model, image


@pytest.mark.parametrize(("preset", "total", "flat"), [
    ("mnist", 4053601, 1024), ("fashion-mnist", 4053601, 1024), ("cifar10", 4054755, 1024),
    ("celeba", 6681571, 2048)])
def test_parameter_counts(preset, total, flat):
    """The paper's totals, less the biases that tdBN cancels (one per normalised channel)."""
    c = load_toml(presets()[preset].read_text(), preset, RunConfig()).model
    model = FSVAE(c, _generator())
    cancelled = (sum(c.hidden) + c.latent + 2 * (sum(c.bottleneck) + c.latent * c.k)
                 + flat + sum(c.hidden[:-1]) + c.hidden[0])
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count == total - cancelled


def test_layer_shapes_of_the_paper():
    model = FSVAE(FsvaeConfig(), _generator()).eval()
    shapes = []
    for part in (model.encoder, model.posterior.layers, model.prior.layers, model.decoder):
        for block in part:
            block.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    first = model.encoder[0].current(torch.zeros(1, 2, 1, 32, 32))
    assert first.shape == (1, 2, 32, 16, 16)
    with torch.no_grad():
        out = model(torch.zeros(2, 1, 32, 32), _generator())
    assert out.posterior.shape == out.prior.shape == (16, 2, 2560)
    assert out.latents.shape == (16, 2, 128)
    assert [s[1:] for s in shapes if len(s) == 4] == [
        (64, 8, 8), (128, 4, 4), (256, 2, 2),
        (128, 4, 4), (64, 8, 8), (32, 16, 16), (32, 32, 32)]
    assert out.image.shape == (2, 1, 32, 32)


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_sampling_equals_the_prefix_definition(lag):
    """One stateful pass gives what rerunning the whole prefix per tick gives (the O(T^2) code)."""
    import dataclasses

    model, image = _warm(dataclasses.replace(SMALL, lag=lag))
    model.eval()
    with torch.no_grad():
        features = model.encode(image)
        choice = model.draw(len(image), _generator(4))
        zeta, z = model.sample_posterior(features, choice)
        drawn = []
        for t in range(SMALL.ticks):
            fed = [torch.zeros_like(z[0])] * lag + drawn
            again = model.posterior(torch.stack(fed[:t + 1]), features[:t + 1])
            drawn.append(model.pick(again[t], choice[t]))
            assert torch.equal(again[t], zeta[t])
    assert torch.equal(torch.stack(drawn), z)
    assert 0.02 < z.mean() < 0.9


def test_pick_takes_bit_r_of_each_channel():
    model = FSVAE(SMALL, _generator())
    zeta = torch.arange(24.0)[None]  # 6 channels x 4 candidates
    choice = torch.tensor([[0, 1, 2, 3, 0, 1]])
    assert model.pick(zeta, choice).tolist() == [[0, 5, 10, 15, 16, 21]]


def test_same_generator_same_latents():
    model, image = _warm()
    model.eval()
    with torch.no_grad():
        a, b = model(image, _generator(5)), model(image, _generator(5))
        other = model(image, _generator(6))
    assert torch.equal(a.latents, b.latents)
    assert not torch.equal(a.latents, other.latents)


@pytest.mark.parametrize("posterior", ["one_pass", "two_pass"])
def test_gradient_reaches_everything(posterior):
    """Every weight gets a gradient from image and distance; the prior none from the image."""
    import dataclasses

    model, image = _warm(dataclasses.replace(SMALL, posterior=posterior))
    out = model(image, _generator(), SpikingLoss(), 0.3)
    out.image.square().mean().backward(retain_graph=True)
    assert all(p.grad is None for p in model.prior.parameters())
    for part in (model.encoder, model.posterior, model.decoder):
        for name, p in part.named_parameters():
            if p.requires_grad and "decay" not in name:
                assert p.grad is not None and p.grad.abs().sum() > 0, name
    out.prior.mean().backward()
    assert all(p.grad is not None for n, p in model.prior.named_parameters()
               if p.requires_grad and "decay" not in n)


def test_scheduled_sampling_changes_only_late_inputs():
    model, image = _warm()
    fed = torch.zeros(SMALL.ticks, 8, SMALL.latent)
    loss = SpikingLoss(scheduled_sampling="code", scheduled_first_tick=3)
    changed = model._schedule(fed, loss, 1.0, _generator())
    assert torch.equal(changed[:3], fed[:3])
    assert changed[3:].sum() > 0
    assert set(changed.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(model._schedule(fed, loss, 0.0, _generator()), fed)


def test_fresh_model_is_silent_until_calibrated():
    """Why calibrate exists: before it, evaluation mode gives a constant image."""
    model = FSVAE(SMALL, _generator()).eval()
    image = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        assert model(image, _generator()).posterior.sum() == 0
    model.train().calibrate(image, _generator())
    with torch.no_grad():
        assert 0.05 < model.eval()(image, _generator()).posterior.mean() < 0.6


def test_readout_is_the_leaky_sum():
    from train.layers.blocks import Readout

    model, _ = _warm()
    readout: Readout = model.decoder[-1]
    spikes = (torch.rand(5, 2, 4, 16, 16) > 0.7).float()
    with torch.no_grad():
        u = 0
        keep = readout.neuron.keep_register / 4096
        for t in range(5):
            current = readout.synapse2d(spikes[t], readout.weight)
            u = keep * u + current + readout.bias[:, None, None]
        torch.testing.assert_close(readout(spikes), u, atol=1e-5, rtol=1e-5)
    assert keep == pytest.approx(0.8, abs=1e-3)


def test_gradient_to_all_candidates():
    """What is picked is the same; the gradient goes to one candidate, or a k-th to each."""
    zeta = (torch.rand(5, 3, 24, generator=_generator()) < 0.5).float()
    grads = {}
    for how in ("picked", "mean"):
        model = FSVAE(dataclasses.replace(SMALL, latent_gradient=how), _generator())
        choice = model.draw(3, _generator(2))
        x = zeta.clone().requires_grad_()
        z = model.pick(x, choice)
        assert torch.equal(z, FSVAE(SMALL, _generator()).pick(zeta, choice))
        (z * torch.arange(1.0, 7.0)).sum().backward()
        grads[how] = x.grad.unflatten(-1, (6, 4))
    assert torch.equal(grads["picked"].sum(-1), torch.arange(1.0, 7.0).expand(5, 3, 6))
    assert torch.equal(grads["mean"], (torch.arange(1.0, 7.0) / 4)[:, None].expand(5, 3, 6, 4))


def test_readout_may_start_small():
    model, small = (FSVAE(dataclasses.replace(SMALL, readout_init=s), _generator())
                    for s in (1.0, 0.1))
    for (name, a), b in zip(model.named_parameters(), small.parameters()):
        scale = 0.1 if name == "decoder.3.synapse.weight" else 1.0
        torch.testing.assert_close(b, scale * a)
