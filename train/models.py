"""The models by the name that --model takes. A new one is a class here with these methods:

    forward(image, generator, loss_config, chance) -> its own Output, with .image
    losses(output, image, loss_config) -> Losses
    generate(count, generator) -> images, latents
    calibrate(image, generator), share_batches(ranks)
"""

from __future__ import annotations

from torch import Generator

from train.ann import AnnVae
from train.config import ModelConfig
from train.fsvae import FSVAE

MODELS = {"fsvae": FSVAE, "ann": AnnVae}


def build_model(config: ModelConfig, generator: Generator | None = None) -> FSVAE | AnnVae:
    """The model that `config.kind` names; `generator` draws its initial weights."""
    return MODELS[config.kind](config, generator)
