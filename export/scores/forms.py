"""The ways to run a model: in floating point, in integers, and its model.net as a chip would.

Every form takes and gives the same, so that all get the same scores (export.scores.scoring).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from export.finetune import set_scales
from hw_configs.files import UserError
from lava_models.net.hdf5 import read_net
from lava_models.net.netfile import MODES, NetFile
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, decode_images, encode_images
from train.activity import Activity, neuron_counts, recording
from train.checkpoint import load_model
from train.config import LifConfig, RunConfig
from train.models.base import Model
from train.models.build import build_model
from train.models.fsvae import SpikingVae
from train.streams import stream


@dataclass(frozen=True)
class Form:
    """One way to run a model."""

    name: str
    """float, integers or chip."""
    reconstruct: Callable
    """Images (n, C, H, W) and the index of the first -> images."""
    generate: Callable
    """Count and the index of the first -> images."""
    activity: Callable | None
    """Mode and images -> train.activity.Activity, or None (no spikes)."""
    model: Model
    """For its geometry."""
    net: NetFile | None = None
    """Of the chip form."""
    modes: tuple[str, ...] = MODES
    """What it can do."""


def forms(model: Model, config: RunConfig, path: Path, seed: int, mean_square: float,
          device: torch.device | str = "cpu") -> Iterator[Form]:
    """Float and integer model, and the model.net beside it if there is one.

    Args:
        mean_square: of the pixels, as in export.quantize.
        device: of PyTorch's forms; the file's reference runs on the CPU.

    Raises:
        UserError: the file is damaged or not this model's.
    """
    integer = None
    if not isinstance(config.model, LifConfig):
        yield _torch_form("float", model, seed, device)
    elif config.model.integer:
        before = config.start_from
        if before is not None and before.is_file():
            yield _torch_form("float", load_model(before)[0], seed, device)
        integer = model
    else:
        yield _torch_form("float", model, seed, device)
        integer = build_model(replace(config.model, arithmetic="integer"))
        integer.load_state_dict(model.state_dict(), strict=False)
        set_scales(integer, model, 1.0, mean_square)
    if integer is not None:
        yield _torch_form("integers", integer.eval(), seed, device)
    file = path.with_name("model.net")
    if file.is_file():
        net = read_net(file)
        shape = (config.model.image_channels, config.model.image_size, config.model.image_size)
        m = config.model
        if (net.image_shape, net.ticks, net.lag, net.k) != (shape, m.ticks, m.lag, m.k):
            raise UserError(f"{file}: is not of {path}; export it again with export-netx")
        yield _chip_form(net, model, seed)


def _torch_form(name: str, model: Model, seed: int, device: torch.device | str) -> Form:
    model = copy.deepcopy(model).to(device)  # the caller's stays where the other forms expect it

    def reconstruct(images, first: int):
        with torch.no_grad():
            return model(images.to(device), stream(seed, "evaluation", 2, first)).image.cpu()

    def generate(count: int, first: int):
        return model.generate(count, stream(seed, "evaluation", 3, first))[0].cpu()

    def activity(mode: str, images):
        with torch.no_grad(), recording(model) as heard:
            if mode == "reconstruct":
                reconstruct(images, 0)
            else:
                generate(len(images), 0)
        return heard

    spiking = isinstance(model, SpikingVae)
    return Form(name, reconstruct, generate, activity if spiking else None, model)


def _chip_form(net: NetFile, model: Model, seed: int) -> Form:
    bits = {mode: ChipBits.of(net, mode, seed) for mode in net.modes}
    reference = {mode: Reference(net, mode) for mode in bits}

    def run(mode: str, first: int, count: int, images=None, watch=()):
        graded = None if images is None else encode_images(net, images.numpy())
        return reference[mode].run_samples(bits[mode], first, count, graded, watch=watch)

    def reconstruct(images, first: int):
        voltage = run("reconstruct", first, len(images), images).voltage
        return torch.from_numpy(decode_images(net, voltage))

    def generate(count: int, first: int):
        return torch.from_numpy(decode_images(net, run("generate", first, count).voltage))

    firing = {} if net.poisson else neuron_counts(model)

    def activity(mode: str, images):
        heard = Activity()
        for first in range(0, len(images), 32):  # every spike of every layer takes room
            part = images[first:first + 32]
            result = run(mode, first, len(part), part if mode == "reconstruct" else None, None)
            for name, spikes in result.spikes.items():
                if name in firing:  # what only the chip has is in its cost
                    heard.add(name, torch.from_numpy(spikes).transpose(0, 1).float())
        return heard

    return Form("chip", reconstruct, generate, None if net.poisson else activity, model, net,
                net.modes)
