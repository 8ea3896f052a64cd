"""How fast is the simulation? Ratios against Lava's own Conv and against our slower forms.

    python benchmarks/simulate.py runs/mnist-0/model.net

Everything runs in turn in one go, `--rounds` times, on the same machine; medians and spread are of
the rounds. What is timed is steady state: wall time between the first and the last sample, without
Lava's compiling and forking, so that long and short runs can be compared.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import numpy as np

from lava_models import ChipBits, NetFile, Reference, encode_images, read_net
from lava_models.graph.lava_graph import MOST_LANES, run_graph
from lava_models.net.populations import GRADED, Neurons
from lava_models.net.program import CLOCK, build_program
from lava_models.net.schedule import Schedule


@dataclass(frozen=True)
class Command:
    """Time the simulation of a model.net."""

    net: Path
    """model.net of export-netx."""
    rounds: int = 3
    """How often everything is measured."""
    lanes: tuple[int, ...] = (1, 8, 32, 64)
    """Lanes to try in the fused graph."""


def images_for(net: NetFile, samples: int) -> np.ndarray:
    """Graded input int32 (samples, C*H*W): smooth blobs, so that rates are those of pictures."""
    rng = np.random.default_rng(0)
    c, h, w = net.image_shape
    y, x = np.mgrid[:h, :w] / max(h, w)
    centres, widths = rng.uniform(0.3, 0.7, (2, samples, c)), rng.uniform(0.05, 0.2, (samples, c))
    squares = ((y - centres[0, ..., None, None]) ** 2 + (x - centres[1, ..., None, None]) ** 2)
    return encode_images(net, 2 * np.exp(-squares / widths[..., None, None] ** 2) - 1)


# --- whole models -----------------------------------------------------------------------------


def time_reference(net: NetFile, mode: str, batch: int) -> float:
    """Seconds per sample of the integer reference."""
    bits = ChipBits.of(net, mode, 0).samples(0, batch)
    images = images_for(net, batch) if mode == "reconstruct" else None
    reference = Reference(net, mode)
    start = time.perf_counter()
    reference.run(bits, images, watch=())
    return (time.perf_counter() - start) / batch


def time_graph(net: NetFile, mode: str, graph: str, lanes: int, rounds: int) -> float:
    """Seconds per sample of a Lava graph, from the end of the first period on."""
    samples = lanes * (rounds + 1)
    bits = ChipBits.of(net, mode, 0)
    images = images_for(net, samples) if mode == "reconstruct" else None
    marks: list[tuple[float, int]] = []
    run_graph(net, mode, bits, samples, images, graph=graph, lanes=lanes, record=1,
              on_step=lambda done, total: marks.append((time.perf_counter(), done)))
    (begin, first), (end, last) = marks[0], marks[-2]
    return (end - begin) / (last - first) * bits.schedule.period / lanes


# --- the encoder alone, against NetX ----------------------------------------------------------


def time_netx(path: Path, net: NetFile, samples: int) -> float:
    """Seconds per sample of lava.lib.dl.netx.hdf5.Network on the file's encoder, Lava's Conv."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from lava.lib.dl.netx.hdf5 import Network

        network = Network(str(path), input_message_bits=GRADED,
                          reset_interval=net.ticks, reset_offset=1)
    c, h, w = net.image_shape
    frames = images_for(net, samples).reshape(samples, c, h, w).transpose(3, 2, 1, 0)
    frames = np.repeat(frames, net.ticks, axis=-1)
    source = Source(data=frames)
    sink = Sink(shape=network.out.shape, buffer=frames.shape[-1])
    source.s_out.connect(network.inp)
    network.out.connect(sink.a_in)
    config = Loihi2SimCfg(select_tag="fixed_pt")
    try:
        network.run(condition=RunSteps(num_steps=1), run_cfg=config)
        start = time.perf_counter()
        network.run(condition=RunSteps(num_steps=frames.shape[-1] - 1), run_cfg=config)
        return (time.perf_counter() - start) / (frames.shape[-1] - 1) * net.ticks
    finally:
        network.stop()


def time_encoder(net: NetFile, graph: str, lanes: int, rounds: int) -> float:
    """Seconds per sample of the encoder as our processes, one timestep per tick as in NetX."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from lava_models.processes.clock import Clock
    from lava_models.processes.host import SpikeProbe, WaveSource
    from lava_models.processes.layer import SpikingLayer

    names = [name for name, _ in net.named_layers("encoder")]
    program = build_program(net, "reconstruct")
    schedule = Schedule(net.ticks, 1, 1, {})
    carriers = tuple(f"{CLOCK}.{name}" for name in names)
    steps = net.ticks * rounds
    with tempfile.TemporaryDirectory() as folder:
        frames = images_for(net, lanes * rounds).reshape(lanes, rounds, -1).transpose(1, 2, 0)
        np.save(f"{folder}/images.npy", frames.reshape(rounds, -1))
        np.save(f"{folder}/raster.npy", np.zeros((steps, -(-net.latent * lanes // 8)), np.uint8))
        np.save(f"{folder}/counts.npy", np.zeros((net.ticks, net.latent), np.int32))
        source = WaveSource(file=f"{folder}/images.npy", size=frames[0].size, first=1, interval=1,
                            repeat=net.ticks, name="images")
        clock = Clock(first=np.arange(len(names)) + 1, interval=1) if graph == "stock" else None
        upstream = source.s_out
        for i, name in enumerate(names):
            process = SpikingLayer(
                population=replace(program[name], phase=2 + i), lanes=lanes, shared=False,
                connections=tuple(program.into(name)), carriers=carriers, schedule=schedule)
            upstream.connect(process.s_in)
            if clock is not None:
                clock.s_out.connect(process.tick)
            upstream = process.s_out
        probe = SpikeProbe(size=net.latent * lanes, lanes=lanes, raster=f"{folder}/raster.npy",
                           counts=f"{folder}/counts.npy", since=len(names) + 1,
                           counted=np.full(rounds, lanes), name="probe")
        upstream.connect(probe.a_in)
        config = Loihi2SimCfg(select_tag="fixed_pt", select_sub_proc_model=graph == "stock")
        try:
            source.run(condition=RunSteps(num_steps=net.ticks), run_cfg=config)
            start = time.perf_counter()
            source.run(condition=RunSteps(num_steps=steps - net.ticks), run_cfg=config)
            return (time.perf_counter() - start) / (steps - net.ticks) * net.ticks / lanes
        finally:
            source.stop()


# --- where the time goes ----------------------------------------------------------------------


def sgemm_speed() -> float:
    """Float32 multiply-adds per second that numpy's BLAS reaches here, all cores."""
    a, b = (np.random.default_rng(i).random((2048, 2048), dtype=np.float32) for i in (0, 1))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2048**3 / min(times)


def multiply_adds(net: NetFile, mode: str) -> int:
    """Of a sample's synaptic sums as the reference takes them (a constant image once)."""
    total = 0
    reference = Reference(net, mode)
    for population in reference.program.of(Neurons):
        cell = reference.cells[population.name]
        graded = any(c.message for c in reference.inputs[population.name])
        times = 1 if graded else net.ticks
        total += times * cell.sums.matrix.size * cell.sums.positions()
    return total


def where_time_goes(net: NetFile, times: dict[str, list[float]], lanes: tuple[int, ...]) -> str:
    """A timestep of the fused graph is a fixed cost and a cost per lane: fit both."""
    lines, speed = [], sgemm_speed()
    for mode in ("reconstruct", "generate"):
        schedule = ChipBits.of(net, mode, 0).schedule
        steps = [statistics.median(times[_fused(mode, n)]) * n / schedule.period for n in lanes]
        per_lane, fixed = np.polyfit(lanes, steps, 1)
        # Layers and selection; their probes (the feedback has one, the readout none); the ring and
        # its three; what reads images and, in reconstruct, what feeds them.
        processes = 2 * len(schedule.phases) + 4 + (2 if mode == "reconstruct" else 1)
        reference = statistics.median(times[f"{mode}, integer reference, batch 64"])
        sums = multiply_adds(net, mode)
        lines.append(
            f"{mode}: a timestep takes {fixed * 1e3:.1f} ms whatever the lanes "
            f"({fixed / processes * 1e6:.0f} us for each of {processes} processes) and "
            f"{per_lane * 1e3:.2f} ms per lane, {per_lane * schedule.period * 1e3:.1f} ms per "
            f"sample. The reference needs {reference * 1e3:.1f} ms for the same arithmetic on all "
            f"cores. The sums alone are {sums / 1e6:.0f} million multiply-adds, "
            f"{sums / speed * 1e3:.1f} ms at the {speed / 1e9:.0f} G/s that BLAS reaches here.")
    return "\n".join(lines)


def _fused(mode: str, lanes: int) -> str:
    return f"{mode}, fused graph, {lanes} lane{'s' * (lanes > 1)}"


# --- table ------------------------------------------------------------------------------------


def main() -> None:
    import logging

    import tyro
    from rich.table import Table

    from lava_models.commands.console import make_console

    command = tyro.cli(Command, config=(tyro.conf.PositionalRequiredArgs,))
    logging.disable(logging.WARNING)
    net = read_net(command.net)
    best = max(command.lanes)
    tasks: dict[str, Callable[[], float]] = {
        "encoder, NetX (Lava's Conv), 1 at a time": lambda: time_netx(command.net, net, 3),
        "encoder, ours, stock graph": lambda: time_encoder(net, "stock", 1, 4),
        "encoder, ours, fused, 1 lane": lambda: time_encoder(net, "fused", 1, 20),
        f"encoder, ours, fused, {best} lanes": lambda: time_encoder(net, "fused", best, 4),
    }
    for mode in ("reconstruct", "generate"):
        tasks[f"{mode}, stock graph"] = lambda m=mode: time_graph(net, m, "stock", 1, 2)
        for lanes in command.lanes:
            tasks[_fused(mode, lanes)] = (
                lambda m=mode, n=lanes: time_graph(net, m, "fused", n, 8 if n == 1 else 3))
        tasks[f"{mode}, integer reference, batch 64"] = lambda m=mode: time_reference(net, m, 64)
    console = make_console()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(command.rounds):
        for name, task in tasks.items():
            times[name].append(task())
            console.print(f"  round {round_ + 1}, {name}: {times[name][-1] * 1e3:.1f} ms/sample")
    table = Table(title=f"{command.net}, {os.cpu_count()} CPUs, numpy {np.__version__}, medians of "
                        f"{command.rounds} rounds; automatic lanes: {MOST_LANES}")
    table.add_column("what")
    for name in ("ms / sample", "min - max", "samples / min", "faster than the group's first"):
        table.add_column(name, justify="right")
    first = {}
    for name, values in times.items():
        median = statistics.median(values)
        base = first.setdefault(name.split(",")[0], median)
        table.add_row(name, f"{median * 1e3:.1f}",
                      f"{min(values) * 1e3:.1f} - {max(values) * 1e3:.1f}",
                      f"{60 / median:.0f}", f"{base / median:.1f} x")
    console.print(table)
    console.print(where_time_goes(net, times, command.lanes))


if __name__ == "__main__":
    sys.exit(main())
