"""model.net as a Lava process graph on the CPU simulator, watched spike for spike.

Everything on the chip's side is stock Lava (LIF, LIFReset, Sparse) inside the processes of
`lava_models/processes`; the host side feeds images and random bits and reads the result.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lava_models.latents import HostBits, Selection
from lava_models.netfile import NetFile
from lava_models.reference import SELECTION, latent_part, layer_order, schedule_for
from lava_models.schedule import dilate_decay
from lava_models.synapse import neuron_bias, unroll

INPUT_MESSAGE_BITS = 16
"""Width of the image's graded spikes: the neuron's 16-bit port takes no more."""
POLL_S = 0.002
"""How often to look for failed processes, in seconds."""


@dataclass(frozen=True)
class GraphRun:
    """What a run of the Lava graph gives for S samples, run back to back."""

    voltage: np.ndarray
    """Readout voltages at tick T of every sample, int32 (S, C*H*W)."""
    spikes: Mapping[str, np.ndarray]
    """For every population: bit-packed spikes of every timestep, uint8 (steps, ceil(n/8))."""
    sizes: Mapping[str, int]
    """Neurons per population in `spikes`."""
    steps: int
    """Timesteps run."""

    def raster(self, name: str) -> np.ndarray:
        """Spikes of one population: bool (steps, n)."""
        return np.unpackbits(self.spikes[name], axis=1, count=self.sizes[name]).astype(bool)


def run_graph(net: NetFile, mode: str, bits: HostBits, samples: int,
              images: np.ndarray | None = None, *,
              on_step: Callable[[int, int], None] = lambda done, total: None) -> GraphRun:
    """Run `samples` samples back to back through the graph of stock processes.

    Args:
        net: the network.
        mode: "reconstruct" or "generate".
        bits: random bits of the latents; sample i of the run uses `bits.sample(i)`.
        images: graded input int32 (samples, C*H*W); reconstruct mode only.
        on_step: called with (timesteps done, timesteps in all).
    """
    with tempfile.TemporaryDirectory(prefix="lava-graph-") as folder, _quiet_lava():
        return _Graph(net, mode, samples, Path(folder)).build(bits, images).run(on_step)


def samples_begun(net: NetFile, mode: str, steps: int) -> int:
    """Samples whose first wave has entered after `steps` timesteps: while the last sample drains
    through the decoder, the layers before it already run on with the next."""
    return math.ceil(steps / schedule_for(net, mode).period)


class _Graph:
    """Builds, runs and reads the graph; what host and graph exchange lies in `folder`."""

    def __init__(self, net: NetFile, mode: str, samples: int, folder: Path) -> None:
        self.net, self.mode, self.samples, self.folder = net, mode, samples, folder
        self.schedule, self.order = schedule_for(net, mode), layer_order(net, mode)
        self.layers = dict(net.named_layers())
        self.steps = self.schedule.run_length(self.order[-1], samples)
        self.ahead = {n: phase - 1 for n, phase in self.schedule.phases.items()}
        """For every layer, the timestep at which its sources emit the first wave."""
        self.sizes: dict[str, int] = {}

    def build(self, bits: HostBits, images: np.ndarray | None) -> _Graph:
        from lava_models.processes.clock import Clock

        # One tick neuron per layer carries its bias; the selection needs none.
        self.clocked = [name for name in self.order if name != SELECTION]
        self.clock = Clock(first=np.array([self.ahead[name] for name in self.clocked]),
                           interval=self.schedule.dilation)
        self.selection = self._selection(bits)
        upstream = None
        if images is not None:
            upstream = self._source("images", images, self.order[0], repeat=self.net.ticks)
        for name in self.order:
            if name == SELECTION:
                upstream.connect(self.selection.zeta_in)
                upstream = self.selection.z_out
                self._probe(f"{SELECTION}.feedback", self.selection.z_feedback)
            else:
                process = self._layer(name, upstream)
                upstream = process.s_out
            if name != self.order[-1]:  # the readout: a spike would show in its voltage
                self._probe(name, upstream)
        self._read_voltage(process)
        return self

    def _selection(self, bits: HostBits):
        from lava_models.processes.clock import Clock
        from lava_models.processes.selection import LatentSelection

        net, schedule = self.net, self.schedule
        last_ticks = np.arange(max(net.ticks - net.lag, 0), net.ticks)
        silence = Clock(first=self.ahead[SELECTION] + schedule.dilation * last_ticks,
                        interval=schedule.period, name="silence_clock")
        selection = LatentSelection(
            channels=net.latent, selection=Selection(net.k, bits.bits), silencers=len(last_ticks),
            dilation=schedule.dilation, phase=schedule.phases[SELECTION])
        silence.s_out.connect(selection.silence)
        begun = samples_begun(net, self.mode, self.steps)
        draws = bits.samples(0, begun).reshape(begun * net.ticks, -1)
        self._source("random_bits", draws, SELECTION, repeat=1).connect(selection.bits_in)
        return selection

    def _layer(self, name: str, upstream):
        from lava_models.processes.layer import SpikingLayer

        layer, schedule = self.layers[name], self.schedule
        matrix = unroll(layer)
        sources, weights = [upstream], [matrix]
        if name == f"{latent_part(self.mode)}.0":  # [x^E ; z], or z alone
            split = matrix.shape[1] - self.net.latent
            sources = [upstream, self.selection.z_feedback] if split else [
                self.selection.z_feedback]
            weights = [matrix[:, :split], matrix[:, split:]] if split else [matrix]
        graded = INPUT_MESSAGE_BITS if name == "encoder.0" else 0
        process = SpikingLayer(
            weights=weights, message_bits=[graded] * len(weights), bias=neuron_bias(layer),
            clock_index=self.clocked.index(name), clock_size=len(self.clocked),
            decay=dilate_decay(layer.neuron.decay, schedule.dilation),
            threshold=layer.neuron.threshold, reset_interval=schedule.period,
            reset_offset=schedule.phases[name], name=name.replace(".", "_"))
        for i, source in enumerate(sources):
            source.connect(getattr(process, f"s_in_{i}"))
        self.clock.s_out.connect(process.tick)
        return process

    def _source(self, name: str, waves: np.ndarray, target: str, *, repeat: int):
        """Port that emits one row of `waves` per tick (each `repeat` times), to reach `target`."""
        from lava_models.processes.host import WaveSource

        np.save(self._path(name), waves)
        return WaveSource(file=self._path(name), size=waves.shape[1], first=self.ahead[target],
                          interval=self.schedule.dilation, repeat=repeat, name=name).s_out

    def _probe(self, name: str, port) -> None:
        from lava_models.processes.host import SpikeProbe

        self.sizes[name] = port.shape[0]
        self._new_file(name, (self.steps, math.ceil(port.shape[0] / 8)), np.uint8)
        probe = SpikeProbe(size=port.shape[0], file=self._path(name), name=f"probe_{name}")
        port.connect(probe.a_in)

    def _read_voltage(self, readout) -> None:
        from lava_models.processes.host import StateProbe

        size = readout.v.shape[0]
        self._new_file("voltage", (self.samples, size), np.int32)
        StateProbe(size=size, file=self._path("voltage"), interval=self.schedule.period,
                   first=self.schedule.last_wave(self.order[-1], 0),
                   name="image_read").connect_var(readout.v)

    def _path(self, name: str) -> str:
        return str(self.folder / f"{name}.npy")

    def _new_file(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        np.lib.format.open_memmap(self._path(name), "w+", dtype=dtype, shape=shape)

    def run(self, on_step: Callable[[int, int], None]) -> GraphRun:
        from lava.magma.core.run_conditions import RunSteps
        from lava.magma.core.run_configs import Loihi2SimCfg

        config = Loihi2SimCfg(select_tag="fixed_pt", select_sub_proc_model=True)
        executable = self.clock.compile(config)
        with _interrupts_ignored():  # the forked processes stay deaf to Ctrl-C: we end them
            self.clock.create_runtime(executable=executable)
        runtime = self.clock.runtime
        try:
            for start in range(0, self.steps, self.schedule.period):
                chunk = min(self.schedule.period, self.steps - start)
                self.clock.run(condition=RunSteps(num_steps=chunk, blocking=False))
                _wait_for(runtime)
                on_step(start + chunk, self.steps)
        except BaseException:
            _abandon(runtime)
            raise
        self.clock.stop()
        spikes = {name: np.load(self._path(name)) for name in self.sizes}
        return GraphRun(np.load(self._path("voltage")), spikes, self.sizes, self.steps)


@contextlib.contextmanager
def _interrupts_ignored():
    """Ignore Ctrl-C inside, where there is one (a thread other than the main one has none)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_for(runtime) -> None:
    """Wait for the steps under way. When one process fails, the others would wait for its spikes
    for ever, and Lava with them; so look for failures while waiting.

    Raises:
        RuntimeError: a process failed; says why.
    """
    def check() -> None:
        for actor in runtime._messaging_infrastructure.actors:
            if actor.exception:
                cause, _traceback = actor.exception
                raise RuntimeError(f"a Lava process failed: {cause!r}") from cause

    while not all(port.probe() for port in runtime.service_to_runtime):
        check()
        time.sleep(POLL_S)
    try:
        runtime.wait()
    except RuntimeError:
        check()  # Lava only counts what failed
        raise


def _abandon(runtime) -> None:
    """End a runtime in the middle of a step. Its own stop() would wait for an answer for ever."""
    for actor in runtime._messaging_infrastructure.actors:
        with contextlib.suppress(ValueError):  # already joined, after a failure Lava noticed
            actor.kill()
    runtime._is_started = False
    runtime.join()
    runtime._messaging_infrastructure.stop()


@contextlib.contextmanager
def _quiet_lava():
    """Lava logs its own progress at WARNING; ours is shown by `on_step`."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
