"""All backends on a CUDA card, for `make gpu-check`; skipped where there is none."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from train.config import FsvaeConfig
from train.models.fsvae import FSVAE

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card")
CONFIG = FsvaeConfig(image_size=8, hidden=(4, 6), latent=6, k=4, bottleneck=(8, 12), ticks=6,
                     surrogate="exponential", surrogate_center="threshold", surrogate_width=0.5,
                     reset_gradient="ignore")


def _step(neurons: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Posterior, prior and latents, and the gradients of a step on the card."""
    model = FSVAE(dataclasses.replace(CONFIG, neurons=neurons), torch.Generator().manual_seed(0))
    model.to("cuda").choose_neurons(torch.device("cuda"))
    generator = torch.Generator().manual_seed(1)
    image = (torch.rand(5, 1, 8, 8, generator=generator) * 2 - 1).cuda()
    model.train().calibrate(image, generator)
    output = model(image, generator)
    (output.image.square().mean() + output.prior.mean() + output.posterior.mean()).backward()
    spikes = torch.cat([output.posterior, output.prior, output.latents], dim=-1)
    return spikes, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("neurons", ["triton", "slayer"])
def test_as_the_operators(neurons):
    """Spikes but for what a last bit decides (a card fuses products into sums), and gradients."""
    spikes, gradients = _step(neurons)
    expected, others = _step("operators")
    assert (spikes != expected).float().mean() < 1e-3
    for name, grad in gradients.items():
        most = float(others[name].abs().max())
        torch.testing.assert_close(grad, others[name], rtol=2e-2, atol=2e-2 * most, msg=name)
