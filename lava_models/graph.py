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
    processes: int
    """Lava processes (each an operating-system process) the graph compiled to."""

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
    schedule = schedule_for(net, mode)
    steps = schedule.run_length(layer_order(net, mode)[-1], samples)
    with tempfile.TemporaryDirectory(prefix="lava-graph-") as folder, _quiet_lava():
        graph = _Graph(net, mode, bits, samples, images, steps, Path(folder))
        return graph.run(on_step)


def samples_begun(net: NetFile, mode: str, steps: int) -> int:
    """Samples whose first wave has entered after `steps` timesteps: while the last sample drains
    through the decoder, the layers before it already run on with the next."""
    return math.ceil(steps / schedule_for(net, mode).period)


class _Graph:
    """Builds, runs and reads the graph; the probe files live in `folder`."""

    def __init__(self, net, mode, bits, samples, images, steps, folder) -> None:
        from lava.magma.core.run_configs import Loihi2SimCfg

        self.config = Loihi2SimCfg(select_tag="fixed_pt", select_sub_proc_model=True)
        self.schedule, self.steps, self.folder = schedule_for(net, mode), steps, folder
        self.files: dict[str, np.ndarray] = {}
        self.sizes: dict[str, int] = {}
        self.reads = samples
        self._build(net, mode, bits, samples, images)

    def _build(self, net: NetFile, mode: str, bits: HostBits, samples: int, images) -> None:
        from lava_models.processes.clock import Clock
        from lava_models.processes.host import StateProbe, WaveSource
        from lava_models.processes.layer import SpikingLayer
        from lava_models.processes.selection import LatentSelection

        schedule, order = self.schedule, layer_order(net, mode)
        d, period = schedule.dilation, schedule.period
        ahead = {name: schedule.phases[name] - 1 for name in order}  # one hop before the wave
        layers = dict(net.named_layers())
        clocked = [name for name in order if name != SELECTION]
        clock = Clock(first=np.array([ahead[name] for name in clocked]), interval=d)
        silent_ticks = np.arange(max(net.ticks - net.lag, 0), net.ticks)
        silence = Clock(first=ahead[SELECTION] + d * silent_ticks, interval=period,
                        name="silence_clock")
        selection = LatentSelection(channels=net.latent, selection=Selection(net.k, bits.bits),
                                    silencers=len(silent_ticks), dilation=d,
                                    phase=schedule.phases[SELECTION])
        silence.s_out.connect(selection.silence)
        # The layers before the selection have begun further samples when the last one is read.
        begun = math.ceil(self.steps / period)
        draws = bits.samples(0, begun).reshape(begun * net.ticks, -1)
        random = WaveSource(file=self._save("random_bits", draws), size=draws.shape[1],
                            first=ahead[SELECTION], interval=d, repeat=1, name="random_bits")
        random.s_out.connect(selection.bits_in)
        upstream = None
        if mode == "reconstruct":
            upstream = WaveSource(file=self._save("images", images), size=images.shape[1],
                                  first=ahead[order[0]], interval=d, repeat=net.ticks,
                                  name="images").s_out
        self.anchor = clock
        for name in order:
            if name == SELECTION:
                upstream.connect(selection.zeta_in)
                upstream = selection.z_out
                self._probe(f"{SELECTION}.feedback", selection.z_feedback)
            else:
                layer = layers[name]
                matrix = unroll(layer)
                sources = [] if upstream is None else [upstream]
                graded = INPUT_MESSAGE_BITS if name == "encoder.0" else 0
                weights = [matrix]
                if name == f"{latent_part(mode)}.0":
                    sources.append(selection.z_feedback)
                    split = matrix.shape[1] - net.latent
                    weights = [matrix[:, :split], matrix[:, split:]] if split else [matrix]
                process = SpikingLayer(
                    weights=weights, message_bits=[graded] + [0] * (len(weights) - 1),
                    bias=neuron_bias(layer), clock_index=clocked.index(name),
                    clock_size=len(clocked), decay=dilate_decay(layer.neuron.decay, d),
                    threshold=layer.neuron.threshold, reset_interval=period,
                    reset_offset=schedule.phases[name], name=name.replace(".", "_"))
                for i, source in enumerate(sources):
                    source.connect(getattr(process, f"s_in_{i}"))
                clock.s_out.connect(process.tick)
                upstream = process.s_out
            if name != order[-1]:  # the readout does not fire; a spike would show in its voltage
                self._probe(name, upstream)
        readout = order[-1]
        size = int(np.prod(layers[readout].shape))
        self.voltage = self._new("voltage", (samples, size), np.int32)
        StateProbe(size=size, file=self._path("voltage"), first=schedule.last_wave(readout, 0),
                   interval=period, name="image_read").connect_var(process.v)

    def run(self, on_step: Callable[[int, int], None]) -> GraphRun:
        from lava.magma.core.run_conditions import RunSteps

        executable = self.anchor.compile(self.config)
        with _interrupts_ignored():  # the forked processes stay deaf to Ctrl-C: we end them
            self.anchor.create_runtime(executable=executable)
        runtime = self.anchor.runtime
        try:
            for start in range(0, self.steps, self.schedule.period):
                chunk = min(self.schedule.period, self.steps - start)
                self.anchor.run(condition=RunSteps(num_steps=chunk))
                on_step(start + chunk, self.steps)
        except BaseException:
            _abandon(runtime)
            raise
        processes = len(runtime._messaging_infrastructure.actors)
        self.anchor.stop()
        spikes = {name: np.load(self._path(name)) for name in self.sizes}
        return GraphRun(np.load(self._path("voltage")), spikes, self.sizes, self.steps, processes)

    def _probe(self, name: str, port) -> None:
        from lava_models.processes.host import SpikeProbe

        self.sizes[name] = port.shape[0]
        self._new(name, (self.steps, math.ceil(port.shape[0] / 8)), np.uint8)
        probe = SpikeProbe(size=port.shape[0], file=self._path(name), name=f"probe_{name}")
        port.connect(probe.a_in)

    def _path(self, name: str) -> str:
        return str(self.folder / f"{name}.npy")

    def _save(self, name: str, array: np.ndarray) -> str:
        np.save(self._path(name), array)
        return self._path(name)

    def _new(self, name: str, shape: tuple[int, ...], dtype) -> np.ndarray:
        return np.lib.format.open_memmap(self._path(name), "w+", dtype=dtype, shape=shape)


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


def _abandon(runtime) -> None:
    """End a runtime in the middle of a step. Its own stop() would wait for an answer for ever."""
    for actor in runtime._messaging_infrastructure.actors:
        actor.kill()
    runtime._is_started = False
    runtime.join()
    runtime._messaging_infrastructure.stop()


@contextlib.contextmanager
def _quiet_lava():
    """Lava logs its own progress at WARNING; ours is shown by `on_step`."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
