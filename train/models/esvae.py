"""The VAE with rate latents (ESVAE, Zhan et al. 2024), on the FSVAE's encoder and decoder.

    x -> encoder -> s_1..s_T;   r = mean of s over T;   z_t ~ Bernoulli(r), every t;   z -> decoder

A channel's T spikes are the candidates of FSVAE's random pick of 1 of k = T, so that the chip draws
z with the same neuron. Nothing is fed back: all ticks run at once, and a tick is one timestep.

The prior of this module is ESVAE's, r = sigmoid(W n + b) of Gaussian n. It learns beside the
autoencoder, which does not feel it unless the loss says so; no chip runs it. One that a chip runs
is fitted afterwards (train.models.prior) and then takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from train.config import EsvaeConfig, EsvaeLoss, LossConfig
from train.layers.glif import Glif
from train.layers.neuron import Lif
from train.models.losses import Losses, mmd_rbf
from train.models.prior import RatePrior
from train.models.spiking import SpikingVae
from train.parallel import Ranks


@dataclass(frozen=True)
class Output:
    """What a training or evaluation pass gives."""

    image: Tensor
    """(N, C, H, W) in (-1, 1)."""
    rates: Tensor
    """r of the encoder, multiples of 1/T: (N, C)."""
    prior: Tensor
    """r of ESVAE's prior, in (0, 1): (N, C)."""
    latents: Tensor
    """z, (T, N, C)."""


class Esvae(SpikingVae):
    """See the module's docstring; `config` holds every constant."""

    def _build_latents(self, c: EsvaeConfig, lif: Callable[..., Lif | Glif]) -> None:
        self.prior = nn.Linear(c.latent, c.latent)
        self.fitted: RatePrior | None = None

    def draw(self, rates: Tensor, generator: Generator) -> Tensor:
        """z (T, N, C), each 1 with the chance `rates` (N, C); the gradient passes to the rates."""
        ranks = self.ranks if self.training else Ranks()  # one rank evaluates, on its own
        shape = (self.config.ticks, len(rates) * ranks.size, rates.shape[1])
        uniform = torch.rand(shape, generator=generator, device=generator.device)
        uniform = ranks.share(uniform, 1).to(rates.device)
        return (rates > uniform).to(rates.dtype) + (rates - rates.detach())

    def prior_rates(self, count: int, generator: Generator) -> Tensor:
        """r (count, C) of ESVAE's prior, or of the fitted one in evaluation."""
        if self.fitted is not None and not self.training:
            return self.fitted.rates(count, generator).to(self.prior.bias.device)
        ranks = self.ranks if self.training else Ranks()
        noise = torch.randn((count * ranks.size, self.config.latent), generator=generator,
                            device=generator.device)
        noise = ranks.share(noise, 0).to(self.prior.bias.device)
        return torch.sigmoid(self.prior(noise).float())

    def forward(self, image: Tensor, generator: Generator, loss: LossConfig | None = None,
                chance: float = 0.0) -> Output:
        """Reconstruct; the last two arguments are the FSVAE's and do nothing here."""
        rates = self.encode(image).mean(dim=0)
        z = self.draw(rates, generator)
        return Output(self.decode(z), rates, self.prior_rates(len(image), generator), z)

    def losses(self, output: Output, image: Tensor, config: EsvaeLoss) -> Losses:
        """Loss of one batch of images (N, C, H, W); the prior learns whatever the MMD's weight."""
        reconstruction = torch.mean((output.image - image) ** 2)
        distance = mmd_rbf(output.rates.detach(), output.prior)
        total = reconstruction + (distance - distance.detach())
        if config.weight:
            total = total + config.weight * mmd_rbf(output.rates, output.prior.detach())
        return Losses(total, reconstruction, distance)

    @torch.no_grad()
    def generate(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images (count, C, H, W) drawn from the prior, and their latents (T, count, C)."""
        z = self.draw(self.prior_rates(count, generator), generator)
        return self.decode(z), z

    @torch.no_grad()
    def numbers(self, image: Tensor) -> dict[str, float]:
        """How far from a coin flip the rates are (.5 is binary), and channels that never vary."""
        rates = self.encode(image).mean(dim=0)
        return {"rate_spread": float(rates.std(dim=0).mean()),
                "constant_channels": float((rates.std(dim=0) == 0).float().sum())}

    def _rehearse(self, image: Tensor, generator: Generator) -> None:
        self.decode(self.draw(self.encode(image).mean(dim=0), generator))
