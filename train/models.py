"""The models by the name that --model takes. A new one is a train.model.Model with these methods:

    forward(image, generator, loss_config, chance) -> its own Output, with .image
    losses(output, image, loss_config) -> Losses
    generate(count, generator) -> images, latents

and what of Model's own it does otherwise. New neurons are a module like train.glif, used by FSVAE.
"""

from __future__ import annotations

from torch import Generator

from train.ann import AnnVae
from train.config import ModelConfig
from train.fsvae import FSVAE
from train.model import Model
from train.poisson import PoissonVae

MODELS = {"fsvae": FSVAE, "glif": FSVAE, "poisson": PoissonVae, "ann": AnnVae}


def build_model(config: ModelConfig, generator: Generator | None = None) -> Model:
    """The model that `config.kind` names; `generator` draws its initial weights."""
    return MODELS[config.kind](config, generator)
