"""Whatever --fit takes as a network description: typed (TOML, JSON), a model.net, a NetX file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hw_configs.files import UserError
from hw_configs.reading import NETWORK, check_input
from lava_models.cost.describe import describe, read_description
from lava_models.cost.description import LayerDescription, Network
from lava_models.net.hdf5 import read_net, says_model_net
from lava_models.net.hdf5_input import is_hdf5, open_hdf5
from lava_models.net.netx import NetxFile, NetxOptions, read_netx
from lava_models.net.netx_layers import ConvSynapses, NetxLayer

MOST_BITS = 8
"""Of a weight on the chip."""


def read_network(path: Path, mode: str, compiler: str | None = None,
                 options: NetxOptions | None = None) -> Network:
    """A description (TOML, JSON), a model.net in `mode`, or a NetX file.

    Args:
        compiler: whose core limits apply, by its date (default: what a description says, or the
            newest known).
        options: a NetX file is read with.

    Raises:
        UserError: none of these, or with a layer that neither NetX nor we know.
    """
    network = _read(path, mode, options)
    return network if compiler is None else dataclasses.replace(network, compiler=compiler)


def _read(path: Path, mode: str, options: NetxOptions | None) -> Network:
    if path.suffix in (".toml", ".json"):
        return read_description(path)
    check_input(path, NETWORK, "expected a description (.toml, .json) or a NetX file")
    if is_model_net(path):
        return describe(read_net(path), mode, name=path.name)
    return describe_netx(read_netx(path, options))


def is_model_net(path: Path) -> bool:
    """Whether a file is a model.net of this project."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path, "NetX file") as file:
        return says_model_net(file)


def describe_netx(net: NetxFile) -> Network:
    """A NetX file as a description.

    Raises:
        UserError: weights that need more bits than a chip has.
    """
    layers = []
    if not net.enters_neurons:
        layers.append(LayerDescription("outside", "input", net.input_shape, on_chip=False))
    layers += [_describe(net, layer, before) for before, layer in zip(
        (layers[0].name if layers else None, *(layer.name for layer in net.layers)), net.layers)]
    return Network(net.name, tuple(layers), mode="netx")


def _describe(net: NetxFile, layer: NetxLayer, before: str | None) -> LayerDescription:
    synapses = layer.synapses
    if synapses is None:
        return LayerDescription(layer.name, "input", layer.shape)
    if synapses.bits > MOST_BITS:
        raise UserError(f"{net.name}: {layer.name} ({layer.type}): weights need {synapses.bits} "
                        f"bits, a chip has {MOST_BITS}")
    bits = (max(synapses.bits, 1),)
    if isinstance(synapses, ConvSynapses):
        return LayerDescription(
            layer.name, "conv", sources=(before,), channels=layer.shape[0],
            kernel=synapses.kernel, stride=synapses.stride, padding=synapses.padding,
            dilation=synapses.dilation, groups=synapses.groups, weight_bits=bits)
    sources = (before,) if layer.recurrent is None else (before, layer.name)
    delay = 0 if synapses.delay is None else int(synapses.delay.max()).bit_length()
    return LayerDescription(layer.name, "dense", layer.shape, sources=sources, weight_bits=bits,
                            delay_bits=delay)
