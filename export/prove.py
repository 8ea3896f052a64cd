"""The proof: the model in integers against the reference (export.twin), Lava's graph of stock
processes against the reference, and the reconstruction error before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from export.twin import Twinned
from lava_models.graph.compare import Comparison, compare_with_reference
from lava_models.graph.lava_graph import run_graph
from lava_models.net.netfile import NetFile
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, decode_images, encode_images
from train.models.spiking import SpikingVae

BATCH = 64
MOST_CHANGE = 0.25
"""Largest relative growth of the reconstruction error that passes for rounding; the networks that
come with the package grow by a few hundredths."""


def prove(net: NetFile, images: np.ndarray, samples: int, seed: int,
          on_step: Callable[[str, int, int], None]) -> dict[str, Comparison]:
    """Run `samples` samples per mode through Lava and compare with the reference.

    Args:
        images: float (>= samples, C, H, W) in [-1, 1], for reconstruct mode.
        on_step: called with (mode, timesteps done, timesteps in all).
    """
    verdicts = {}
    for mode in net.modes:
        bits = ChipBits.of(net, mode, seed)
        graded = encode_images(net, images[:samples]) if mode == "reconstruct" else None
        run = run_graph(net, mode, bits, samples, graded, graph="stock",
                        on_step=lambda done, total, mode=mode: on_step(mode, done, total))
        verdicts[mode] = compare_with_reference(run, net, mode, bits, graded)
    return verdicts


@dataclass(frozen=True)
class DeploymentError:
    """Mean squared reconstruction error in [-1, 1] of the same images, before and after."""

    float_model: float
    integer: float
    images: int
    draws: int
    """Independent latent draws per image that both are averaged over."""

    @property
    def change(self) -> float:
        """Relative change, e.g. 0.02 for 2 % worse."""
        return self.integer / self.float_model - 1

    @property
    def acceptable(self) -> bool:
        return self.change <= MOST_CHANGE


@dataclass(frozen=True)
class Proof:
    """What was found about a file before it is put in place."""

    error: DeploymentError
    twins: dict[str, Twinned]
    """By mode: the model in integers against the reference."""
    lava: dict[str, Comparison]
    """By mode: Lava against the reference."""

    @property
    def equal(self) -> bool:
        return all(verdict.equal for verdict in (*self.twins.values(), *self.lava.values()))


def deployment_error(model: SpikingVae, net: NetFile, images: np.ndarray, seed: int, draws: int,
                     on_batch: Callable[[], None]) -> DeploymentError:
    """Reconstruction error of the float model and of the integer reference."""
    generator = torch.Generator().manual_seed(seed)
    reference = Reference(net, "reconstruct")
    sums = np.zeros(2)
    for draw in range(draws):
        bits = ChipBits.of(net, "reconstruct", seed + 1 + draw)
        for start in range(0, len(images), BATCH):
            batch = images[start:start + BATCH]
            with torch.no_grad():
                floats = model(torch.from_numpy(batch), generator).image.numpy()
            result = reference.run_samples(bits, start, len(batch), encode_images(net, batch))
            integers = decode_images(net, result.voltage)
            sums += [((floats - batch) ** 2).sum(), ((integers - batch) ** 2).sum()]
            on_batch()
    float_error, integer_error = sums / (images.size * draws)
    return DeploymentError(float(float_error), float(integer_error), len(images), draws)
