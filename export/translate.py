"""The whole network: model -> NetFile, with what each layer's integers cost."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np

from export.fold import fold
from export.poisson import translate_poisson
from export.quantize import Quantized, quantize, quantize_first
from hw_configs import Chip
from lava_models.net.layers import MEMORYLESS, Dense, Lif
from lava_models.net.netfile import PARTS, NetFile, RateLatents
from train.config import ModelConfig, RunConfig
from train.data import load_images, to_float
from train.models.base import Model
from train.models.esvae import Esvae
from train.models.poisson import PoissonVae
from train.models.prior import THRESHOLD, UNIT, RatePrior
from train.models.spiking import SpikingVae

SEEN = 2000
"""Training images that integers are chosen by; of the test set nothing is."""
LEAST_RANDOM_BITS, INEXACT_RANDOM_BITS, INEXACT_RATE_BITS = 4, 8, 7
POISSON_RANDOM_BITS = 12
"""A chance per tick of down to a 4096th: at T = 4 a thousandth of a spike per image."""


@dataclass(frozen=True)
class Translation:
    """A network ready to be written, and how its layers were quantised."""

    net: NetFile
    layers: list[Quantized]
    kept: np.ndarray | None = None
    """Of a Poisson VAE: indices of the units that are in the file."""


def translate(model: Model, chip: Chip, *, random_bits: int, images: np.ndarray,
              provenance: dict) -> Translation:
    """Fold, quantise and assemble.

    Args:
        model: the trained model.
        chip: register limits.
        random_bits: b, random bits per latent draw.
        images: float32 (N, C, H, W) in [-1, 1]: their mean square sets the input's scale, and they
            show which units of a Poisson VAE matter.
        provenance: plain values stored as JSON in the file.

    Raises:
        UserError: a layer cannot be held by the chip; names it.
    """
    if isinstance(model, PoissonVae):
        return Translation(*translate_poisson(model, chip, random_bits, provenance, images))
    c, done = model.config, quantize_layers(model, chip, float((images**2).mean()))
    parts = {part: tuple(q.layer for q in done if q.name.startswith(f"{part}."))
             for part in PARTS}
    net = NetFile(
        image_shape=(c.image_channels, c.image_size, c.image_size), ticks=c.ticks, lag=c.lag,
        latent=c.latent, k=c.k, random_bits=random_bits, input_scale=float(done[0].input_max),
        output_scale=done[-1].scale * 64, provenance=json.dumps(provenance),
        rate=RateLatents() if isinstance(model, Esvae) else None, **parts)
    if isinstance(model, Esvae) and model.fitted is not None:
        prior = _prior_layers(model.fitted, chip)
        net = replace(net, prior=prior, rate=RateLatents(model.fitted.bits, UNIT))
    return Translation(net, done)


def _prior_layers(prior: RatePrior, chip: Chip) -> tuple[Dense, ...]:
    """The fitted prior, whose integers are the chip's already."""
    stages = [Dense(s.weight.numpy(), s.bias.numpy(), Lif(MEMORYLESS, THRESHOLD))
              for s in prior.stages]
    weight = prior.last().numpy()
    read = Lif(MEMORYLESS, chip.threshold_max, False)
    return (*stages, Dense(weight, np.zeros(len(weight), np.int32), read))


def seen_images(config: RunConfig) -> np.ndarray:
    """The training images that integers are chosen by: float32 (N, C, H, W) in [-1, 1]."""
    return to_float(load_images(config, "train", SEEN)).numpy()


def quantize_layers(model: SpikingVae, chip: Chip, mean_square: float, fill: float = 1.0
                    ) -> list[Quantized]:
    """Integers of every layer, in the order of the file.

    Args:
        mean_square: mean of the squared pixels in [-1, 1], for the input's scale.
        fill: share of ports and membranes that the worst case may use.

    Raises:
        UserError: a layer cannot be held by the chip; names it.
    """
    ticks = model.config.ticks
    first, *rest = fold(model)
    return [quantize_first(first, chip, ticks, mean_square, fill),
            *(quantize(layer, chip, ticks, fill=fill) for layer in rest)]


def default_random_bits(config: ModelConfig) -> int:
    """Exact draws where k is a power of two, else 8 bits (every probability within 1/512), of rates
    7 (within 1/256), which their prior takes; of Poisson latents POISSON_RANDOM_BITS."""
    if config.kind == "poisson":
        return POISSON_RANDOM_BITS
    k = config.k
    exact = k.bit_length() - 1
    if k == 1 << exact:
        return max(LEAST_RANDOM_BITS, exact)
    return INEXACT_RATE_BITS if config.kind == "esvae" else INEXACT_RANDOM_BITS
