"""A NetX file as a program (lava_models.net.program): populations and connections, no ticks.

A tick is a timestep. A sample takes P of them; each layer sees it one timestep after the layer
before, and is reset then if the network resets at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from hw_configs.files import UserError
from lava_models.net.netx import NetxFile
from lava_models.net.netx_layers import Cuba
from lava_models.net.populations import (
    GRADED,
    SPIKES,
    Connection,
    Host,
    NetxNeurons,
    NetxWeights,
    Population,
)
from lava_models.net.program import Program
from lava_models.net.schedule import Schedule

INPUT = "outside"
"""The population that stands for what comes in."""
MODE = "netx"


def build_netx_program(net: NetxFile, timesteps: int) -> Program:
    """The wiring of a NetX file.

    Args:
        timesteps: P, per sample.

    Raises:
        UserError: a sample is not as long as the interval of its resets.
    """
    interval = net.options.reset_interval
    if interval is not None and interval != timesteps:
        raise UserError(f"{timesteps} timesteps per sample, but the network resets every "
                        f"{interval}; expected the same")
    begin = 1
    if interval is not None:
        begin += net.options.reset_offset % interval
    elif not net.enters_neurons:
        begin += 1  # a message takes a timestep through the first synapses
    phases = {layer.name: begin + i for i, layer in enumerate(net.layers)}
    schedule = Schedule(timesteps, 0, 1, phases)
    populations = (*_outside(net), *(
        Population(layer.name, layer.name, NetxNeurons(layer), layer.shape, phases[layer.name])
        for layer in net.layers))
    return Program(MODE, populations, tuple(_connections(net)), schedule)


def _outside(net: NetxFile) -> Iterator[Population]:
    if not net.enters_neurons:
        yield Population(INPUT, "input", Host(), net.input_shape, 1)


def _connections(net: NetxFile) -> Iterator[Connection]:
    before = None if net.enters_neurons else INPUT
    for layer in net.layers:
        if before is not None:
            message = GRADED if layer.synapses.graded else SPIKES
            yield Connection(before, layer.name, "s_in", NetxWeights(layer.synapses),
                             message=message)
        if layer.recurrent is not None:
            message = GRADED if layer.recurrent.graded else SPIKES
            yield Connection(layer.name, layer.name, "recurrent", NetxWeights(layer.recurrent),
                             message=message)
        before = layer.name


def lanes_agree(net: NetxFile) -> bool:
    """Whether samples side by side give what they give one after another: every neuron is reset
    when a sample begins, and no message of the one before is still under way."""
    options = net.options
    if options.reset_interval is None:
        return False
    aligned = options.reset_offset % options.reset_interval == (0 if net.enters_neurons else 1)
    parts = [s for layer in net.layers for s in (layer.synapses, layer.recurrent) if s is not None]
    return (aligned and all(isinstance(layer.neuron, Cuba) for layer in net.layers)
            and all(layer.recurrent is None for layer in net.layers)
            and not any(s.delay is not None and s.delay.any() for s in parts))
