"""The VAE without spikes that the FSVAE authors compare with: same convolutions, Gaussian latent.

Batch normalisation and LeakyReLU where the FSVAE has tdBN and LIF; trained with the same optimiser
and settings. Nothing here goes to a chip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from train.config import AnnConfig, AnnLoss, LossConfig
from train.models.base import Model
from train.models.losses import Losses, gaussian_kld
from train.models.resample import down_block, up_block


@dataclass(frozen=True)
class Output:
    """What a training or evaluation pass gives."""

    image: Tensor
    """(N, C, H, W) in (-1, 1)."""
    mean: Tensor
    """(N, latent)."""
    log_variance: Tensor
    """(N, latent)."""


class AnnVae(Model):
    """Images -> mean and variance -> z ~ N -> images, all in one step.

    Args:
        config: its layers.
        generator: draws the initial weights.
    """

    def _build(self, c: AnnConfig) -> None:
        side = c.image_size >> len(c.hidden)
        self.bottom = (c.hidden[-1], side, side)
        flat = c.hidden[-1] * side * side
        widths = (c.image_channels, *c.hidden)
        self.encoder = nn.Sequential(*(down_block(i, o) for i, o in zip(widths, widths[1:])))
        self.mean = nn.Linear(flat, c.latent)
        self.log_variance = nn.Linear(flat, c.latent)
        self.decoder_input = nn.Linear(c.latent, flat)
        up = (*c.hidden[::-1], c.hidden[0])
        self.decoder = nn.Sequential(
            *(up_block(i, o) for i, o in zip(up, up[1:])),
            nn.ConvTranspose2d(up[-1], c.image_channels, 3, padding=1))

    def decode(self, z: Tensor) -> Tensor:
        """Images (N, C, H, W) of latents (N, latent)."""
        x = self.decoder(self.decoder_input(z).unflatten(1, self.bottom))
        return torch.tanh(x.float())

    def forward(self, image: Tensor, generator: Generator, loss: LossConfig | None = None,
                chance: float = 0.0) -> Output:
        """Reconstruct; the last two arguments are the FSVAE's and do nothing here."""
        flat = self.encoder(image).flatten(1)
        # Under autocast the layers give bfloat16; what follows them is float32, as in the FSVAE.
        mean, log_variance = self.mean(flat).float(), self.log_variance(flat).float()
        z = mean + self._noise(len(image), generator) * (log_variance / 2).exp()
        return Output(self.decode(z), mean, log_variance)

    def losses(self, output: Output, image: Tensor, config: AnnLoss) -> Losses:
        """Loss of one batch of images (N, C, H, W)."""
        distance = gaussian_kld(output.mean, output.log_variance).sum(dim=1).mean()
        reconstruction = F.mse_loss(output.image, image)
        return Losses(reconstruction + config.weight * distance, reconstruction, distance)

    @torch.no_grad()
    def generate(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images (count, C, H, W) drawn from the prior, and their latents (count, latent)."""
        z = self._noise(count, generator)
        return self.decode(z), z

    def _noise(self, count: int, generator: Generator) -> Tensor:
        noise = torch.randn(count, self.config.latent, generator=generator,
                            device=generator.device)
        return noise.to(self.mean.bias.device)
