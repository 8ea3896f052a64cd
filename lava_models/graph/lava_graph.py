"""model.net as a Lava process graph on the CPU simulator, watched spike for spike.

Two graphs of the same processes (`lava_models/processes`): "stock", in which everything on the
chip's side is stock Lava (LIF, LIFReset, Sparse), and "fused", with one numpy model per process
and any number of lanes, samples side by side. The host feeds images and reads the result;
latents are drawn in the graph.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lava_models.graph import runtime
from lava_models.net.netfile import NetFile
from lava_models.net.schedule import (
    FEEDBACK,
    SELECTION,
    Schedule,
    clocked,
    latent_part,
    layer_order,
    schedule_for,
)
from lava_models.reference.rule30 import POPULATIONS, ChipBits, Ring
from lava_models.reference.simulator import Reference

GRAPHS = ("fused", "stock")
CONVOLUTIONS = ("unrolled", "shared")
INPUT_MESSAGE_BITS = 16
"""Width of the image's graded spikes: the neuron's 16-bit port takes no more."""
RING_COUNTED_FROM = 3
"""Timestep from which on the ring of random bits shows no trace of how it was started."""
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

    def by_tick(self, name: str, schedule: Schedule) -> np.ndarray:
        """Recorded spikes of one population at its waves, lane after lane: bool (samples, T, n)."""
        at = np.concatenate([schedule.timesteps(name, i) - 1 for i in range(self.recorded)])
        waves = self.raster(name)[:, at]
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
    with tempfile.TemporaryDirectory(prefix="lava-graph-") as folder, runtime.quiet_lava():
        built = Graph(net, mode, samples, graph, convolutions, lanes, record, Path(folder))
        return built.build(bits, images).run(on_step)


def bytes_needed(net: NetFile, mode: str, lanes: int) -> int:
    """About how much memory the fused graph takes: a part for its processes, and so much a lane.

    A lane's spikes pass through channels, a probe and temporaries as well, hence the factor.
    """
    cells = Reference(net, mode).cells.values()
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
    neurons = sum(math.prod(layer.shape) for _, layer in net.named_layers())
    neurons += sum(Ring(net.latent * net.random_bits).sizes)
    per_sample = lanes * schedule_for(net, mode).period * neurons // 8
    return max(1, RECORD_BYTES // per_sample)


class Graph:
    """Builds, runs and reads the graph; what host and graph exchange lies in `folder`."""

    def __init__(self, net: NetFile, mode: str, samples: int, graph: str, convolutions: str,
                 lanes: int, record: int | None, folder: Path) -> None:
        self.net, self.mode, self.samples, self.folder = net, mode, samples, folder
        self.stock, self.lanes = graph == "stock", lanes
        self.shared = convolutions == "shared"
        self.schedule, self.order = schedule_for(net, mode), layer_order(net, mode)
        self.layers = dict(net.named_layers())
        self.per_lane = math.ceil(samples / lanes)
        self.steps = self.schedule.run_length(self.order[-1], self.per_lane)
        self.recorded = self.per_lane if record is None else min(record, self.per_lane)
        self.ahead = {n: phase - 1 for n, phase in self.schedule.phases.items()}
        """For every layer, the timestep at which its sources emit the first wave."""
        self.sizes: dict[str, int] = {}
        self.constants: dict[str, np.ndarray] = {}
        """Layers whose input never changes: its synaptic sums (SpikingLayer's `constant`)."""

    def build(self, bits: ChipBits, images: np.ndarray | None) -> Graph:
        upstream = None if images is None else self._images(images)
        # One tick neuron per layer carries its bias, and whatever else of its input never changes.
        if self.net.poisson is not None and images is None:
            self.constants[SELECTION] = self.net.poisson.prior
        with_bias = clocked(self.net, self.mode)
        self.clocked = [n for n in self.order if n in with_bias or n in self.constants]
        self.clock = self._clock([self.ahead[name] for name in self.clocked],
                                 self.schedule.dilation, "clock")
        self.selection = self._selection(bits)
        for name in self.order:
            if name == SELECTION:
                if SELECTION not in self.constants:
                    upstream.connect(self.selection.zeta_in)
                upstream = self.selection.z_out
                if self.net.loops:
                    self._probe(FEEDBACK, self.selection.z_feedback, self.schedule.phases[name])
            else:
                process = self._layer(name, upstream)
                upstream = process.s_out
            if name != self.order[-1]:  # the readout: a spike would show in its voltage
                self._probe(name, upstream, self.schedule.phases[name])
        self._read_voltage(process)
        return self

    def _clock(self, first: list[int], interval: int, name: str):
        """Tick neurons; the fused models know the time without."""
        from lava_models.processes.clock import Clock

        if not self.stock or not first:
            return None
        return Clock(first=np.array(first), interval=interval, name=name)

    def _selection(self, bits: ChipBits):
        from lava_models.processes.random_bits import RandomBits
        from lava_models.processes.selection import LatentSelection

        net, schedule = self.net, self.schedule
        last_ticks = np.arange(max(net.ticks - net.lag, 0), net.ticks)
        more = {}
        if SELECTION in self.constants:
            more = {"constant": self.constants[SELECTION],
                    "clock_index": self.clocked.index(SELECTION), "clock_size": len(self.clocked)}
        selection = LatentSelection(
            channels=net.latent, selection=net.selection, silencers=len(last_ticks),
            schedule=schedule, lanes=self.lanes,
            message_bits=INPUT_MESSAGE_BITS if net.poisson else 0, **more)
        if self.clock is not None and more:
            self.clock.s_out.connect(selection.tick)
        silence = self._clock(list(self.ahead[SELECTION] + schedule.dilation * last_ticks),
                              schedule.period, "silence_clock")
        if silence is not None:
            silence.s_out.connect(selection.silence)
        starts = [bits.start(lane * self.per_lane) for lane in range(self.lanes)]
        first, second = (np.stack(cells) for cells in zip(*starts, strict=True))
        generator = RandomBits(ring=bits.ring, first=first, second=second)
        generator.bits_out.connect(selection.bits_in)
        ports = generator.cells_out, generator.rule_out, generator.bits_out
        for name, port in zip(POPULATIONS, ports, strict=True):
            self._probe(name, port, RING_COUNTED_FROM)
        return selection

    def _layer(self, name: str, upstream):
        from lava_models.processes.layer import SpikingLayer

        layer = self.layers[name]
        loops = name == f"{latent_part(self.mode)}.0"  # takes [x^E ; z], or z alone
        process = SpikingLayer(
            layer=layer, layer_name=name, schedule=self.schedule, lanes=self.lanes,
            feedback=self.net.latent if loops and upstream else 0,
            message_bits=INPUT_MESSAGE_BITS if name == "encoder.0" else 0, shared=self.shared,
            clock_index=self.clocked.index(name) if name in self.clocked else None,
            clock_size=max(len(self.clocked), 1), constant=self.constants.get(name))
        if upstream or loops:
            (upstream or self.selection.z_feedback).connect(process.s_in)
        if loops and upstream:
            self.selection.z_feedback.connect(process.z_in)
        if self.clock is not None and name in self.clocked:
            self.clock.s_out.connect(process.tick)
        return process

    def _images(self, images: np.ndarray):
        """Port that emits the images, each for T ticks; zeros where a lane has run out of them."""
        from lava_models.processes.host import WaveSource

        rows = np.zeros((self.lanes * self.per_lane, images.shape[1]), np.int32)
        rows[:len(images)] = images
        rows = rows.reshape(self.lanes, self.per_lane, -1).transpose(1, 2, 0)
        np.save(self._path("images"), rows.reshape(self.per_lane, -1))
        return WaveSource(file=self._path("images"), size=self.lanes * images.shape[1],
                          first=self.ahead[self.order[0]], interval=self.schedule.dilation,
                          repeat=self.net.ticks, name="images").s_out

    def _probe(self, name: str, port, since: int) -> None:
        from lava_models.processes.host import SpikeProbe

        size = port.shape[0]
        self.sizes[name] = size // self.lanes
        steps = self.schedule.run_length(self.order[-1], self.recorded)
        self._new_file(name, (steps, math.ceil(size / 8)), np.uint8)
        self._new_file(f"{name}.counts", (self.schedule.period, self.sizes[name]), np.int32)
        # In the last rounds only the first lanes still have samples.
        rounds = np.arange(self.per_lane)
        probe = SpikeProbe(size=size, lanes=self.lanes, raster=self._path(name),
                           counts=self._path(f"{name}.counts"), since=since,
                           counted=-((rounds - self.samples) // self.per_lane),
                           name=f"probe_{name}")
        port.connect(probe.a_in)

    def _read_voltage(self, readout) -> None:
        from lava_models.processes.host import StateProbe

        size = readout.v.shape[0]
        self._new_file("voltage", (self.per_lane, size), np.int32)
        StateProbe(size=size, file=self._path("voltage"), interval=self.schedule.period,
                   first=self.schedule.last_wave(self.order[-1], 0),
                   name="image_read").connect_var(readout.v)

    def _path(self, name: str) -> str:
        return str(self.folder / f"{name}.npy")

    def _new_file(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        np.lib.format.open_memmap(self._path(name), "w+", dtype=dtype, shape=shape)

    def run(self, on_step: Callable[[int, int], None]) -> GraphRun:
        from lava.magma.core.run_conditions import RunSteps

        self._start()
        lava, done, most = self.selection.runtime, 0, self._chunk()
        try:
            while done < self.steps:
                chunk = min(most, self.steps - done)
                self.selection.run(condition=RunSteps(num_steps=chunk, blocking=False))
                runtime.wait_for(lava)
                done += chunk
                on_step(done, self.steps)
        except BaseException as error:
            runtime.abandon(lava)
            if isinstance(error, KeyboardInterrupt):
                raise self._interrupted(done) from None
            raise
        self.selection.stop()
        return GraphRun(
            self._voltage().reshape(-1, self._pixels())[:self.samples],
            {name: np.load(self._path(f"{name}.counts")) for name in self.sizes},
            {name: np.load(self._path(name)) for name in self.sizes},
            self.sizes, self.lanes, self.steps, self.recorded)

    def _start(self) -> None:
        """Compile the graph and start its processes."""
        runtime.start(self.selection, self._config())

    def _config(self):
        """Lava's run configuration: which model of each process runs."""
        from lava.magma.core.run_configs import Loihi2SimCfg

        return Loihi2SimCfg(select_tag="fixed_pt", select_sub_proc_model=self.stock)

    def _chunk(self) -> int:
        """Timesteps per call of Lava's run()."""
        return self.schedule.period

    def _pixels(self) -> int:
        return math.prod(self.net.image_shape)

    def _voltage(self) -> np.ndarray:
        """Readout voltages, int32 (lanes, samples per lane, C*H*W)."""
        rows = np.load(self._path("voltage")).reshape(self.per_lane, self._pixels(), self.lanes)
        return rows.transpose(2, 0, 1)

    def _interrupted(self, done: int) -> Interrupted:
        """What was read within `done` timesteps."""
        read = [self.schedule.last_wave(self.order[-1], i) <= done for i in range(self.per_lane)]
        finished = np.add.outer(np.arange(self.lanes) * self.per_lane, np.flatnonzero(read))
        voltage = self._voltage()[:, read].reshape(-1, self._pixels())
        keep = finished.ravel() < self.samples
        return Interrupted(voltage[keep], finished.ravel()[keep])
