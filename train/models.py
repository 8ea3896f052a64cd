"""The models by the name that --model takes.

A new model is a class here with what train.model.Model leaves open. New neurons are a module like
train.glif, used by FSVAE.
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
