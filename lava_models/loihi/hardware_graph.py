"""model.net on a Loihi 2 system: the same graph of stock processes with the extension's adapters.

Spikes pass in through `SpikesIn`; z comes back through `SpikesOut`, images as states that are read
once per sample. Not run on hardware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs.files import UserError
from lava_models.graph import runtime
from lava_models.graph.lava_graph import Graph
from lava_models.net.netfile import NetFile
from lava_models.net.populations import GRADED, Population
from lava_models.net.program import build_program
from lava_models.reference.rule30 import ChipBits

DRAIN = 8
"""Timesteps run beyond the last read, so that its frame reaches the host."""


def samples_before(mode: str, held: bool, delay: int) -> int:
    """Samples run before the first: a late input misses the first tick of the first one."""
    return 1 if delay and mode == "reconstruct" and not held else 0


def timesteps_of(net: NetFile, mode: str, samples: int) -> int:
    """Timesteps a run of `samples` samples takes on a chip."""
    program = build_program(net, mode)
    return program.schedule.run_length(program.readout.phase, samples) + DRAIN


class ChipGraph(Graph):
    """The stock graph between the extension's adapters."""

    def __init__(self, net: NetFile, mode: str, samples: int, convolutions: str, folder: Path,
                 held: np.ndarray | None, delay: int, loggers: list, wait_s: float = 0.0,
                 on_start: Callable[[], None] = lambda: None) -> None:
        self.before = samples_before(mode, held is not None, delay)
        super().__init__(net, mode, samples + self.before, "stock", convolutions, 1, None, folder,
                         held)
        self.delay, self.loggers = delay, loggers
        self.wait_s, self.on_start = wait_s, on_start
        self.steps = timesteps_of(net, mode, samples + self.before)

    def _images(self, population: Population, images: np.ndarray):
        from lava_models.loihi.adapters.edges import SpikesIn
        from lava_models.processes.host import WaveSource

        rows = np.concatenate([np.zeros((self.before, images.shape[1]), np.int32), images])
        np.save(self._path("images"), rows)
        source = WaveSource(file=self._path("images"), size=images.shape[1],
                            first=population.phase - self.delay, interval=self.schedule.dilation,
                            repeat=self.schedule.ticks, name="images")
        adapter = SpikesIn(size=images.shape[1], message_bits=GRADED, name="images_in")
        source.s_out.connect(adapter.inp)
        return adapter.out

    def _probe(self, population: Population) -> None:
        """Only z comes back: every probe is traffic between chip and host."""
        from lava_models.loihi.adapters.edges import SpikesOut

        if population is not self.program.draws[0]:
            return
        adapter = SpikesOut(size=population.size, message_bits=0, name="z_out")
        self.wiring.ends[population.name].connect(adapter.inp)
        self.wiring.ends[population.name] = adapter.out
        super()._probe(population)

    def _recorded_steps(self) -> int:
        return self.steps  # what drains included: z comes late through its adapter

    def _read_voltage(self, readout) -> None:
        from lava_models.loihi.extension import load
        from lava_models.processes.host import Receiver

        size, period = readout.v.shape[0], self.schedule.period
        at = self.schedule.last_wave(self.readout.phase, 0) - 1
        self._new_file("voltage", (self.per_lane, size), np.int32)
        read = load("Read")(shape=(size,), interval=period, offset=at % period)
        read.connect_var(readout.v)
        receiver = Receiver(size=size, file=self._path("voltage"), skip=at // period,
                            name="image_read")
        read.out.connect(receiver.a_in)

    def _start(self) -> None:
        from lava_models.loihi.extension import load

        load("CompilerOptions").show_resource_count = True  # its own table, to hold beside our fit
        try:
            with runtime.deadline(self.wait_s):  # compiling, then the queue
                super()._start()
        except runtime.TooLate:
            raise UserError(
                f"--backend loihi2: no board answered within {self.wait_s:g} s; nothing was run. "
                "See the queue (squeue, sinfo), or wait longer with --wait") from None
        except UserError:
            raise
        except Exception as error:  # the closed compiler may raise anything
            raise UserError(f"--backend loihi2: compiling or starting failed ({_words(error)}); "
                            "nothing was run") from error
        self.on_start()

    def _config(self):
        from lava.magma.core.run_configs import Loihi2HwCfg

        return Loihi2HwCfg(select_sub_proc_model=True, callback_fxs=self.loggers)

    def _chunk(self) -> int:
        return self.steps  # a profiler serves one call of run()


class OfflineGraph(ChipGraph):
    """The same graph on the CPU simulator, without the extension."""

    def _read_voltage(self, readout) -> None:
        Graph._read_voltage(self, readout)

    def _start(self) -> None:
        Graph._start(self)

    def _config(self):
        from lava.magma.core.run_configs import Loihi2SimCfg

        from lava_models.loihi.adapters import edges

        return Loihi2SimCfg(
            select_tag="fixed_pt", select_sub_proc_model=True, exception_proc_model_map={
                edges.SpikesIn: edges.PySpikesIn, edges.SpikesOut: edges.PySpikesOut})


def planned_processes(net: NetFile, mode: str, bits: ChipBits, images: np.ndarray | None,
                      convolutions: str, held: bool) -> list[tuple[str, str, int]]:
    """Builds the graph and takes it apart: (process, what a compiler gets, neurons).

    Everything but the extension's own processes; nothing is compiled.
    """
    from lava.magma.compiler.compiler_graphs import find_processes
    from lava.magma.core.process.process import AbstractProcess

    from lava_models.loihi.adapters import edges
    from lava_models.processes import clock, layer, random_bits, selection, store

    stock = {layer.SpikingLayer: layer.StockSpikingLayer, clock.Clock: clock.StockClock,
             selection.LatentSelection: selection.StockLatentSelection,
             random_bits.RandomBits: random_bits.StockRandomBits, store.Store: store.StockStore}
    adapters = {edges.SpikesIn: "PyToNxAdapter", edges.SpikesOut: "NxToPyAdapter"}
    rows = []
    with runtime.workspace() as folder:
        graph = OfflineGraph(net, mode, 1 if images is None else len(images), convolutions,
                              folder, images[0] if held else None, 0, [])
        for process in find_processes(graph.build(bits, images).runner):
            if type(process) in adapters:
                rows.append((process.name, adapters[type(process)], 0))
            elif type(process) in stock:
                inside = [part for part in vars(stock[type(process)](process)).values()
                          if isinstance(part, AbstractProcess)]
                kinds = Counter(type(part).__name__ for part in inside)
                rows.append((process.name, ", ".join(f"{n} {kind}" for kind, n in kinds.items()),
                             sum(int(np.prod(part.v.shape)) for part in inside
                                 if hasattr(part, "v"))))
    return rows


@dataclass(frozen=True)
class ChipRun:
    """What comes back from a chip."""

    voltage: np.ndarray
    """Readout voltages at tick T of every sample, int32 (S, C*H*W)."""
    z: np.ndarray
    """Latent spikes as they reached the host, bool (timesteps, C)."""
    steps: int
    """Timesteps run."""
    first: int
    """Number of the first sample kept, in the random bits' count."""


def run_on_chip(net: NetFile, mode: str, bits: ChipBits, samples: int,
                images: np.ndarray | None = None, *, convolutions: str = "unrolled",
                held: bool = False, delay: int = 0, loggers: tuple = (), wait_s: float = 600.0,
                on_start: Callable[[], None] = lambda: None) -> ChipRun:
    """Run `samples` samples on the system that `use_board` chose. Not run on hardware.

    Args:
        images: graded input int32 (samples, C*H*W); reconstruct mode only. With `held` the first
            of them serves all samples and stays on the chip.
        delay: timesteps the input adapter takes; not public, and to be found on a chip.
        loggers: the extension's profilers.
        wait_s: how long the compiler and the queue may take.
        on_start: called when the first timestep can run.

    Raises:
        UserError: no board within `wait_s`, or the connection was lost.
        Interrupted: Ctrl-C.
    """
    with runtime.workspace() as folder, runtime.quiet_lava():
        graph = ChipGraph(net, mode, samples, convolutions, folder,
                          images[0] if held else None, delay, list(loggers), wait_s, on_start)
        try:
            run = graph.build(bits, images).run(lambda done, total: None)
        except UserError:
            raise
        except (OSError, EOFError) as error:
            raise UserError(f"--backend loihi2: the connection to the board was lost "
                            f"({_words(error)}); nothing was written. Run it again; fewer "
                            "--samples take less time") from error
        except Exception as error:  # the closed extension may raise anything
            raise UserError(f"--backend loihi2: the run failed ({_words(error)}); nothing was "
                            "written") from error
        z = run.raster(graph.program.draws[0].name)[0]
        return ChipRun(run.voltage[graph.before:], z, graph.steps, graph.before)


def _words(error: Exception) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
