"""A Poisson VAE against its file: rates, chances, dictionary and offset, by the model's own forward
functions.

The dictionary's columns are what the model draws when one unit counts one, whatever its pixels are
whitened by: so nothing is shared with the export, which multiplies matrices.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from export.quantize import Quantized
from lava_models.net.netfile import NetFile
from lava_models.reference.host_encoder import host_rates
from lava_models.reference.simulator import Result
from train.layers.integers import MEMBRANE_UNITS, WEIGHT_MAX
from train.models.poisson import PoissonVae

RATE_WITHIN, LEAST_RATE = 1e-3, 1e-5
"""Relative and absolute difference of a rate that is float32's: the file's weights are folded."""
OFFSET_WITHIN = 1e-4
"""Of a pixel in [-1, 1]."""


@dataclass(frozen=True)
class PoissonTwin:
    """The model, and what of it is in the file."""

    model: PoissonVae
    kept: np.ndarray
    """Indices of its units that are on the chip, in the file's order."""
    readout: Quantized
    seen: np.ndarray
    """Training images (N, C, H, W) whose mean rates the other units stay at."""

    def compare(self, net: NetFile, mode: str, images: np.ndarray | None, result: Result
                ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(name, what the file gives, where the model gives something else) of every step.

        Args:
            images: of reconstruct mode, float32 (N, C, H, W) in [-1, 1].
            result: of the reference.
        """
        if mode == "reconstruct":
            rates, wanted = host_rates(net, images), self._rates(images)[:, self.kept]
            yield "host", rates, np.abs(rates - wanted) > RATE_WITHIN * wanted + LEAST_RATE
        else:
            log_prior = self.model.log_prior.detach().double()[torch.from_numpy(self.kept)]
            chances = torch.round(log_prior.exp() / net.ticks * 2**net.random_bits)
            wanted = chances.clamp(max=2**net.random_bits - 1).numpy()
            yield "prior", net.poisson.prior, net.poisson.prior != wanted
        drawn, = (spikes for name, spikes in result.spikes.items() if name == "selection")
        voltage = MEMBRANE_UNITS * drawn.sum(axis=1) @ self._dictionary()
        yield "decoder.0", result.voltage, result.voltage != voltage
        offset = self._offset()
        yield "offset", offset, np.abs(net.output_offset - offset) > OFFSET_WITHIN

    @torch.no_grad()
    def _rates(self, images: np.ndarray) -> np.ndarray:
        pixels = self.model.to_pixels(torch.from_numpy(images))
        return self.model.rates(self.model.log_ratio(pixels)).double().numpy()

    @torch.no_grad()
    def _drawn(self, counts: torch.Tensor) -> torch.Tensor:
        """Images of counts (N, K), before they are cut to [-1, 1]: float64 (N, pixels)."""
        model = copy.deepcopy(self.model).double()
        return model.to_open_image(model.decoder(counts.double()))

    def _dictionary(self) -> np.ndarray:
        """Integers (kept units, pixels)."""
        units = torch.eye(self.model.config.latent)[torch.from_numpy(self.kept)]
        columns = self._drawn(units) - self._drawn(torch.zeros(1, units.shape[1]))
        scaled = (self.readout.scale * columns).clamp(-WEIGHT_MAX, WEIGHT_MAX)
        return (2 * torch.round(scaled / 2)).numpy().astype(np.int64)

    def _offset(self) -> np.ndarray:
        """The image of no counts, but of the units that are not on the chip their mean."""
        mean = torch.from_numpy(self._rates(self.seen).mean(axis=0))
        mean[torch.from_numpy(self.kept)] = 0
        return self._drawn(mean[None])[0].numpy()
