"""Is the file the model? The model's own blocks in integers, against the reference's spikes.

The proof on Lava compares the file with the file. Here every layer of the model (its float weights,
its tdBN, PyTorch's convolutions, train/layers/integers.py) gets the spikes that the reference
recorded at the layers before it, and must answer with the reference's own: a wrong fold, a flipped
kernel or a threshold of another layer shows where it happened. What is left out: the draw of the
latents, which has a test of its own, and the readout's truncation, which has a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from export.quantize import Quantized
from lava_models.net.netfile import NetFile
from lava_models.net.populations import Host, LayerWeights, Population
from lava_models.net.program import Program
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, Result, encode_images
from train.layers.blocks import Readout
from train.layers.integers import MEMBRANE_UNITS
from train.models.fsvae import GlifVae
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


def has_twin(model: nn.Module) -> bool:
    """Whether the model computes in integers: LIF layers do; gated neurons and the Poisson VAE's
    dictionary do not, and are held to the bound of the reconstruction error alone."""
    return isinstance(model, SpikingVae) and not isinstance(model, GlifVae)


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


def compare_twin(twin: SpikingVae, net: NetFile, mode: str, images: np.ndarray | None, samples: int,
                 seed: int) -> Twinned:
    """Every layer that runs in `mode` on the reference's recorded inputs.

    Args:
        twin: of `integer_twin`.
        images: float32 (>= samples, C, H, W) in [-1, 1]; reconstruct mode only.
    """
    reference = Reference(net, mode)
    some = None if images is None else images[:samples]
    graded = None if some is None else encode_images(net, some)
    result = reference.run_samples(ChipBits.of(net, mode, seed), 0, samples, graded)
    blocks = dict(twin.named_layers())
    found = [_layer(reference.program, population, blocks[population.name], result, some)
             for population in reference.program.waves if population.name in blocks]
    return Twinned(tuple(found))


@torch.no_grad()
def _layer(program: Program, population: Population, block: nn.Module, result: Result,
           images: np.ndarray | None) -> TwinLayer:
    layer, ticks = population.kind.layer, program.schedule.ticks
    signals = list(_signals(program, population, block, result, images))
    x = torch.from_numpy(np.concatenate(signals, axis=-1)).float()
    x = x.movedim(1, 0).reshape(ticks, len(x), *layer.input_shape)
    if isinstance(block, Readout):
        return _readout(population, block, x, result.voltage)
    spikes = block(x).flatten(2).movedim(0, 1).numpy() > 0
    wanted = result.spikes[population.like]
    return TwinLayer(population.name, wanted.size, int(wanted.sum()),
                     int(np.count_nonzero(spikes != wanted)))


def _signals(program: Program, population: Population, block: nn.Module, result: Result,
             images: np.ndarray | None) -> Iterator[np.ndarray]:
    """What ends on a layer, (N, T, n): the model's own integers of the image, recorded spikes."""
    for connection in program.into(population.name):
        if not isinstance(connection.synapses, LayerWeights):
            continue  # the bias, which the block has itself
        source = program[connection.source]
        if isinstance(source.kind, Host):
            graded = np.round(images * float(block.neuron.input_max)).reshape(len(images), 1, -1)
            yield np.repeat(graded, program.schedule.ticks, axis=1)
            continue
        sent, lag = result.spikes[source.like], connection.lag
        late = np.zeros_like(sent)
        late[:, lag:] = sent[:, :sent.shape[1] - lag]
        yield late


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
