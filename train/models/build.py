"""The models by the name that --model takes.

A new model is a class here with what train.models.base.Model leaves open. New neurons are a module
like train.layers.glif, used by FSVAE.
"""

from __future__ import annotations

from torch import Generator

from train.config import ModelConfig
from train.models.ann import AnnVae
from train.models.base import Model
from train.models.esvae import Esvae
from train.models.fsvae import FSVAE, GlifVae
from train.models.poisson import PoissonVae

MODELS = {"fsvae": FSVAE, "esvae": Esvae, "glif": GlifVae, "poisson": PoissonVae, "ann": AnnVae}


def build_model(config: ModelConfig, generator: Generator | None = None) -> Model:
    """The model that `config.kind` names; `generator` draws its initial weights."""
    return MODELS[config.kind](config, generator)
