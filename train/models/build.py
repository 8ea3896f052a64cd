"""The models by the name that --model takes.

A new model is a class here with what train.models.base.Model leaves open. New neurons are a module
like train.layers.glif, used by FSVAE.
"""

from __future__ import annotations

import torch
from torch import Generator

from hw_configs.files import UserError
from train.config import ModelConfig
from train.models.ann import AnnVae
from train.models.base import Model
from train.models.esvae import Esvae
from train.models.fsvae import FSVAE, GlifVae
from train.models.poisson import PoissonVae

MODELS = {"fsvae": FSVAE, "esvae": Esvae, "glif": GlifVae, "poisson": PoissonVae, "ann": AnnVae}


MOST_PARAMETERS = 2**27
"""2 GB with gradients and the optimiser's moments; the network of the paper has 4 million."""


def check_size(config: ModelConfig) -> None:
    """See how large a model would be, without the memory for it.

    Raises:
        UserError: larger than any that trains.
    """
    with torch.device("meta"):
        count = sum(p.numel() for p in MODELS[config.kind](config).parameters())
    if count > MOST_PARAMETERS:
        raise UserError(f"--hidden {' '.join(map(str, config.hidden))} --latent {config.latent}: "
                        f"make a network of {count} parameters, expected at most "
                        f"{MOST_PARAMETERS}; choose smaller ones")


def build_model(config: ModelConfig, generator: Generator | None = None) -> Model:
    """The model that `config.kind` names; `generator` draws its initial weights."""
    return MODELS[config.kind](config, generator)
