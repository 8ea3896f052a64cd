"""Is the file the model? The model's own blocks in integers, against the reference's spikes.

The proof on Lava compares the file with the file. Here every layer of the model (its float weights,
its tdBN, PyTorch's convolutions, train/layers/integers.py or export.twin_blocks) gets the spikes
that the reference recorded at the layers before it, and must answer with the reference's own: a
wrong fold, a flipped kernel or a threshold of another layer shows where it happened. What is left
out: the draw of the latents, which has a test of its own, and the readout's truncation, which has a
bound. A Poisson VAE, whose encoder is the host's, is compared step by step (export.twin_poisson).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from export.quantize import Quantized
from export.translate import Translation
from export.twin_blocks import gated_blocks, prior_blocks
from export.twin_poisson import PoissonTwin
from lava_models.net.netfile import NetFile
from lava_models.net.populations import Draw, Host, LayerWeights, Population
from lava_models.net.program import DRAW, Program
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, Result, encode_images
from train.layers.blocks import Readout
from train.layers.integers import MEMBRANE_UNITS
from train.models.base import Model
from train.models.esvae import Esvae
from train.models.fsvae import GlifVae
from train.models.poisson import PoissonVae
from train.models.spiking import SpikingVae


@dataclass(frozen=True)
class TwinLayer:
    """One layer of the model against the reference."""

    name: str
    values: int
    spikes: int
    """Of the reference; of the readout: voltages."""
    differing: int


@dataclass(frozen=True)
class Twinned:
    """All layers in one mode."""

    layers: tuple[TwinLayer, ...]

    @property
    def equal(self) -> bool:
        return bool(self.layers) and not any(layer.differing for layer in self.layers)

    def __str__(self) -> str:
        values = sum(layer.values for layer in self.layers)
        if self.equal:
            return f"equal: {sum(layer.spikes for layer in self.layers)} spikes, {values} values"
        wrong = [f"{layer.name} ({layer.differing} of {layer.values})"
                 for layer in self.layers if layer.differing]
        return f"NOT equal: {', '.join(wrong)} values differ"


@dataclass(frozen=True)
class BlockTwin:
    """The model's layers in integers."""

    blocks: dict[str, nn.Module]
    """By the file's names: inputs (T, N, ...) to spikes, or of the Readout to voltages."""
    input_max: float
    """Integers per unit of the image."""


Twin = BlockTwin | PoissonTwin


def make_twin(model: Model, translation: Translation, seen: np.ndarray) -> Twin:
    """What `compare_twin` holds a file to.

    Args:
        translation: of the model; its scales are taken, and no integer.
        seen: the training images that were shown to `translate`.
    """
    layers = translation.layers
    if isinstance(model, PoissonVae):
        return PoissonTwin(model, translation.kept, layers[0], seen)
    if isinstance(model, GlifVae):
        return BlockTwin(gated_blocks(model, layers), layers[0].input_max)
    twin = integer_twin(model, layers)
    blocks = dict(twin.named_layers())
    if isinstance(model, Esvae) and model.fitted is not None:
        blocks |= prior_blocks(model.fitted, DRAW)
    return BlockTwin(blocks, float(twin.encoder[0].neuron.input_max))


def integer_twin(model: SpikingVae, layers: list[Quantized]) -> SpikingVae:
    """The model with the chip's integers in its forward pass; one trained in them is its own."""
    if model.config.integer:
        return model
    twin = type(model)(replace(model.config, arithmetic="integer"))
    twin.load_state_dict(model.state_dict(), strict=False)  # scales are still missing
    give_scales(twin, layers)
    return twin.eval()


def give_scales(integer: SpikingVae, layers: list[Quantized]) -> None:
    """Give a model of integer arithmetic the scales of an export."""
    done = {q.name: q for q in layers}
    for name, block in integer.named_layers():
        q = done[name]
        block.neuron.set_scale(q.scale / q.input_max, q.input_max)


def compare_twin(twin: Twin, net: NetFile, mode: str, images: np.ndarray | None, samples: int,
                 seed: int) -> Twinned:
    """Every layer that runs in `mode` on the reference's recorded inputs.

    Args:
        twin: of `make_twin`.
        images: float32 (>= samples, C, H, W) in [-1, 1]; reconstruct mode only.
    """
    reference = Reference(net, mode)
    some = None if images is None or mode != "reconstruct" else images[:samples]
    graded = None if some is None else encode_images(net, some)
    result = reference.run_samples(ChipBits.of(net, mode, seed), 0, samples, graded)
    if isinstance(twin, PoissonTwin):
        return Twinned(tuple(
            TwinLayer(name, wrong.size, int(np.count_nonzero(file)), int(np.count_nonzero(wrong)))
            for name, file, wrong in twin.compare(net, mode, some, result)))
    graded = None if some is None else np.round(some * twin.input_max).reshape(len(some), -1)
    program = reference.program
    return Twinned(tuple(
        _layer(program, population, twin.blocks[population.name], result, graded)
        for population in program.waves if _has_layer(population, twin)))


def _has_layer(population: Population, twin: BlockTwin) -> bool:
    """Whether the model has something to say of it: of a draw where it is made of a layer's sums,
    as a fitted prior's is, not where it picks one of k."""
    kind = population.kind
    drawn = isinstance(kind, Draw)
    return population.name in twin.blocks and not (drawn and kind.layer is None)


@torch.no_grad()
def _layer(program: Program, population: Population, block: nn.Module, result: Result,
           images: np.ndarray | None) -> TwinLayer:
    layer, ticks = population.kind.layer, program.schedule.ticks
    signals = list(_signals(program, population, result, images))
    x = torch.from_numpy(np.concatenate(signals, axis=-1)).float()
    x = x.movedim(1, 0).reshape(ticks, len(x), *layer.input_shape)
    if isinstance(block, Readout):
        return _readout(population, block, x, result.voltage)
    spikes = block(x).flatten(2).movedim(0, 1).numpy() > 0
    wanted = result.spikes[population.like]
    return TwinLayer(population.name, wanted.size, int(wanted.sum()),
                     int(np.count_nonzero(spikes != wanted)))


def _signals(program: Program, population: Population, result: Result, images: np.ndarray | None
             ) -> Iterator[np.ndarray]:
    """What ends on a layer, (N, T, n): the model's own integers of the image (N, n), recorded
    spikes."""
    ticks = program.schedule.ticks
    for connection in program.into(population.name):
        if not isinstance(connection.synapses, LayerWeights):
            continue  # the bias, which the block has itself; the bits of a draw
        source = program[connection.source]
        if isinstance(source.kind, Host):
            yield np.repeat(images[:, None], ticks, axis=1)
            continue
        sent, lag = result.spikes[source.like], connection.lag
        at = np.arange(ticks) - lag
        yield sent[:, np.maximum(at, 0)] & (at >= 0)[:, None]


def _readout(population: Population, block: Readout, x: torch.Tensor, voltage: np.ndarray
             ) -> TwinLayer:
    """The voltage before truncation, which takes less than 1 unit off at every leak: less than
    1 / (1 - keep per leak) in all, or one per leak where nothing is lost to the leak."""
    grid = block.neuron.grid
    leaks = len(x) * grid.leaks
    most = min(leaks, 1 / (1 - grid.keep)) if grid.keep < 1 else 0
    units = (block(x).double() * block.neuron.scale * MEMBRANE_UNITS).flatten(1).numpy()
    # float32 sums, in the twin, of what the reference adds as integers
    slack = most + np.abs(units) * len(x) * 2.0**-20
    return TwinLayer(population.name, voltage.size, voltage.size,
                     int(np.count_nonzero(np.abs(units - voltage) > slack)))
