"""A NetX file run by lava.lib.dl.netx.hdf5.Network itself, every layer watched at every timestep.

What the reference is proven against. Imports lava.lib.dl.netx, and with it what that imports.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from hw_configs.files import UserError
from lava_models.graph import runtime
from lava_models.net.netx import NetxFile
from lava_models.net.netx_layers import Cuba
from lava_models.reference.netx_reference import Drive, NetxResult, check_drive

CHUNK = 16
"""Timesteps per call of Lava's run(): how often progress is told."""


def run_stock(path: Path, net: NetxFile, drive: Drive, steps: int, *, sparse: bool = False,
              on_step: Callable[[int, int], None] = lambda done, total: None) -> NetxResult:
    """Run timesteps 1 ... `steps` of one sample on stock NetX's own network.

    Args:
        path: the file.
        net: the same, as we read it: shapes, and the options that it was read with.
        drive: one lane.
        sparse: stock's own option sparse_fc_layer.
        on_step: called with (timesteps done, timesteps in all).

    Returns:
        Messages of every layer; and where the last one is a LIF that is not recurrent, its voltage
        at the end, int32 (1, 1, n).

    Raises:
        RuntimeError: stock NetX does not load the file, or a process of the graph failed.
    """
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    check_drive(net, drive)
    with (tempfile.TemporaryDirectory(prefix="lava-netx-") as folder, runtime.quiet_lava(),
          warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO())):
        warnings.simplefilter("ignore")
        try:
            network, files = _build(path, net, drive, steps, sparse, Path(folder))
            runtime.start(network, Loihi2SimCfg(select_tag="fixed_pt"))
        except UserError:
            raise
        except Exception as error:  # whatever its own code stumbles over
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise RuntimeError(f"stock NetX does not load {path} ({said})") from error
        lava, done = network.runtime, 0
        try:
            while done < steps:
                count = min(CHUNK, steps - done)
                network.run(condition=RunSteps(num_steps=count, blocking=False))
                runtime.wait_for(lava)
                done += count
                on_step(done, steps)
        except BaseException:
            runtime.abandon(lava)
            raise
        states = _voltage(net, network)
        network.stop()
        return NetxResult({layer.name: _from_lava(np.load(file), layer.shape)
                           for layer, file in zip(net.layers, files, strict=True)}, states)


def _voltage(net: NetxFile, network) -> dict[str, np.ndarray]:
    """Of the last layer, now: what a network reads out whose last layer does not fire. A stock
    RecurrentDense has no process model of its own, and its Vars read 0 whatever they hold."""
    last = net.layers[-1]
    if not isinstance(last.neuron, Cuba) or last.recurrent is not None:
        return {}
    data = np.asarray(network.layers[-1].neuron.v.get()).reshape(1, -1).astype(np.int32)
    return {f"{last.name}.v": _from_lava(data, last.shape)}


def _build(path: Path, net: NetxFile, drive: Drive, steps: int, sparse: bool, folder: Path):
    """(stock Network, fed and watched; a file per layer that its messages go to)."""
    from lava.lib.dl.netx.hdf5 import Network
    from lava.proc.io.source import RingBuffer as Source

    from lava_models.processes.host import MessageProbe

    network = Network(net_config=str(path), sparse_fc_layer=sparse, **asdict(net.options))
    first = network.layers[0]
    if drive.bias is not None:
        bias = _to_lava(drive.bias, net.layers[0].shape).astype(np.int32)
        cuba = isinstance(net.layers[0].neuron, Cuba)
        (first.neuron.bias_mant if cuba else first.neuron.bias).init = bias
    if drive.sent is not None:
        port = first.neuron.a_in if net.enters_neurons else network.inp
        # A dense layer's port has one axis: maps reach it in the order of its weights.
        shape = net.input_shape if len(port.shape) > 1 else (net.input_size,)
        data = np.zeros((*port.shape, steps), np.int32)
        known = drive.sent[:steps, 0].astype(np.int32)
        data[..., :len(known)] = np.stack([_to_lava(row, shape) for row in known], -1)
        Source(data=data).s_out.connect(port)
    files = []
    for ours, layer in zip(net.layers, network.layers, strict=True):
        files.append(str(folder / f"{ours.name}.npy"))
        np.lib.format.open_memmap(files[-1], "w+", shape=(steps, ours.size),
                                  dtype=np.int32 if ours.graded else bool)
        probe = MessageProbe(size=ours.size, file=files[-1], name=f"probe_{len(files)}")
        layer.out.flatten().connect(probe.a_in)
    return network, files


def _to_lava(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n,) in our order to Lava's (x, y, channel)."""
    return values.reshape(shape).transpose(range(len(shape))[::-1])


def _from_lava(data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(T, n), maps as (x, y, channel), to (T, 1, n) in our order."""
    maps = data.reshape(len(data), *shape[::-1])
    return maps.transpose(0, *range(len(shape), 0, -1)).reshape(len(data), 1, -1)
