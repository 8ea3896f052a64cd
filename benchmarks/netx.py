"""How fast is the reference of a NetX file? Against lava.lib.dl.netx.hdf5.Network, in one run.

    python benchmarks/netx.py

The networks are those inside lava-dl's wheel. One sample, one thread for the reference; stock Lava
has a process per synapse and neuron and takes what cores there are. Rounds alternate; what is timed
is steady state, without compiling and forking.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import tyro

from lava_models.graph.netx_stock import CHUNK, run_stock
from lava_models.net.netx import NetxFile, NetxOptions, read_netx
from lava_models.reference.netx_reference import Drive, NetxReference

WHEEL = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
NETX = WHEEL / "tests/lava/lib/dl/netx"


@dataclass(frozen=True)
class Command:
    """Time stock NetX and the reference on the files inside lava-dl's wheel."""

    rounds: int = 3
    """How often everything is measured."""
    steps: int = 2 * CHUNK
    """Timesteps that stock runs; the first stretch is not timed."""
    only: tuple[str, ...] = ()
    """Names of the networks to time (default: all)."""


@dataclass(frozen=True)
class Case:
    """A network and what comes in."""

    file: str
    options: NetxOptions
    drive: Callable[[NetxFile, int], Drive]
    convolutional: bool

    @property
    def path(self) -> Path:
        return NETX / self.file


def load(name: str) -> np.ndarray:
    """A recording (x, y, channel, T) or (n, T) as (T, 1, n)."""
    values = np.load(NETX / "gts" / name)
    return values.transpose(range(values.ndim)[::-1]).reshape(values.shape[-1], 1, -1)


def mnist(net: NetxFile, steps: int) -> Drive:
    """Pixels of which a fifth is bright, as biases."""
    rng = np.random.default_rng(0)
    return Drive(bias=np.where(rng.random((1, net.input_size)) < 0.2, 140, 64))


def ntidigits(net: NetxFile, steps: int) -> Drive:
    """The recorded spikes."""
    spikes = load("ntidigits/input.npy") != 0
    return Drive(sent=np.tile(spikes, (-(-steps // len(spikes)), 1, 1))[:steps])


def pilotnet_lif(net: NetxFile, steps: int) -> Drive:
    """The recorded image."""
    image = np.load(NETX / "gts/pilotnet_lif/image.npy")
    return Drive(bias=image.transpose(2, 1, 0).reshape(1, -1))


def pilotnet_sdnn(net: NetxFile, steps: int) -> Drive:
    """The recorded frame, every pixel of which goes on changing a little, so that all is sent."""
    rng = np.random.default_rng(0)
    frame = load("pilotnet_sdnn/input.npy")
    return Drive(sent=frame + rng.integers(-3, 4, (steps, *frame.shape[1:])))


CASES = {
    "MNIST, dense": Case("mnist.net", NetxOptions(), mnist, False),
    "NTIDIGITS, dense with delays": Case("gts/ntidigits/ntidigits.net", NetxOptions(num_layers=5),
                                         ntidigits, False),
    "PilotNet LIF, convolutions": Case("gts/pilotnet_lif/network.net",
                                       NetxOptions(reset_interval=16), pilotnet_lif, True),
    "PilotNet SDNN, convolutions": Case("gts/pilotnet_sdnn/network.net", NetxOptions(),
                                        pilotnet_sdnn, True),
}
GOAL = {False: 20, True: 40}
"""Times stock, dense and convolutional."""


def time_stock(case: Case, net: NetxFile, steps: int) -> float:
    """Seconds per timestep of stock NetX, from the end of its first stretch on."""
    marks: list[tuple[float, int]] = []
    run_stock(case.path, net, case.drive(net, steps), steps,
              on_step=lambda done, total: marks.append((time.perf_counter(), done)))
    (begin, first), (end, last) = marks[0], marks[-1]
    return (end - begin) / (last - first)


def time_reference(case: Case, net: NetxFile, steps: int) -> float:
    """Seconds per timestep of the reference, weights at hand."""
    reference = NetxReference(net)
    drive = case.drive(net, steps)
    reference.run(drive, CHUNK, watch=())
    start = time.perf_counter()
    reference.run(drive, steps, watch=())
    return (time.perf_counter() - start) / steps


def main(command: Command) -> None:
    """Measure and print a table."""
    print("| network | stock ms / timestep | min - max | reference ms / timestep | min - max | |")
    print("|-|-|-|-|-|-|")
    for name, case in CASES.items():
        if command.only and name not in command.only:
            continue
        net = read_netx(case.path, case.options)
        stock, mine = [], []
        for _ in range(command.rounds):
            stock.append(1e3 * time_stock(case, net, command.steps))
            mine.append(1e3 * time_reference(case, net, 8 * command.steps))
        ratio = statistics.median(stock) / statistics.median(mine)
        print(f"| {name} | {statistics.median(stock):.1f} | {min(stock):.1f} - {max(stock):.1f} | "
              f"{statistics.median(mine):.3f} | {min(mine):.3f} - {max(mine):.3f} | "
              f"{ratio:.0f} x (target {GOAL[case.convolutional]}) |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Command))
