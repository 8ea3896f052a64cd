"""A NetX file as a program (lava_models.net.program): populations and connections, no ticks.

A tick is a timestep. A sample takes P of them; each layer sees it one timestep after the layer
before, and is reset then if the network resets at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from hw_configs.files import UserError
from lava_models.net.netx import NetxFile
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


def build_netx_program(net: NetxFile, timesteps: int, waves: bool) -> Program:
    """The wiring of a NetX file.

    Args:
        timesteps: P, per sample.
        waves: whether each layer's sample begins a timestep after that of the layer before; else
            all are looked at from timestep 1 on.

    Raises:
        UserError: with `waves`, a sample is not as long as the interval of its resets.
    """
    interval = net.options.reset_interval
    if waves and interval not in (None, timesteps):
        raise UserError(f"{timesteps} timesteps per sample, but the network resets every "
                        f"{interval}; expected the same")
    begin = 1
    if interval is not None:
        begin += net.options.reset_offset % interval
    elif not net.enters_neurons:
        begin += 1  # a message takes a timestep through the first synapses
    phases = {layer.name: begin + i if waves else 1 for i, layer in enumerate(net.layers)}
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

