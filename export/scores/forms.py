"""The ways to run a model: in floating point, in integers, and its model.net as a chip would.

Every form takes and gives the same, so that all get the same scores (export.scores.scoring).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from export.finetune import set_scales
from export.translate import default_random_bits, translate
from hw_configs import load_chip
from hw_configs.files import UserError
from lava_models.net.hdf5 import read_net
from lava_models.net.netfile import MODES, NetFile, origin_of
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, decode_images, encode_images
from train.activity import Activity, neuron_counts, recording
from train.checkpoint import load_model, sha256_of, start_of
from train.config import LifConfig, RunConfig
from train.models.base import Model
from train.models.build import build_model
from train.models.spiking import SpikingVae
from train.streams import stream

POST_TRAINING, FINE_TUNED = "post-training", "fine-tuned"


@dataclass(frozen=True)
class Form:
    """One way to run a model."""

    name: str
    """float, integers or chip."""
    reconstruct: Callable
    """Images (n, C, H, W), the index of the first and the latents' seed -> images."""
    generate: Callable
    """Count, the index of the first and the latents' seed -> images."""
    activity: Callable | None
    """Mode, images and seed -> train.activity.Activity, or None (no spikes)."""
    model: Model
    """For its geometry."""
    stage: str = ""
    """Of integers: rounded after training, or trained in (POST_TRAINING, FINE_TUNED)."""
    net: NetFile | None = None
    """Of the chip form."""
    modes: tuple[str, ...] = MODES
    """What it can do."""


def forms(model: Model, config: RunConfig, state: dict, net: NetFile | None, seen: np.ndarray,
          device: torch.device | str = "cpu") -> Iterator[Form]:
    """Float model, integers, and the exported file if there is one.

    A model that was trained in integers stands beside the float model it started from and that
    one's own export, so that what deployment costs is apart from what the training in between
    brought.

    Args:
        state: of model.pt.
        net: of `exported`.
        seen: training images that integers are chosen by (export.translate.seen_images).
        device: of PyTorch's forms; the file's reference runs on the CPU.

    Raises:
        UserError: what it was started from is damaged, or cannot be held by the chip.
    """
    if config.model.integer:
        before = start_of(config, state)
        if before is not None:
            start = load_model(before)[0]
            yield torch_form("float", start, device)
            bits = default_random_bits(start.config)
            plain = translate(start, load_chip(), random_bits=bits, images=seen, provenance={})
            yield _chip_form(plain.net, start, POST_TRAINING)
        yield torch_form("integers", model, device, FINE_TUNED)
    else:
        yield torch_form("float", model, device)
        if isinstance(config.model, LifConfig):
            integer = build_model(replace(config.model, arithmetic="integer"))
            integer.load_state_dict(model.state_dict(), strict=False)
            set_scales(integer, model, 1.0, float((seen**2).mean()))
            yield torch_form("integers", integer.eval(), device, POST_TRAINING)
    if net is not None:
        yield _chip_form(net, model, FINE_TUNED if config.model.integer else POST_TRAINING)


def exported(path: Path, config: RunConfig) -> NetFile | None:
    """The model.net beside a model.pt, if there is one.

    Raises:
        UserError: it is damaged, or was made of another model.pt.
    """
    file = path.with_name("model.net")
    if not file.is_file():
        return None
    net, m = read_net(file), config.model
    shape = (m.image_channels, m.image_size, m.image_size)
    made_of = origin_of(net, "model_sha256")
    same = (net.image_shape, net.ticks, net.lag, net.k) == (shape, m.ticks, m.lag, m.k)
    if not same or made_of != sha256_of(path):
        raise UserError(f"{file}: is not of {path} as it is now (its model_sha256 is "
                        f"{made_of and made_of[:12]}); export it again with export-netx, or remove "
                        "it")
    return net


def torch_form(name: str, model: Model, device: torch.device | str, stage: str = "") -> Form:
    """A model as PyTorch runs it."""
    model = copy.deepcopy(model).to(device)  # the caller's stays where the other forms expect it

    def reconstruct(images, first: int, seed: int):
        with torch.no_grad():
            return model(images.to(device), stream(seed, "evaluation", 2, first)).image.cpu()

    def generate(count: int, first: int, seed: int):
        return model.generate(count, stream(seed, "evaluation", 3, first))[0].cpu()

    def activity(mode: str, images, seed: int):
        with torch.no_grad(), recording(model) as heard:
            if mode == "reconstruct":
                reconstruct(images, 0, seed)
            else:
                generate(len(images), 0, seed)
        return heard

    spiking = isinstance(model, SpikingVae)
    return Form(name, reconstruct, generate, activity if spiking else None, model, stage)


def _chip_form(net: NetFile, model: Model, stage: str) -> Form:
    reference = {mode: Reference(net, mode) for mode in net.modes}

    @lru_cache
    def bits(mode: str, seed: int) -> ChipBits:
        return ChipBits.of(net, mode, seed)

    def run(mode: str, first: int, count: int, seed: int, images=None, watch=()):
        graded = None if images is None else encode_images(net, images.numpy())
        return reference[mode].run_samples(bits(mode, seed), first, count, graded, watch=watch)

    def reconstruct(images, first: int, seed: int):
        voltage = run("reconstruct", first, len(images), seed, images).voltage
        return torch.from_numpy(decode_images(net, voltage))

    def generate(count: int, first: int, seed: int):
        return torch.from_numpy(decode_images(net, run("generate", first, count, seed).voltage))

    firing = {} if net.poisson else neuron_counts(model)

    def activity(mode: str, images, seed: int):
        heard = Activity()
        for first in range(0, len(images), 32):  # every spike of every layer takes room
            part = images[first:first + 32]
            given = part if mode == "reconstruct" else None
            result = run(mode, first, len(part), seed, given, None)
            for name, spikes in result.spikes.items():
                if name in firing:  # what only the chip has is in its cost
                    heard.add(name, torch.from_numpy(spikes).transpose(0, 1).float())
        return heard

    return Form("chip", reconstruct, generate, None if net.poisson else activity, model, stage,
                net, net.modes)
