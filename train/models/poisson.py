"""The Poisson VAE (Vafaii et al., NeurIPS 2024): latents are spike counts.

    r = exp(rho)                       prior rates, learned
    lambda = r * delta, log delta = encoder(x)
    z ~ Poisson(lambda);   x^ = Phi z
    KL = sum r (1 - delta + delta log delta)

Squared errors are sums over pixels in [0, 1] (or of whitened ones), so that loss = squared error +
beta * KL is the authors' negative ELBO at beta = 1. With `distribution` "gaussian" the same shape
with Gaussian latents, to compare with. Images in and out are (N, C, H, W) in [-1, 1] as everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from torch import Generator, Tensor, nn

from train.config import LossConfig, PoissonLoss, PoissonVaeConfig
from train.models.base import Model
from train.models.losses import Losses, gaussian_kld
from train.models.resample import down_block

LOG_RATIO_MAX, RATE_MIN = 10.0, 1.2e-7
"""Soft upper bound of log delta; added to lambda."""
ARRIVALS_MISSED = 1e-5
"""Chance that the largest rate of a batch has more events than are drawn."""
SILENT_NATS = 0.01
"""A unit whose KL divergence is below this on average tells the decoder nothing: silent."""


def soft_clamp(x: Tensor, most: float) -> Tensor:
    """About min(x, most), with a gradient everywhere."""
    return most - F.softplus(most - x)


def window(x: Tensor, kind: str) -> Tensor:
    """A smooth step from 0 to 1 around x = 0; all but the sigmoid are exact beyond -1 and 1."""
    if kind == "sigmoid":
        return torch.sigmoid(x)
    y = ((x + 1) / 2).clamp(0, 1)
    if kind == "linear":
        return y
    if kind == "cubic":
        return y * y * (3 - 2 * y)
    if kind == "quintic":
        return y**3 * (10 - 15 * y + 6 * y * y)
    return (1 - torch.cos(math.pi * y)) / 2


def sample_counts(rate: Tensor, temperature: float, kind: str, generator: Generator) -> Tensor:
    """Differentiable counts: events of a Poisson process that arrive before time 1, softly.

    Intervals are Exp(rate); count = sum over arrivals of window((1 - arrival) / temperature).
    """
    most = max(1, int(stats.poisson.ppf(1 - ARRIVALS_MISSED, float(rate.detach().max()))))
    uniform = torch.rand((most, *rate.shape), generator=generator, device=generator.device)
    arrival = (-torch.log1p(-uniform)).to(rate.device).cumsum(dim=0) / rate
    return window((1 - arrival) / temperature, kind).sum(dim=0)


def poisson_kld(log_prior: Tensor, log_ratio: Tensor) -> Tensor:
    """KL(Poisson(r delta) | Poisson(r)) per unit, r (1 - delta + delta log delta): the metabolic
    cost, proportional to the prior's rate. `log_prior` (K,), `log_ratio` (N, K)."""
    return log_prior.exp() * (1 + log_ratio.exp() * (log_ratio - 1))


@dataclass(frozen=True)
class Output:
    """What a training or evaluation pass gives."""

    image: Tensor
    """(N, C, H, W) in [-1, 1]."""
    latents: Tensor
    """Counts (N, K), real-valued in training; of the Gaussian, its z."""
    pixels: Tensor
    """What the decoder gives, in [0, 1] or whitened: (N, pixels)."""
    target: Tensor
    """What it should have given: (N, pixels)."""
    kld: Tensor
    """(N, K)."""
    excess: Tensor | float
    """With the exact loss: expected squared error beyond that of the mean, (N,)."""


class PoissonVae(Model):
    """Linear or convolutional encoder, Poisson (or Gaussian) latents, linear decoder without bias.

    Args:
        config: image size, `hidden` (of the convolutional encoder), `latent` = K and `poisson`.
        generator: draws the initial weights.
    """

    def _build(self, c: PoissonVaeConfig) -> None:
        p = c.poisson
        self.gaussian = p.distribution == "gaussian"
        self.shape = (c.image_channels, c.image_size, c.image_size)
        pixels, outputs = math.prod(self.shape), c.latent * (1 + self.gaussian)
        if p.encoder == "linear":
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, outputs, bias=False))
            nn.init.normal_(self.encoder[1].weight, std=0.05)
        else:
            widths, side = (c.image_channels, *c.hidden), c.image_size
            for _ in c.hidden:
                side = -(-side // 2)
            self.encoder = nn.Sequential(*(down_block(i, o) for i, o in zip(widths, widths[1:])),
                                         nn.Flatten(), nn.Linear(widths[-1] * side**2, outputs))
            nn.init.normal_(self.encoder[-1].weight, std=0.01)
        self.decoder = nn.Linear(c.latent, pixels, bias=False)
        nn.init.normal_(self.decoder.weight, std=0.05)
        if not self.gaussian:
            self.log_prior = nn.Parameter(
                torch.empty(c.latent).uniform_(-6, p.log_rate_start))
        # Real pixels = whiten (x - mean) where x is in [0, 1].
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("whiten", torch.eye(pixels) if p.whiten else torch.zeros(0))
        self.temperature, self.beta = p.temperature_end, 1.0

    def neurons(self) -> str:
        return "in the latents only"

    def anneal(self, done: float) -> None:
        p = self.config.poisson
        share = 1.0 if p.anneal == 0 else min(1.0, done / p.anneal)
        self.temperature = p.temperature_start + share * (p.temperature_end - p.temperature_start)
        self.beta = p.beta_start + share * (1 - p.beta_start)

    def look_at(self, images: Tensor) -> None:
        """Whitening (ZCA) to unit variance per pixel on average, if asked for."""
        if not self.config.poisson.whiten:
            return
        x = images.flatten(1).double() / 255
        mean = x.mean(dim=0)
        values, vectors = torch.linalg.eigh(torch.cov((x - mean).T))
        # Directions of next to no variance, which hold noise, are left small.
        matrix = vectors @ torch.diag((values.clamp(min=0) + 0.01 * values.mean()).rsqrt()
                                      ) @ vectors.T
        after = matrix @ torch.cov((x - mean).T) @ matrix.T
        self.mean.copy_(mean)
        self.whiten.copy_(matrix / after.diagonal().mean().sqrt())

    # --- the parts ---

    def to_pixels(self, image: Tensor) -> Tensor:
        """What encoder and loss see, (N, pixels), of images in [-1, 1]."""
        x = (image.flatten(1) + 1) / 2
        return (x - self.mean) @ self.whiten.T if self.config.poisson.whiten else x

    def to_image(self, pixels: Tensor) -> Tensor:
        """The inverse, clipped to [-1, 1]."""
        return self.to_open_image(pixels).clamp(-1, 1).unflatten(1, self.shape)

    def to_open_image(self, pixels: Tensor) -> Tensor:
        """The inverse before it is clipped, (N, pixels)."""
        if self.config.poisson.whiten:
            pixels = torch.linalg.solve(self.whiten, pixels.T).T + self.mean
        return 2 * pixels - 1

    def log_ratio(self, pixels: Tensor) -> Tensor:
        """log delta (N, K), softly clamped."""
        out = self.encoder(pixels.unflatten(1, self.shape)).float()
        return soft_clamp(out, LOG_RATIO_MAX)

    def rates(self, log_ratio: Tensor) -> Tensor:
        """lambda (N, K)."""
        most = self.config.poisson.log_rate_max
        return soft_clamp(self.log_prior + log_ratio, most).exp() + RATE_MIN

    def divergence(self, rate: Tensor) -> Tensor:
        """KL of the counts that are drawn, whose rates `rate` (N, K) are clamped: (N, K)."""
        return poisson_kld(self.log_prior, rate.log() - self.log_prior)

    def forward(self, image: Tensor, generator: Generator, loss: LossConfig | None = None,
                chance: float = 0.0) -> Output:
        """Reconstruct; counts are true Poisson draws in evaluation. The last two arguments are the
        FSVAE's and do nothing here."""
        x = self.to_pixels(image)
        if self.gaussian:
            return self._gaussian(x, generator)
        rate, p, excess = self.rates(self.log_ratio(x)), self.config.poisson, 0.0
        if not self.training:
            z = self._draw(rate, generator)
        elif p.estimator == "exact":
            z = rate
            excess = rate @ self.decoder.weight.square().sum(dim=0)
        elif p.estimator == "straight-through":
            z = self._draw(rate, generator) + rate - rate.detach()
        else:
            z = sample_counts(rate, self.temperature, p.window, generator)
        y = self.decoder(z).float()
        return Output(self.to_image(y), z, y, x, self.divergence(rate), excess)

    def _gaussian(self, x: Tensor, generator: Generator) -> Output:
        mean, log_variance = self.encoder(x.unflatten(1, self.shape)).float().chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        z = mean + noise.to(mean.device) * (log_variance / 2).exp()
        y = self.decoder(z).float()
        return Output(self.to_image(y), z, y, x, gaussian_kld(mean, log_variance), 0.0)

    @staticmethod
    def _draw(rate: Tensor, generator: Generator) -> Tensor:
        """True Poisson counts, without gradient."""
        return torch.poisson(rate.detach().to(generator.device), generator=generator
                             ).to(rate.device)

    def losses(self, output: Output, image: Tensor, config: PoissonLoss) -> Losses:
        """Loss of one batch of images: squared error summed over pixels + beta KL."""
        squared = (output.pixels - output.target).square().sum(dim=1) + output.excess
        kld = output.kld.sum(dim=1).mean()
        beta = config.weight * (self.beta if self.training else 1.0)
        pixels = output.target.shape[1]
        # Pixels in [-1, 1] are twice as far apart as in [0, 1].
        unit = 1 if self.config.poisson.whiten else 4
        return Losses(squared.mean() + beta * kld, unit * squared.mean() / pixels, kld)

    @torch.no_grad()
    def generate(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images (count, C, H, W) drawn from the prior, and their counts (count, K)."""
        weight = self.decoder.weight
        if self.gaussian:
            z = torch.randn((count, weight.shape[1]), generator=generator, device=generator.device)
        else:
            z = self._draw(self.log_prior.exp().expand(count, -1), generator)
        z = z.to(weight.device)
        return self.to_image(self.decoder(z)), z

    # --- looking at it ---

    @torch.no_grad()
    def unit_divergence(self, image: Tensor) -> Tensor:
        """Mean KL divergence of every unit, in nats: (K,)."""
        x = self.to_pixels(image)
        if not self.gaussian:
            return self.divergence(self.rates(self.log_ratio(x))).mean(dim=0)
        mean, log_variance = self.encoder(x.unflatten(1, self.shape)).float().chunk(2, dim=1)
        return gaussian_kld(mean, log_variance).mean(dim=0)

    @torch.no_grad()
    def numbers(self, image: Tensor) -> dict[str, float]:
        silent = {"silent_units": float((self.unit_divergence(image) < SILENT_NATS).float().mean())}
        if self.gaussian:
            return silent
        rate = self.rates(self.log_ratio(self.to_pixels(image)))
        return {**silent, "counts_per_image": float(rate.sum(dim=1).mean()),
                "prior_counts_per_image": float(self.log_prior.exp().sum()),
                "largest_rate": float(rate.max())}

    @torch.no_grad()
    def pictures(self, image: Tensor) -> dict[str, Image.Image]:
        from train.models.dictionary import draw_dictionary, draw_rates

        use = self.unit_divergence(image)
        columns = self.decoder.weight.T[use.argsort(descending=True)].unflatten(1, self.shape)
        drawn = {"dictionary": draw_dictionary(columns.cpu())}
        if not self.gaussian:
            rate = self.rates(self.log_ratio(self.to_pixels(image)))
            drawn["rates"] = draw_rates(self.log_prior.exp().cpu().numpy(), rate.cpu().numpy(),
                                        float((use < SILENT_NATS).float().mean()))
        return drawn
