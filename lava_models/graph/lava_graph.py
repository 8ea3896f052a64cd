"""model.net as a Lava process graph on the CPU simulator, watched spike for spike.

Two graphs of the same processes (`lava_models/processes`): "stock", in which everything on the
chip's side is stock Lava (LIF, LIFReset, Sparse), and "fused", with one numpy model per process
and any number of lanes, samples side by side. The host feeds images and reads the result;
latents are drawn in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lava_models.fused.cells import make_cell
from lava_models.graph import runtime
from lava_models.graph.wiring import Wiring
from lava_models.net.netfile import NetFile
from lava_models.net.populations import Draw, Host, Neurons, Population, RingNeurons, Stored
from lava_models.net.program import build_program
from lava_models.net.schedule import Schedule
from lava_models.reference.rule30 import ChipBits

if TYPE_CHECKING:
    from lava.magma.core.process.ports.ports import OutPort

GRAPHS = ("fused", "stock")
CONVOLUTIONS = ("unrolled", "shared")
MOST_LANES = 64
"""Lanes chosen where there are enough samples; 128 bring little (benchmarks/RESULTS.md)."""
PROCESS_BYTES = 8 * 2**20
"""What one of the graph's processes takes beyond its samples; measured."""
RECORD_BYTES = 2**26
"""About how much room recorded spikes may take."""


@dataclass(frozen=True)
class GraphRun:
    """What a run of the Lava graph gives for S samples.

    Lane l runs samples l*m ... l*m + m-1 back to back, m = ceil(S / lanes). In the graph the lanes
    of a neuron are next to each other: (n, lanes).
    """

    voltage: np.ndarray
    """Readout voltages at tick T of every sample, int32 (S, C*H*W)."""
    counts: Mapping[str, np.ndarray]
    """For every population: spikes per timestep of the period (from its first wave on) and
    neuron, int32 (P, n), summed over the S samples."""
    spikes: Mapping[str, np.ndarray]
    """For every population: bit-packed spikes of the recorded timesteps, uint8
    (timesteps, ceil(lanes * n / 8))."""
    sizes: Mapping[str, int]
    """n, neurons per population."""
    lanes: int
    steps: int
    """Timesteps run."""
    recorded: int
    """Samples per lane that `spikes` covers."""

    @property
    def samples_per_lane(self) -> int:
        return math.ceil(len(self.voltage) / self.lanes)

    def raster(self, name: str) -> np.ndarray:
        """Recorded spikes of one population: bool (lanes, timesteps, n)."""
        packed, n = self.spikes[name], self.sizes[name]
        spikes = np.unpackbits(packed, axis=1, count=self.lanes * n).astype(bool)
        return spikes.reshape(len(packed), n, self.lanes).transpose(2, 0, 1)

    def by_tick(self, population: Population, schedule: Schedule) -> np.ndarray:
        """Recorded spikes of one population at its waves, lane after lane: bool (samples, T, n)."""
        at = np.concatenate([schedule.timesteps(population.phase, i) - 1
                             for i in range(self.recorded)])
        waves = self.raster(population.name)[:, at]
        return waves.reshape(-1, schedule.ticks, waves.shape[-1])[:len(self.voltage)]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a run; carries what was finished."""

    def __init__(self, voltage: np.ndarray, finished: np.ndarray) -> None:
        super().__init__()
        self.voltage, self.finished = voltage, finished
        """Readout voltages int32 (F, C*H*W) of the samples `finished` int64 (F,)."""


def run_graph(net: NetFile, mode: str, bits: ChipBits, samples: int,
              images: np.ndarray | None = None, *, graph: str = "fused",
              convolutions: str = "unrolled", lanes: int = 1, record: int | None = None,
              on_step: Callable[[int, int], None] = lambda done, total: None) -> GraphRun:
    """Run `samples` samples through the graph.

    Args:
        net: the network.
        mode: "reconstruct" or "generate".
        bits: the generator of random bits, which the graph starts from its seed.
        images: graded input int32 of `encode_images`; reconstruct mode only.
        graph: "fused" or "stock".
        convolutions: "unrolled" or "shared" weights, in the stock graph.
        lanes: samples that run side by side; 1 in the stock graph.
        record: samples per lane whose spikes are recorded, at least 1 (default: all).
        on_step: called with (timesteps done, timesteps in all).

    Raises:
        Interrupted: Ctrl-C; nothing of the graph is left.
        RuntimeError: a process of the graph failed; says why.
    """
    if graph not in GRAPHS or lanes < 1 or (graph == "stock" and lanes > 1):
        raise ValueError(f"graph {graph!r} with {lanes} lanes")
    if convolutions not in CONVOLUTIONS:
        raise ValueError(f"convolutions {convolutions!r}, known are {CONVOLUTIONS}")
    with runtime.workspace() as folder, runtime.quiet_lava():
        built = Graph(net, mode, samples, graph, convolutions, lanes, record, folder)
        return built.build(bits, images).run(on_step)


def bytes_needed(net: NetFile, mode: str, lanes: int) -> int:
    """About how much memory the fused graph takes: a part for its processes, and so much a lane.

    A lane's spikes pass through channels, a probe and temporaries as well, hence the factor.
    """
    cells = [make_cell(p, (), 1) for p in build_program(net, mode).of(Neurons)]
    return PROCESS_BYTES * 3 * len(cells) + 3 * lanes * sum(c.bytes_per_sample for c in cells)


def choose_lanes(net: NetFile, mode: str, samples: int, available: int) -> int:
    """How many samples to run side by side: as many as are of use and fit into half of
    `available` bytes, and no more than keep the last round full."""
    one, two = (bytes_needed(net, mode, lanes) for lanes in (1, 2))
    fitting = 1 + (available // 2 - one) // (two - one)
    rounds = math.ceil(samples / max(1, min(samples, MOST_LANES, fitting)))
    return math.ceil(samples / rounds)


def choose_record(net: NetFile, mode: str, lanes: int) -> int:
    """How many samples per lane to record, so that the recordings stay small."""
    program = build_program(net, mode)
    neurons = sum(p.size for p in program.of(Neurons, Draw, RingNeurons, *Stored))
    per_sample = lanes * program.schedule.period * neurons // 8
    return max(1, RECORD_BYTES // per_sample)


class Graph:
    """Builds, runs and reads the graph of a program; what host and graph exchange lies in `folder`.

    Args:
        held: as in build_program.
    """

    def __init__(self, net: NetFile, mode: str, samples: int, graph: str, convolutions: str,
                 lanes: int, record: int | None, folder: Path, held: np.ndarray | None = None
                 ) -> None:
        self.program = build_program(net, mode, held)
        self.schedule, self.readout = self.program.schedule, self.program.readout
        self.samples, self.folder = samples, folder
        self.stock, self.lanes = graph == "stock", lanes
        self.wiring = Wiring(self.program, stock=self.stock, shared=convolutions == "shared",
                             lanes=lanes)
        self.per_lane = math.ceil(samples / lanes)
        self.steps = self.schedule.run_length(self.readout.phase, self.per_lane)
        self.recorded = self.per_lane if record is None else min(record, self.per_lane)
        self.probed: list[Population] = []

    def build(self, bits: ChipBits, images: np.ndarray | None) -> Graph:
        """Make a process of every population, connect them, and watch them."""
        wiring, program = self.wiring, self.program
        for population in program.of(Host):
            wiring.ends[population.name] = self._images(population, images)
        wiring.build([bits.start(lane * self.per_lane) for lane in range(self.lanes)])
        for population in program.of(Neurons, Draw, RingNeurons, *Stored):
            if population.spiking:  # of the readout a spike would show in its voltage
                self._probe(population)
        self.runner = wiring.processes[self.readout.name]
        self._read_voltage(self.runner)
        return self

    def _images(self, population: Population, images: np.ndarray) -> OutPort:
        """Port that emits the images, each for T ticks; zeros where a lane has run out of them."""
        from lava_models.processes.host import WaveSource

        rows = np.zeros((self.lanes * self.per_lane, images.shape[1]), np.int32)
        rows[:len(images)] = images
        rows = rows.reshape(self.lanes, self.per_lane, -1).transpose(1, 2, 0)
        np.save(self._path("images"), rows.reshape(self.per_lane, -1))
        return WaveSource(file=self._path("images"), size=self.lanes * images.shape[1],
                          first=population.phase, interval=self.schedule.dilation,
                          repeat=self.schedule.ticks, name="images").s_out

    def _probe(self, population: Population) -> None:
        from lava_models.processes.host import SpikeProbe

        name, size = population.name, self.lanes * population.size
        self._new_file(name, (self._recorded_steps(), math.ceil(size / 8)), np.uint8)
        self._new_file(f"{name}.counts", (self.schedule.period, population.size), np.int32)
        # In the last rounds only the first lanes still have samples.
        rounds = np.arange(self.per_lane)
        end = self.wiring.ends[name]
        first, _ = self.wiring.within.get(name, (0, population.size))
        probe = SpikeProbe(within=end.shape[0], first=self.lanes * first,
                           size=size, lanes=self.lanes, raster=self._path(name),
                           counts=self._path(f"{name}.counts"), since=population.phase,
                           counted=-((rounds - self.samples) // self.per_lane),
                           name=f"probe_{name}")
        end.connect(probe.a_in)
        self.probed.append(population)

    def _recorded_steps(self) -> int:
        """Timesteps whose spikes are recorded."""
        return self.schedule.run_length(self.readout.phase, self.recorded)

    def _read_voltage(self, readout) -> None:
        from lava_models.processes.host import StateProbe

        size = readout.v.shape[0]
        self._new_file("voltage", (self.per_lane, size), np.int32)
        StateProbe(size=size, file=self._path("voltage"), interval=self.schedule.period,
                   first=self.schedule.last_wave(self.readout.phase, 0),
                   name="image_read").connect_var(readout.v)

    def _path(self, name: str) -> str:
        return str(self.folder / f"{name}.npy")

    def _new_file(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        np.lib.format.open_memmap(self._path(name), "w+", dtype=dtype, shape=shape)

    def run(self, on_step: Callable[[int, int], None]) -> GraphRun:
        from lava.magma.core.run_conditions import RunSteps

        self._start()
        lava, done, most = self.runner.runtime, 0, self._chunk()
        try:
            while done < self.steps:
                chunk = min(most, self.steps - done)
                self.runner.run(condition=RunSteps(num_steps=chunk, blocking=False))
                runtime.wait_for(lava)
                done += chunk
                on_step(done, self.steps)
        except BaseException as error:
            runtime.abandon(lava)
            if isinstance(error, KeyboardInterrupt):
                raise self._interrupted(done) from None
            raise
        self.runner.stop()
        return GraphRun(
            self._voltage().reshape(-1, self._pixels())[:self.samples],
            {p.name: np.load(self._path(f"{p.name}.counts")) for p in self.probed},
            {p.name: np.load(self._path(p.name)) for p in self.probed},
            {p.name: p.size for p in self.probed}, self.lanes, self.steps, self.recorded)

    def _start(self) -> None:
        """Compile the graph and start its processes."""
        runtime.start(self.runner, self._config())

    def _config(self):
        """Lava's run configuration: which model of each process runs."""
        from lava.magma.core.run_configs import Loihi2SimCfg

        return Loihi2SimCfg(select_tag="fixed_pt", select_sub_proc_model=self.stock)

    def _chunk(self) -> int:
        """Timesteps per call of Lava's run()."""
        return self.schedule.period

    def _pixels(self) -> int:
        return self.readout.size

    def _voltage(self) -> np.ndarray:
        """Readout voltages, int32 (lanes, samples per lane, C*H*W)."""
        rows = np.load(self._path("voltage")).reshape(self.per_lane, self._pixels(), self.lanes)
        return rows.transpose(2, 0, 1)

    def _interrupted(self, done: int) -> Interrupted:
        """What was read within `done` timesteps."""
        read = [self.schedule.last_wave(self.readout.phase, i) <= done
                for i in range(self.per_lane)]
        finished = np.add.outer(np.arange(self.lanes) * self.per_lane, np.flatnonzero(read))
        voltage = self._voltage()[:, read].reshape(-1, self._pixels())
        keep = finished.ravel() < self.samples
        return Interrupted(voltage[keep], finished.ravel()[keep])
