"""model.net on a Loihi 2 system: the same graph of stock processes with the extension's adapters.

Not run on hardware: everything about the chip's side rests on names seen in public code
(lava_models.extension) and is tested with a double of it. On the way in spikes pass `SpikesIn`; z
comes back through `SpikesOut`, images as states that are read once per sample.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs import Board
from lava_models.compare import SIDE_BY_SIDE
from lava_models.files import UserError
from lava_models.fit import COLUMNS, Fit
from lava_models.graph import (
    CHANNEL_SLOTS,
    RING_COUNTED_FROM,
    Graph,
    GraphRun,
    abandon,
    quiet_lava,
)
from lava_models.netfile import NetFile
from lava_models.reference import Reference
from lava_models.rule30 import ChipBits
from lava_models.schedule import FEEDBACK, SELECTION, layer_order, schedule_for
from lava_models.synapse import unroll

GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")
ENVIRONMENT = ("SLURM", "NOSLURM", "PARTITION", "BOARD", "LOIHI_GEN", "NXSDKHOST", "HOST_BINARY",
               "NXOPTIONS")
"""Variables that say which board is used; lava.utils.loihi sets them."""
DRAIN = 8
"""Timesteps run beyond the last read, so that its frame reaches the host."""
MOST_DELAY = 8
"""Timesteps by which z may come late through its adapter, in the comparison."""
FEWEST_READINGS = 10
"""Of the power meter, below which no power is stated."""


# --- before anything is compiled --------------------------------------------------------------


def require_extension() -> None:
    """Raises:
        UserError: the extension is not installed, or is not the one we know.
    """
    from lava.utils import loihi

    from lava_models.extension import require_all

    if not loihi.is_installed():
        raise UserError(
            "--backend loihi2: needs Intel's Loihi extension (lava-loihi), which is not installed; "
            "members of the Intel Neuromorphic Research Community get it from Intel; --backend sim "
            "computes the same spikes, and --dry-run says what a chip would get")
    require_all()


def use_board(partition: str | None, board: str | None, host: str | None, generation: str
              ) -> dict[str, str]:
    """Tell Lava which system to use; the environment variables that say so afterwards.

    What is not given is taken from the environment, as Lava would clear it there.

    Raises:
        UserError: no such partition, board or host.
    """
    from lava.utils import loihi

    generation = loihi.ChipGeneration[generation]
    host = host or (None if partition or board else os.environ.get("NXSDKHOST"))
    try:
        if host:
            binary = os.environ.get("HOST_BINARY")
            more = {"host_binary_path": binary} if binary else {}
            loihi.use_ethernet_host(host_address=host, loihi_gen=generation, **more)
        else:
            given = partition or board
            loihi.use_slurm_host(
                partition=partition if given else os.environ.get("PARTITION"),
                board=board if given else os.environ.get("BOARD"), loihi_gen=generation)
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"--backend loihi2: no such system: {error}") from None
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def check_for_chip(net: NetFile, mode: str, placed: Fit) -> None:
    """What a chip needs beyond what `netfile.check` proved of every file: registers hold there.

    Raises:
        UserError: what, where, got, limit, what to change.
    """
    schedule = schedule_for(net, mode)
    period, ticks = schedule.period, net.ticks
    if period & (period - 1):
        below = 1 << (ticks.bit_length() - 1)
        raise UserError(
            f"a sample takes {period} timesteps (T = {ticks} ticks x D = {schedule.dilation}); on "
            "a chip the interval after which LIFReset resets must be a power of two; train with "
            f"--ticks {below} or {2 * below}")
    for layer in placed.layers:
        for column, (used, limit) in layer.use.items():
            if limit is not None and used > limit:
                raise UserError(f"{layer.name}: {COLUMNS[column]} {used}, a core holds {limit}")
    if not placed.fits:
        board = placed.board
        raise UserError(
            f"{placed.network.name}: takes {placed.cores} cores = {placed.chips} chips, "
            f"{board.name} has {board.chips.value:.0f} of {board.cores_per_chip}; most in "
            f"{placed.binds}; use a larger board (--hw), or --convolutions shared")


def samples_before(mode: str, held: bool, delay: int) -> int:
    """Samples run before the first: a late input misses the first tick of the first one."""
    return 1 if delay and mode == "reconstruct" and not held else 0


def timesteps_of(net: NetFile, mode: str, samples: int) -> int:
    """Timesteps a run of `samples` samples takes on a chip."""
    return schedule_for(net, mode).run_length(layer_order(net, mode)[-1], samples) + DRAIN


# --- the graph --------------------------------------------------------------------------------


class _ChipGraph(Graph):
    """The stock graph between the extension's adapters."""

    def __init__(self, net: NetFile, mode: str, samples: int, convolutions: str, folder: Path,
                 held: bool, delay: int, loggers: list, wait_s: float = 0.0,
                 on_start: Callable[[], None] = lambda: None) -> None:
        self.before = samples_before(mode, held, delay)
        super().__init__(net, mode, samples + self.before, "stock", convolutions, 1, None, folder)
        self.held, self.delay, self.loggers = held, delay, loggers
        self.wait_s, self.on_start = wait_s, on_start
        self.steps = timesteps_of(net, mode, samples + self.before)

    def _images(self, images: np.ndarray):
        from lava_models.graph import INPUT_MESSAGE_BITS
        from lava_models.processes.edges import SpikesIn
        from lava_models.processes.host import WaveSource

        name, first = self.order[0], self.ahead[self.order[0]]
        if self.held:
            self.constants[name] = (unroll(self.layers[name]) @ images[0]).astype(np.int32)
            return None
        rows = np.concatenate([np.zeros((self.before, images.shape[1]), np.int32), images])
        np.save(self._path("images"), rows)
        source = WaveSource(file=self._path("images"), size=images.shape[1],
                            first=first - self.delay, interval=self.schedule.dilation,
                            repeat=self.net.ticks, name="images")
        adapter = SpikesIn(size=images.shape[1], message_bits=INPUT_MESSAGE_BITS, name="images_in")
        source.s_out.connect(adapter.inp)
        return adapter.out

    def _probe(self, name: str, port, since: int) -> None:
        """Only z comes back: every probe is traffic between chip and host."""
        from lava_models.processes.edges import SpikesOut

        if name != SELECTION:
            return
        adapter = SpikesOut(size=port.shape[0], message_bits=0, name="z_out")
        port.connect(adapter.inp)
        super()._probe(name, adapter.out, since)

    def _read_voltage(self, readout) -> None:
        from lava_models.extension import load
        from lava_models.processes.host import Receiver

        size, period = readout.v.shape[0], self.schedule.period
        at = self.schedule.last_wave(self.order[-1], 0) - 1
        self._new_file("voltage", (self.per_lane, size), np.int32)
        read = load("Read")(shape=(size,), interval=period, offset=at % period)
        read.connect_var(readout.v)
        receiver = Receiver(size=size, file=self._path("voltage"), skip=at // period,
                            name="image_read")
        read.out.connect(receiver.a_in)

    def _start(self) -> None:
        from lava_models.extension import load

        load("CompilerOptions").show_resource_count = True  # its own table, to hold beside our fit
        try:
            with _deadline(self.wait_s):
                executable = self.selection.compile(self._config(),
                                                    {"pypy_channel_size": CHANNEL_SLOTS})
                with _interrupts_here_only():  # the queue may take minutes
                    self.selection.create_runtime(executable=executable)
        except BaseException as error:
            if self.selection.runtime is not None:
                with contextlib.suppress(Exception):
                    abandon(self.selection.runtime)
            if isinstance(error, _TooLate):
                raise UserError(
                    f"--backend loihi2: no board answered within {self.wait_s:g} s; nothing was "
                    "run. See the queue (squeue, sinfo), or wait longer with --wait") from None
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            # The closed compiler may raise anything.
            raise UserError(f"--backend loihi2: compiling or starting failed ({_words(error)}); "
                            "nothing was run") from error
        self.on_start()

    def _config(self):
        from lava.magma.core.run_configs import Loihi2HwCfg

        return Loihi2HwCfg(select_sub_proc_model=True, callback_fxs=self.loggers)

    def _chunk(self) -> int:
        return self.steps  # a profiler serves one call of run()


class _OfflineGraph(_ChipGraph):
    """The same without the extension: the state is read as on the simulator."""

    def _read_voltage(self, readout) -> None:
        Graph._read_voltage(self, readout)


def planned_processes(net: NetFile, mode: str, bits: ChipBits, images: np.ndarray | None,
                      convolutions: str, held: bool) -> list[tuple[str, str, int]]:
    """Builds the graph and takes it apart: (process, what a compiler gets, neurons).

    Everything but the extension's own processes; nothing is compiled.
    """
    import tempfile
    from collections import Counter

    from lava.magma.compiler.compiler_graphs import find_processes
    from lava.magma.core.process.process import AbstractProcess

    from lava_models.processes import clock, edges, layer, random_bits, selection

    stock = {layer.SpikingLayer: layer.StockSpikingLayer, clock.Clock: clock.StockClock,
             selection.LatentSelection: selection.StockLatentSelection,
             random_bits.RandomBits: random_bits.StockRandomBits}
    adapters = {edges.SpikesIn: "PyToNxAdapter", edges.SpikesOut: "NxToPyAdapter"}
    rows = []
    with tempfile.TemporaryDirectory(prefix="lava-loihi-") as folder:
        graph = _OfflineGraph(net, mode, 1 if images is None else len(images), convolutions,
                              Path(folder), held, 0, [])
        for process in find_processes(graph.build(bits, images).selection):
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
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lava-loihi-") as folder, quiet_lava():
        graph = _ChipGraph(net, mode, samples, convolutions, Path(folder), held, delay,
                           list(loggers), wait_s, on_start)
        try:
            run: GraphRun = graph.build(bits, images).run(lambda done, total: None)
        except UserError:
            raise
        except (OSError, EOFError) as error:
            raise UserError(f"--backend loihi2: the connection to the board was lost "
                            f"({_words(error)}); nothing was written. Run it again; fewer "
                            "--samples take less time") from error
        except Exception as error:  # the closed extension may raise anything
            raise UserError(f"--backend loihi2: the run failed ({_words(error)}); nothing was "
                            "written") from error
        return ChipRun(run.voltage[graph.before:], run.raster(SELECTION)[0], graph.steps,
                       graph.before)


def _words(error: Exception) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextlib.contextmanager
def _interrupts_here_only() -> Iterator[None]:
    """Ctrl-C interrupts this process inside, and not those that are forked inside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    here = os.getpid()

    def handler(signum, frame):
        if os.getpid() == here:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _TooLate(Exception):
    pass


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise _TooLate inside after so long (in the main thread, where signals arrive)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(signum, frame):
        raise _TooLate

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- what the chip is to give -----------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """The integer reference's run of S samples."""

    counts: dict[str, np.ndarray]
    """As GraphRun.counts: int32 (P, n), summed over the samples."""
    voltage: np.ndarray
    """int32 (S, C*H*W)."""
    z: np.ndarray
    """bool (S, T, C)."""


def expect(net: NetFile, mode: str, bits: ChipBits, first: int, samples: int,
           images: np.ndarray | None,
           on_samples: Callable[[int], None] = lambda done: None) -> Expected:
    """Run the reference over samples `first` ... and count its spikes as a probe would.

    Args:
        images: graded input int32 (samples, C*H*W), or None.
        on_samples: called with a number of samples done.
    """
    schedule, reference = schedule_for(net, mode), Reference(net, mode)
    beats = schedule.dilation * np.arange(net.ticks)
    counts: dict[str, np.ndarray] = {}
    voltage, z = [], []
    for start in range(0, samples, SIDE_BY_SIDE):
        n = min(SIDE_BY_SIDE, samples - start)
        result = reference.run(bits.samples(first + start, n),
                               None if images is None else images[start:start + n])
        voltage.append(result.voltage)
        z.append(result.spikes[SELECTION])
        fed = z[-1].copy()
        fed[:, max(net.ticks - net.lag, 0):] = False  # silent in the last L ticks
        for name, spikes in {**result.spikes, FEEDBACK: fed}.items():
            total = counts.setdefault(name, np.zeros((schedule.period, spikes.shape[-1]),
                                                     np.int32))
            total[beats] += spikes.sum(axis=0, dtype=np.int32)
        on_samples(n)
    since = RING_COUNTED_FROM - 1
    for name, raster in bits.rasters(first, since + samples * schedule.period):
        window = raster[since:].reshape(samples, schedule.period, -1)
        counts[name] = window.sum(axis=0, dtype=np.int32)
    return Expected(counts, np.concatenate(voltage), np.concatenate(z))


def compare_with_expected(run: ChipRun, expected: Expected, net: NetFile, mode: str
                          ) -> tuple[bool, str]:
    """Images and z of a chip against the reference: (equal, verdict).

    z may come up to MOST_DELAY timesteps late: its adapter's delay is not public.
    """
    schedule = schedule_for(net, mode)
    samples = len(expected.voltage)
    wanted = np.zeros((len(run.z), run.z.shape[1]), bool)
    for sample, of_sample in enumerate(expected.z):
        at = schedule.timesteps(SELECTION, sample + run.first) - 1
        wanted[at] = of_sample
    began = schedule.phases[SELECTION] - 1 + schedule.period * run.first
    ended = schedule.last_wave(SELECTION, samples - 1 + run.first)
    best = None
    for delay in range(MOST_DELAY + 1):
        got = run.z[began + delay:ended + delay]
        wrong = np.argwhere(got != wanted[began:began + len(got)])
        if best is None or len(wrong) < len(best[1]):
            best = delay, wrong
    delay, wrong = best
    late = f", z {delay} timesteps late through its adapter" if delay else ""
    pixels = np.argwhere(run.voltage != expected.voltage)
    if not len(wrong) and not len(pixels):
        spikes = int(expected.z.sum())
        return True, (f"{samples} samples on the chip against the integer reference: equal: "
                      f"{spikes} latent spikes, {run.voltage.size} readout voltages{late}")
    if len(wrong):
        step, neuron = wrong[0]
        at = began + int(step) + 1
        where = (f"{len(wrong)} latent spikes differ, first {SELECTION}, neuron {neuron}, timestep "
                 f"{at}: chip {int(run.z[at - 1 + delay, neuron])}, reference "
                 f"{int(wanted[at - 1, neuron])}")
    else:
        sample, pixel = pixels[0]
        where = (f"{len(pixels)} readout voltages differ, first {layer_order(net, mode)[-1]}, "
                 f"neuron {pixel}, timestep "
                 f"{schedule.last_wave(layer_order(net, mode)[-1], int(sample) + run.first)}: chip "
                 f"{run.voltage[sample, pixel]}, reference {expected.voltage[sample, pixel]}")
    return False, (f"{samples} samples on the chip against the integer reference: NOT equal: "
                   f"{where}{late}")


# --- what was measured ------------------------------------------------------------------------


@dataclass(frozen=True)
class Profilers:
    """The extension's loggers of one run."""

    power: object
    time: object
    activity: object
    memory: object

    @classmethod
    def make(cls, steps: int) -> Profilers:
        """Loggers for a run of `steps` timesteps.

        Raises:
            UserError: the extension lacks one.
        """
        from lava_models.extension import load

        return cls(load("Loihi2Power")(num_steps=steps), load("Loihi2ExecutionTime")(),
                   load("Loihi2Activity")(), load("Loihi2Memory")())

    @property
    def all(self) -> tuple:
        return self.power, self.time, self.activity, self.memory


def measured_section(profilers: Profilers, steps: int, period: int, board: Board, chips: int
                     ) -> dict[str, dict]:
    """Measured numbers as the report's entries, each with mean, spread (standard deviation) and n.

    Static power is the board's, less its idle chips; dynamic power is what is above the board's.

    Args:
        steps: timesteps run.
        period: timesteps per sample.
        chips: chips the network is on.

    Raises:
        UserError: the meter gave too few readings, or a logger lacks a series.
    """
    power, time = profilers.power, profilers.time
    total, static = (_series(power, name) for name in ("total_power", "static_total_power"))
    n = min(len(total), len(static))
    if n < FEWEST_READINGS:
        raise UserError(f"--backend loihi2: the power meter gave {n} readings in {steps} "
                        f"timesteps, expected at least {FEWEST_READINGS}; run longer with "
                        "--power-timesteps, or without power by --no-profile")
    step_us = _series(time, "avg_time_per_step")
    on_board = int(board.chips.value)
    seconds = period * float(step_us.mean()) * 1e-6
    idle = 1 - chips / on_board
    own_static = static * (chips / on_board)
    what = f"{steps} timesteps on {board.name}"
    less = f", {on_board - chips} of {on_board} chips idle and subtracted" if idle else ""
    entries = {
        "timestep_us": _entry(step_us, what, steps),
        "power_total_w": _entry(total, f"{what}, idle chips included"),
        "power_static_w": _entry(own_static, what + less),
    }
    for rail in ("vdd", "vddm", "vddio"):
        entries[f"power_{rail}_w"] = _entry(_series(power, f"{rail}_power"),
                                            f"{what}, rail {rail.upper()}")
    dynamic = float(total.mean() - static.mean())
    noise = board.chip.power_noise.value
    spread = float(np.hypot(total.std(), static.std()))
    entries["energy_static_per_sample_j"] = {
        "value": float(own_static.mean()) * seconds, "basis": "measured", "what": what + less,
        "spread": float(own_static.std()) * seconds, "n": n}
    if dynamic < noise:
        why = (f"dynamic power came out as {1e3 * dynamic:.1f} mW, within the meter's noise of "
               f"{1e3 * noise:g} mW")
        hole = {"value": None, "basis": "unavailable", "why": why,
                "fix": "keep the chip busy: --hold in reconstruct mode, generate, or more cores"}
        names = "power_dynamic_w", "energy_dynamic_per_sample_j", "energy_per_sample_j"
        entries |= {name: dict(hole) for name in names}
    else:
        entries["power_dynamic_w"] = {"value": dynamic, "basis": "measured", "spread": spread,
                                      "n": n, "what": f"{what}, total less static"}
        entries["energy_dynamic_per_sample_j"] = {
            "value": dynamic * seconds, "basis": "measured", "what": what, "n": n,
            "spread": spread * seconds}
        entries["energy_per_sample_j"] = {
            "value": (dynamic + float(own_static.mean())) * seconds, "basis": "measured",
            "what": what + less, "n": n, "spread": spread * seconds}
    for name, series in (("synops_per_timestep", "syn_ops"),
                         ("neuron_passes_per_timestep", "dendrite_updates")):
        counts = _series(profilers.activity, series)
        entries[name] = {"value": float(counts.sum()) / steps, "basis": "measured",
                         "n": len(counts), "what": f"{what}, sum over cores (n)"}
    memory = 100 * _series(profilers.memory, "total_mpds")
    entries["memory_percent"] = _entry(memory, "mean over cores, as the extension counts")
    return entries


def _series(logger, name: str) -> np.ndarray:
    """A logger's numbers as float64 (n,)."""
    try:
        values = np.atleast_1d(np.asarray(getattr(logger, name), dtype=np.float64)).ravel()
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"--backend loihi2: {type(logger).__name__} has no series {name!r}; the "
                        "installed release is not the one we know (lava_models/extension.py)") \
            from None
    if not len(values) or not np.isfinite(values).all():
        raise UserError(f"--backend loihi2: {type(logger).__name__}.{name} is empty or not finite; "
                        "run again, or without power by --no-profile")
    return values


def _entry(series: np.ndarray, what: str, n: int | None = None) -> dict:
    return {"value": float(series.mean()), "basis": "measured", "what": what,
            "spread": float(series.std()), "n": len(series) if n is None else n}
