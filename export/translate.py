"""The whole network: model -> NetFile, with what each layer's integers cost."""

from __future__ import annotations

import json
from dataclasses import dataclass

from export.fold import fold
from export.quantize import Quantized, quantize, quantize_first
from hw_configs import Chip
from lava_models.netfile import PARTS, NetFile
from train.fsvae import FSVAE

LEAST_RANDOM_BITS, INEXACT_RANDOM_BITS = 4, 8


@dataclass(frozen=True)
class Translation:
    """A network ready to be written, and how its layers were quantised."""

    net: NetFile
    layers: list[Quantized]


def translate(model: FSVAE, chip: Chip, *, random_bits: int, mean_square: float,
              provenance: dict) -> Translation:
    """Fold, quantise and assemble.

    Args:
        model: the trained model.
        chip: register limits.
        random_bits: b, random bits per latent draw.
        mean_square: mean of the squared pixels in [-1, 1], for the input's scale.
        provenance: plain values stored as JSON in the file.

    Raises:
        UserError: a layer cannot be held by the chip; names it.
    """
    c, done = model.config, quantize_layers(model, chip, mean_square)
    parts = {part: tuple(q.layer for q in done if q.name.startswith(f"{part}."))
             for part in PARTS}
    net = NetFile(
        image_shape=(c.image_channels, c.image_size, c.image_size), ticks=c.ticks, lag=c.lag,
        latent=c.latent, k=c.k, random_bits=random_bits, input_scale=float(done[0].input_max),
        output_scale=done[-1].scale * 64, provenance=json.dumps(provenance), **parts)
    return Translation(net, done)


def quantize_layers(model: FSVAE, chip: Chip, mean_square: float, fill: float = 1.0
                    ) -> list[Quantized]:
    """Integers of every layer, in the order of the file.

    Args:
        mean_square: as in `translate`.
        fill: share of ports and membranes that the worst case may use.

    Raises:
        UserError: a layer cannot be held by the chip; names it.
    """
    ticks = model.config.ticks
    first, *rest = fold(model)
    return [quantize_first(first, chip, ticks, mean_square, fill),
            *(quantize(layer, chip, ticks, fill=fill) for layer in rest)]


def default_random_bits(k: int) -> int:
    """Exact draws where k is a power of two, else 8 bits (every probability within 1/512)."""
    exact = k.bit_length() - 1
    if k == 1 << exact:
        return max(LEAST_RANDOM_BITS, exact)
    return INEXACT_RANDOM_BITS
