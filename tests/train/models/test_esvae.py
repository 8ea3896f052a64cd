"""Rate latents: the law of the draw, gradients, what the loss leaves alone, and that it learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from scipy import stats

from train.activity import fan_out, recording, synops
from train.config import EsvaeConfig, EsvaeLoss
from train.models.esvae import Esvae
from train.models.losses import mmd_rbf

SMALL = EsvaeConfig(image_size=16, hidden=(4, 8), latent=6, ticks=4, readout_keep=1.0,
                    surrogate="triangle", surrogate_center="threshold")


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _warm(config=SMALL):
    model = Esvae(config, _generator()).train()
    image = torch.rand(8, 1, 16, 16, generator=_generator(9)) * 2 - 1
    model.calibrate(image, _generator(1))
    return model, image


def test_shapes_and_parts():
    model, image = _warm()
    out = model.eval()(image, _generator())
    assert out.image.shape == image.shape and out.latents.shape == (4, 8, 6)
    assert out.rates.shape == out.prior.shape == (8, 6)
    assert torch.equal(out.rates * 4, (out.rates * 4).round()), "multiples of 1/T"
    assert 0 < out.rates.mean() < 1
    assert [name for name, _ in model.named_layers()] == [
        "encoder.0", "encoder.1", "encoder.2", "decoder.0", "decoder.1", "decoder.2", "decoder.3"]
    images, z = model.generate(3, _generator())
    assert images.shape == (3, 1, 16, 16) and z.shape == (4, 3, 6)


def test_law_of_the_draw():
    """Each z is 1 with the channel's rate, ticks and channels independent; level .001 in all."""
    config = dataclasses.replace(SMALL, latent=9, ticks=8)
    model = Esvae(config, _generator()).eval()
    rates = (torch.arange(9) / 8).expand(20_000, 9)
    z = model.draw(rates, _generator(3))
    counts = z.sum(dim=0)
    assert counts[:, 0].max() == 0 and counts[:, 8].min() == 8, "0 and 1 are certain"
    level = 0.001 / 8
    for channel in range(1, 8):
        seen = torch.bincount(counts[:, channel].long(), minlength=9).numpy()
        expected = 20_000 * stats.binom.pmf(range(9), 8, channel / 8)
        keep = expected >= 5
        pooled = [*seen[keep], seen[~keep].sum() + 1e-9]
        against = [*expected[keep], expected[~keep].sum() + 1e-9]
        assert stats.chisquare(pooled, against).pvalue > level, channel
    a, b = z[0, :, 4], z[1, :, 4]  # two ticks of a channel: independent given its rate
    table = [[float(((a == i) & (b == j)).sum()) for j in (0, 1)] for i in (0, 1)]
    assert stats.chi2_contingency(table).pvalue > level


def test_gradient_passes_straight_to_the_rates():
    model, _ = _warm()
    rates = torch.full((2, 6), 0.5, requires_grad=True)
    z = model.draw(rates, _generator())
    weight = torch.randn(z.shape, generator=_generator(5))
    (z * weight).sum().backward()
    assert torch.allclose(rates.grad, weight.sum(dim=0))
    assert set(z.detach().unique().tolist()) == {0.0, 1.0}


def test_encoder_does_not_feel_the_prior_unless_asked():
    model, image = _warm()

    def gradients(weight):
        model.zero_grad()
        out = model(image, _generator(2))
        model.losses(out, image, EsvaeLoss(distance_weight=weight)).total.backward()
        return (model.encoder[0].synapse.weight.grad.clone(), model.prior.weight.grad.clone())

    alone, prior = gradients(None)
    pulled, same = gradients(1.0)
    assert prior.abs().sum() > 0 and torch.equal(prior, same)
    assert not torch.equal(alone, pulled)
    out = model(image, _generator(2))
    loss = model.losses(out, image, EsvaeLoss())
    assert loss.total == loss.reconstruction


def test_mmd_knows_equal_from_different():
    a, b = torch.rand(200, 5, generator=_generator(1)), torch.rand(200, 5, generator=_generator(2))
    assert mmd_rbf(a, a).abs() < 1e-6
    assert mmd_rbf(a, b) < 0.1 * mmd_rbf(a, (b > 0.5).float())


@pytest.mark.parametrize("ticks", [2, 8])
def test_learns(ticks):
    model, image = _warm(dataclasses.replace(SMALL, ticks=ticks, readout_init=0.1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    errors = []
    for step in range(60):
        loss = model.losses(model(image, _generator(step)), image, EsvaeLoss())
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        errors.append(float(loss.reconstruction))
    assert sum(errors[-5:]) < 0.8 * sum(errors[:5])


def test_synops_of_its_layers():
    """A spike of the encoder's output is a candidate at every tick; z reaches all of decoder.0."""
    model, image = _warm()
    table = fan_out(model)
    assert table["encoder.2", "selection"].tolist() == [4.0] * 6
    assert table["selection", "decoder.0"].tolist() == [float(8 * 4 * 4)] * 6
    with recording(model.eval()) as activity, torch.no_grad():
        out = model(image, _generator())
    assert float(activity.spikes["selection"].sum()) == float(out.latents.sum())
    both = synops(activity, table)
    assert 0 < float(synops(activity, table, "encoder")) < float(both)
