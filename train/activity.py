"""Spikes and synops of a spiking model while it runs: for the energy term of the loss and scores.

A synop is a spike times one of its synapses. `fan_out` counts those of the model's real geometry,
borders and strides included; clocks, random bits and biases, which only the chip has, are not in it
(run-lava's report counts them).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from train.layers.blocks import ConvT
from train.models.fsvae import FSVAE
from train.models.spiking import SpikingVae

SELECTION = "selection"
DEAD, SATURATED = 1e-3, 0.9
"""Spikes per neuron and tick below and above which a layer says next to nothing."""


@dataclass
class Activity:
    """What the layers of a model did inside `recording`. Names are the file's: encoder.0 ..."""

    spikes: dict[str, Tensor] = field(default_factory=dict)
    """Per layer: spikes per neuron, summed over ticks and samples, float32 (C, ...)."""
    ticks: dict[str, list[Tensor]] = field(default_factory=dict)
    """Per layer: spikes of all neurons and samples per tick, in order, scalars."""

    def add(self, name: str, spikes: Tensor) -> None:
        """Record spikes (T, N, C, ...)."""
        total = spikes.sum(dim=(0, 1))
        self.spikes[name] = self.spikes[name] + total if name in self.spikes else total
        self.ticks.setdefault(name, []).extend(spikes.detach().flatten(1).sum(dim=1))


@contextmanager
def recording(model: SpikingVae) -> Iterator[Activity]:
    """Record every spiking layer that runs inside, z (as "selection") included; differentiable."""
    activity, hooks = Activity(), []

    def listener(name: str):
        def heard(module, _inputs, output) -> None:
            # While training, what runs in eval mode is a rehearsal (scheduled sampling).
            if module.training == model.training:
                activity.add(name, output[0])

        return heard

    for name, block in named_blocks(model):
        hooks.append(block.neuron.register_forward_hook(listener(name)))
    # z is what the decoder's first layer gets.
    hooks.append(model.decoder[0].register_forward_pre_hook(
        lambda _module, inputs: activity.add(SELECTION, inputs[0])))
    try:
        yield activity
    finally:
        for hook in hooks:
            hook.remove()


def named_blocks(model: SpikingVae) -> Iterator[tuple[str, torch.nn.Module]]:
    """(name, block) of the layers that fire, in the order of the file; not the readout."""
    *firing, _readout = model.named_layers()
    yield from firing


def fan_out(model: SpikingVae) -> dict[tuple[str, str], Tensor]:
    """Synapses that a spike meets, by (source, target): float32 (n_source,), neurons in order.

    The images' targets are not in it: pixels are no spikes.
    """
    c, depth = model.config, len(model.config.hidden)
    table: dict[tuple[str, str], Tensor] = {}

    def connect(source: str, target: str, block: torch.nn.Module, shape: tuple[int, ...]) -> None:
        table[source, target] = _count_synapses(block, shape)

    side = c.image_size
    for i in range(1, depth):
        side //= 2
        connect(f"encoder.{i - 1}", f"encoder.{i}", model.encoder[i],
                (c.hidden[i - 1], side, side))
    connect(f"encoder.{depth - 1}", f"encoder.{depth}", model.encoder[depth],
            (math.prod(model.bottom),))
    if isinstance(model, FSVAE):
        both = _count_synapses(model.posterior.layers[0], (2 * c.latent,))
        table[f"encoder.{depth}", "posterior.0"] = both[:c.latent]
        table[SELECTION, "posterior.0"] = both[c.latent:]
        connect(SELECTION, "prior.0", model.prior.layers[0], (c.latent,))
        for part, net in (("posterior", model.posterior), ("prior", model.prior)):
            for i, width in enumerate(c.bottleneck):
                connect(f"{part}.{i}", f"{part}.{i + 1}", net.layers[i + 1], (width,))
            # Two copies of the selection neuron: for the decoder and for the feedback.
            table[f"{part}.2", SELECTION] = torch.full((c.latent * c.k,), 2.0)
    else:  # every spike of the encoder is a candidate in the draws of all T ticks
        table[f"encoder.{depth}", SELECTION] = torch.full((c.latent,), float(c.ticks))
    connect(SELECTION, "decoder.0", model.decoder[0], (c.latent,))
    shape = model.bottom
    for i, block in enumerate(model.decoder[1:]):
        connect(f"decoder.{i}", f"decoder.{i + 1}", block, shape)
        stride = block.synapse.stride[0]
        shape = (block.synapse.weight.shape[1], shape[1] * stride, shape[2] * stride)
    device = model.decoder[-1].bias.device
    return {edge: counts.to(device) for edge, counts in table.items()}


def _count_synapses(block: torch.nn.Module, shape: tuple[int, ...]) -> Tensor:
    """How many outputs each input (of `shape`) reaches: the gradient of all-ones weights."""
    x = torch.zeros(1, *shape, requires_grad=True)
    with torch.enable_grad():
        y = block.synapse2d(x, torch.ones_like(block.weight, device="cpu"))
        return torch.autograd.grad(y.sum(), x)[0].flatten()


def synops(activity: Activity, table: dict[tuple[str, str], Tensor], *without: str) -> Tensor:
    """Synops of all samples together, scalar; differentiable.

    Args:
        table: of `fan_out`.
        without: parts left out, as source and as target: ("prior",) for a reconstruction,
            ("encoder", "posterior") for a generation.
    """
    total = torch.zeros(())
    for edge, counts in table.items():
        if edge[0] in activity.spikes and not any(n.split(".")[0] in without for n in edge):
            total = total + (activity.spikes[edge[0]].flatten() * counts).sum()
    return total


def rates(activity: Activity, model: SpikingVae, images: int) -> dict[str, float]:
    """Spikes per neuron and tick, by layer."""
    counts = neuron_counts(model)
    return {name: float(spikes.sum()) / (images * model.config.ticks * counts[name])
            for name, spikes in activity.spikes.items()}


def extremes(rates: dict[str, float]) -> list[str]:
    """Layers whose neurons hardly ever or almost always fire, in words."""
    return ([f"{name} is dead ({rate:.2%})" for name, rate in rates.items() if rate < DEAD]
            + [f"{name} is saturated ({rate:.0%})" for name, rate in rates.items()
               if rate > SATURATED])


def neuron_counts(model: SpikingVae) -> dict[str, int]:
    """Neurons per layer that fires, by name, z included."""
    c = model.config
    counts, side = {}, c.image_size
    for name, block in named_blocks(model):
        part, index = name.split(".")
        weight = block.synapse.weight
        if part == "encoder" and int(index) < len(c.hidden):
            side >>= 1
            counts[name] = weight.shape[0] * side * side
        elif isinstance(block, ConvT):
            side *= 2
            counts[name] = weight.shape[1] * side * side
        else:
            counts[name] = weight.shape[0]
    return {**counts, SELECTION: c.latent}
