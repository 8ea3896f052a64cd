"""Is it worth it? The network without spikes that says as much, and where the two break even.

The same layers once per image instead of once per tick, weights of 8 bits, and activations of as
many bits as T ticks of spikes can count, ceil(log2(T + 1)) (the comparison of arXiv 2409.08290).
Memory traffic is in it, power at rest is not, so it is held against the spiking network's dynamic
energy:

    arithmetic   multiply-accumulates x (multiply x bits / 8 + add)
    low, value   and every weight read once, every activation written and read once, in a large one
    high         and every multiply-accumulate reads its weight and activation from a small one,
                 the memories being of 1 MB and 8 kB
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw_configs import QuantisedAnn
from lava_models.cost.description import Network
from lava_models.cost.energy import Interval
from lava_models.cost.reach import convolution_synapses
from lava_models.net.netfile import NetFile

WEIGHT_BITS = 8
WORD = 64


@dataclass(frozen=True)
class AnnWork:
    """What a network without spikes does per image."""

    macs: int
    weights: int
    activations: int
    """Of all layers, input included."""
    activation_bits: int


def activation_bits(ticks: int) -> int:
    """Bits that hold every number of spikes of `ticks` ticks."""
    return math.ceil(math.log2(ticks + 1))


def work_of_net(net: NetFile, mode: str, macs: int) -> AnnWork:
    """Of the ANN VAE with a file's encoder and decoder and a Gaussian latent, `macs` in all."""
    layers = list(net.decoder)
    weights = sum(layer.weight.size for layer in layers)
    activations = net.latent + sum(math.prod(layer.shape) for layer in layers)
    if mode == "reconstruct":
        encoder = net.encoder if net.poisson is None else net.poisson.encoder
        # The last layer twice, for mean and variance; two of its outputs per latent.
        weights += sum(layer.weight.size for layer in (*encoder, encoder[-1]))
        activations += math.prod(net.image_shape) + 2 * net.latent
        activations += sum(math.prod(layer.shape) for layer in net.encoder[:-1])
    return AnnWork(macs, weights, activations, activation_bits(net.ticks))


def work_of_network(network: Network, ticks: int) -> AnnWork:
    """Of a described network's dense and convolutional layers, each once."""
    macs = weights = activations = 0
    for layer in network.layers:
        if layer.kind in ("conv", "convT"):
            inputs = network.shape(network.sources(layer)[0])[0]
            macs += convolution_synapses(network, layer)
            weights += inputs // layer.groups * layer.channels * math.prod(layer.kernel)
        elif layer.kind == "dense" or layer.summed:
            fan_in = sum(group.axons for group in network.synapses(layer))
            macs += fan_in * network.neurons(layer.name)
            weights += fan_in * network.neurons(layer.name)
        elif layer.kind != "input":
            continue
        activations += network.neurons(layer.name)
    return AnnWork(macs, weights, activations, activation_bits(ticks))


def ann_energy(work: AnnWork, constants: QuantisedAnn) -> Interval:
    """Joules per image; nominal and low reuse perfectly, high not at all."""
    bits = work.activation_bits
    multiply = constants.multiply.value * bits / WEIGHT_BITS
    arithmetic = work.macs * (multiply + constants.add.value)
    once = (work.weights * WEIGHT_BITS + 2 * work.activations * bits) / WORD
    least = arithmetic + once * constants.large_memory.value
    every = work.macs * (WEIGHT_BITS + bits) / WORD * constants.small_memory.value
    return Interval(least * 1e-12, least * 1e-12, (least + every) * 1e-12)


def break_even(neurons_j: float, moving_j: float, ann_j: float) -> float:
    """By what the spikes must be multiplied for the dynamic energy to be an ANN's; 0 where none do.

    Args:
        neurons_j: dynamic energy that is there without any spike.
        moving_j: the rest of it, which goes with the spikes.
    """
    return max(ann_j - neurons_j, 0.0) / moving_j if moving_j else math.inf
