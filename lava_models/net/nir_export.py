"""A NetX file as a NIR graph, exact under a forward Euler step of the same length (nir_import).

What NIR cannot say is refused by layer and field; what it says without a chip's limits (bit widths,
exponents, the integers themselves) is kept as metadata, with what of a model.net was left out.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError, replacing
from lava_models.net.netx import NetxFile
from lava_models.net.netx_layers import DECAY_ONE, ConvSynapses, Cuba, NetxLayer
from lava_models.net.nir_import import THRESHOLD_MAX, TIMESTEP

NIR_VERSION = "1.0.8"
"""Of the format as it is written here."""
LEFT_OUT = ("decoder: transposed convolutions, which NIR has none of",
            "posterior and prior: latents drawn on the chip, noise that NIR has none of",
            "ticks of D timesteps, and the feedback of the latents")
"""Of a model.net, of which the encoder goes into the graph."""


def write_nir(net: NetxFile, path: Path, timestep: float = TIMESTEP,
              left_out: tuple[str, ...] = ()) -> None:
    """Write the graph, whole or not at all.

    Args:
        timestep: dt, in seconds.
        left_out: lines of metadata.

    Raises:
        UserError: a layer that NIR cannot say; names layer, type and field.
    """
    nodes: dict[str, dict] = {"input": {"type": "Input", "shape": np.array(net.input_shape)}}
    shape = net.input_shape
    for layer in net.layers:
        _check(net, layer)
        if len(shape) == 3 and not isinstance(layer.synapses, ConvSynapses):
            nodes[f"{layer.name}.flatten"] = {
                "type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": np.array(shape)}
        nodes[f"{layer.name}.weight"] = _linear(layer)
        nodes[f"{layer.name}.neuron"] = _neuron(layer, timestep)
        shape = layer.shape
    nodes["output"] = {"type": "Output", "shape": np.array(shape)}
    names = list(nodes)
    said = {"dt": timestep, "source": net.name, **{f"left_out_{i}": text for i, text in
                                                    enumerate((*left_out, *net.notes))}}
    graph = {"type": "NIRGraph", "nodes": nodes, "metadata": said, "edges": np.array(
        list(zip(names, names[1:])), dtype=h5py.string_dtype())}
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file["version"] = NIR_VERSION
        _put(file.create_group("node"), graph)


def _put(group: h5py.Group, values: dict) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _put(group.create_group(key), value)
        else:
            group[key] = value


def _check(net: NetxFile, layer: NetxLayer) -> None:
    """Raises:
        UserError: the layer has what NIR, or a chain of it, cannot say.
    """
    def refuse(name: str, why: str) -> UserError:
        return UserError(f"{net.name}: {layer.name} ({layer.type}): {name}: {why}")

    if layer.synapses is None:
        raise refuse("neuron", "an input layer of neurons; NIR's Input has none. Leave it out with "
                     "--skip-layers 1")
    if not isinstance(layer.neuron, Cuba):
        raise refuse("neuron/type", "sigma-delta neurons, which NIR has none of")
    if layer.recurrent is not None:
        raise refuse("weight_rec", "recurrent layers are not written")
    if layer.synapses.delay is not None and layer.synapses.delay.any():
        raise refuse("delay", "delays of synapses are not written")
    if layer.synapses.shift:
        raise refuse("weight", "sums that lose bits, which NIR cannot say")
    if layer.neuron.voltage_decay == 0 and layer.neuron.current_decay < DECAY_ONE:
        raise refuse("neuron/vDecay", "0 with a current that decays, which no NIR node has")
    if layer.neuron.current_decay == 0:
        raise refuse("neuron/iDecay", "0, a current that never decays, which no NIR node has")


def _linear(layer: NetxLayer) -> dict:
    synapses = layer.synapses
    # Behind a current a bias would be filtered: there it goes into v_leak (_neuron).
    own = layer.bias if layer.neuron.current_decay == DECAY_ONE else np.zeros_like(layer.bias)
    metadata = {"weight_bits": synapses.bits}
    if isinstance(synapses, ConvSynapses):
        per_channel = own.reshape(layer.shape[0], -1)
        if np.ptp(per_channel, axis=1).any():
            raise UserError(f"{layer.name} ({layer.type}): bias: one per neuron; NIR has one per "
                            "channel")
        return {"type": "Conv2d", "input_shape": np.array(synapses.input_shape[1:]),
                "weight": synapses.weight.astype(np.float32), "groups": synapses.groups,
                "stride": np.array(synapses.stride), "padding": np.array(synapses.padding),
                "dilation": np.array(synapses.dilation), "metadata": metadata,
                "bias": per_channel[:, 0].astype(np.float32)}
    return {"type": "Affine", "weight": synapses.weight.astype(np.float32),
            "bias": own.astype(np.float32), "metadata": metadata}


def _neuron(layer: NetxLayer, dt: float) -> dict:
    """The node whose Euler step of length dt is the neuron's timestep."""
    neuron, shape = layer.neuron, layer.shape

    def full(value: float) -> np.ndarray:
        return np.full(shape, value)

    integers = {"iDecay": neuron.current_decay, "vDecay": neuron.voltage_decay,
                "vThMant": neuron.threshold}
    silent = neuron.threshold >= THRESHOLD_MAX
    fires = {} if silent else {"v_threshold": full(neuron.threshold), "v_reset": full(0.0)}
    if neuron.voltage_decay == 0:
        return {"type": "I" if silent else "IF", "r": full(1 / dt), **fires, "metadata": integers}
    tau = dt * DECAY_ONE / neuron.voltage_decay
    if neuron.current_decay == DECAY_ONE:
        return {"type": "LI" if silent else "LIF", "tau": full(tau), "r": full(tau / dt),
                "v_leak": full(0.0), **fires, "metadata": integers}
    tau_syn = dt * DECAY_ONE / neuron.current_decay
    leak = layer.bias.reshape(shape) * (DECAY_ONE / neuron.voltage_decay)
    return {"type": "CubaLI" if silent else "CubaLIF", "tau_mem": full(tau),
            "tau_syn": full(tau_syn), "r": full(tau / dt), "w_in": full(tau_syn / dt),
            "v_leak": leak, **fires, "metadata": integers}
