"""`run-lava FILE.net --input data.npy`: any NetX file on the reference and as a Lava graph.

    run-lava network.net --input image.npy --steps 64
    run-lava network.net --input images.npy --samples 100 --reset-interval 32
    run-lava network.net --input image.npy --steps 24 --prove
    run-lava network.net --input image.npy --steps 64 --backend loihi2 --dry-run
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hw_configs.files import UserError, check_writable, holding
from hw_configs.reading import sha256_of
from lava_models.commands.run_netx_loihi import run_netx_loihi

if TYPE_CHECKING:
    from lava_models.graph.compare import Comparison
    from lava_models.net.netx import NetxFile, NetxOptions
    from lava_models.net.netx_input import NetxInput
    from lava_models.net.program import Program


FUSED = (" (wiring and timing: the fused processes of other NetX files compute as the reference "
         "does; --graph stock and --prove compare the arithmetic)")


@dataclass(frozen=True)
class NetxCommand:
    """What only a NetX file takes; names as stock lava.lib.dl.netx.hdf5.Network has them."""

    input: Path | None = None
    """A .npy array in Lava's order of axes: (x, y, channel) or (neurons), with --samples a first
    axis of samples, and where timesteps differ a last axis of timesteps. Of an input layer of LIF
    neurons it is the bias that acts in every timestep, of any other what comes in."""
    steps: int | None = None
    """Timesteps of one sample."""
    reset_interval: int | None = None
    """Timesteps between resets; with --samples also those of a sample."""
    reset_offset: int | None = None
    """Timestep of the first layer's reset, less 1; each layer's comes one later than the last's
    (default: 0, or 1 with --samples where the input passes through synapses, which takes one)."""
    num_layers: int | None = None
    """Entries of /layer to read (default: all)."""
    skip_layers: int = 0
    """Entries of /layer to leave out at the start; --input is then what they would send."""
    input_message_bits: int = 0
    """Of messages from outside: 0 for spikes, else graded."""
    input_shape: tuple[int, int, int] | None = None
    """X Y CHANNELS of what comes in, where the file has no input layer."""
    spike_exp: int = 6
    """Binary places of graded messages."""
    pixels: bool = False
    """--input holds pixels: the input layer's own weight and bias make biases of them."""
    prove: bool = False
    """Also run the first sample on lava.lib.dl.netx.hdf5.Network itself and compare every message
    of every layer in every timestep."""


def check_netx_options(command) -> None:
    """Refuse options of a model.net beside a NetX file, and what does not go together.

    Raises:
        UserError: names the option.
    """
    options = command.netx
    for name, default in (("mode", "generate"), ("dataset", None), ("seed", 0),
                          ("data_dir", Path("data")), ("convolutions", None)):
        if getattr(command, name) != default:
            raise UserError(f"--{name.replace('_', '-')}: is for a model.net of this project; "
                            f"{command.net} is another NetX file")
    if options.input is None:
        raise UserError(f"{command.net}: a NetX file; give its input as --input FILE.npy")
    for name in ("steps", "reset_interval", "num_layers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    for name, least, most in (("skip_layers", 0, None), ("reset_offset", 0, None),
                              ("input_message_bits", 0, 32), ("spike_exp", 0, 7)):
        value = getattr(options, name)
        if value is not None and (value < least or most is not None and value > most):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected {least} or more"
                            + ("" if most is None else f", at most {most}"))
    if options.input_shape is not None and min(options.input_shape) < 1:
        raise UserError(f"--input-shape {options.input_shape}: expected x, y, channels")
    if options.reset_offset and options.reset_interval is None:
        raise UserError("--reset-offset: goes with --reset-interval")
    if command.samples is None:
        if options.steps is None:
            raise UserError("expected --steps N, or --samples N with --reset-interval P")
        return
    if None not in (options.steps, options.reset_interval) and (
            options.steps != options.reset_interval):
        raise UserError(f"--steps {options.steps}: with --samples, a sample takes the "
                        f"{options.reset_interval} timesteps of --reset-interval")
    if options.steps is None and options.reset_interval is None:
        raise UserError("--samples: expected the timesteps of a sample as --reset-interval P, or "
                        "as --steps P where nothing resets")


def netx_options(command) -> NetxOptions:
    """What stock Network would be given."""
    from lava_models.net.netx import NetxOptions, read_netx

    given = command.netx
    options = NetxOptions(given.num_layers, given.skip_layers, given.input_message_bits,
                          given.input_shape, given.reset_interval, given.reset_offset or 0,
                          given.spike_exp)
    if given.reset_offset is None and given.reset_interval and command.samples is not None:
        synapses_first = not read_netx(command.net, options).enters_neurons
        options = replace(options, reset_offset=int(synapses_first))
    return options


def run_netx(command, arguments: list[str]) -> int:
    """Run the command (run_lava.Command) on a NetX file; 1 where Lava and the reference differ.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    check_netx_options(command)
    from lava_models.cost.estimates import load_hardware
    from lava_models.net.netx import read_netx
    from lava_models.net.netx_input import read_input
    from lava_models.net.netx_program import build_netx_program

    given, waves = command.netx, command.samples is not None
    hardware = load_hardware(command.hw, command.constants)
    net = read_netx(command.net, netx_options(command))
    timesteps = given.steps or given.reset_interval
    program = build_netx_program(net, timesteps, waves)
    inputs = read_input(given.input, net, command.samples, timesteps, given.pixels)
    out = command.out or Path("runs") / command.net.stem
    if (out / "report" / "report.json").exists() and not command.force and not (
            command.chip.dry_run):
        raise UserError(f"{out}: already holds results; replace them with --force or choose "
                        "another --out")
    record = {"input": str(given.input), "input_sha256": sha256_of(given.input),
              "pixels": given.pixels, "samples": command.samples}
    run = run_netx_loihi if command.backend == "loihi2" else _run
    with nullcontext() if command.chip.dry_run else holding(out):
        return run(command, arguments, net, program, inputs, out, hardware, record)


def _run(command, arguments: list[str], net: NetxFile, program: Program, inputs: NetxInput,
         out: Path, hardware, record: dict) -> int:
    import psutil

    check_writable(out)
    from lava_models.commands.console import make_console
    from lava_models.commands.meters import MachineMeters
    from lava_models.graph.netx_run import (
        bytes_per_lane,
        choose_netx_lanes,
        run_samples,
        steps_of,
    )
    from lava_models.report.netx_results import NetxFinished, save_netx_run

    console, steps = make_console(), steps_of(program)
    available = psutil.virtual_memory().available
    lanes = 1 if command.graph == "stock" else min(inputs.samples, command.lanes or (
        choose_netx_lanes(net, steps, inputs.samples, available)))
    needed = lanes * bytes_per_lane(net, steps)
    if needed > available:
        raise UserError(f"{lanes} lanes of {steps} timesteps need about {needed / 2**30:.1f} GiB "
                        f"of memory, {available / 2**30:.1f} are available; use fewer --lanes")
    target = "integer reference, no Lava" if command.graph == "reference" else (
        f"Lava CPU simulator, {command.graph} processes, {lanes} lane{'s' * (lanes > 1)}")
    console.print(f"running {command.net} on backend {command.backend} ({target}): "
                  f"{inputs.samples} samples of {program.schedule.period} timesteps, "
                  f"{steps} with the way through the layers")
    start, meters = time.perf_counter(), MachineMeters()
    with _progress(console) as (progress, on_step):
        run = run_samples(net, program, inputs, graph=command.graph, lanes=lanes,
                          check=command.check, on_step=on_step)
        wall_s, machine = time.perf_counter() - start, meters.read()
        proof = None
        if command.netx.prove:
            progress.reset(progress.task_ids[0], description="proving on stock NetX")
            proof = _prove(command.net, net, program, inputs, on_step)
    check = _verdict(run.comparison, proof, inputs.samples, command.graph)
    return save_netx_run(
        NetxFinished(run, record, wall_s, check, {
            "backend": command.backend, "graph": command.graph, "lanes": lanes,
            "description": f"{target}; not run on hardware"}, machine["cpu_j"]),
        net=net, net_path=command.net, program=program, out=out, hardware=hardware,
        arguments=arguments, console=console)


def _verdict(compared: Comparison | None, proof: Comparison | None, samples: int, graph: str
             ) -> dict:
    """The record's check: of a graph with the reference, and of the reference with stock NetX."""
    from lava_models.graph.compare import Comparison

    said = []
    if compared is not None:
        said.append(f"{samples} samples on Lava against the integer reference: {compared}"
                    + FUSED * (graph == "fused"))
    if proof is not None:
        said.append("the integer reference against lava.lib.dl.netx.hdf5.Network, every layer, "
                    f"1 sample: {proof}")
    done = [of for of in (proof, compared) if of is not None]
    return {"equal": all(of.equal for of in done) if done else None,
            "verdict": "; ".join(said) or "not compared",
            "samples_compared": 0 if not said else 1 if compared is None else samples,
            **(done or [Comparison(0, (), None)])[0].section()}


def _prove(path: Path, net: NetxFile, program: Program, inputs: NetxInput, on_step):
    """The reference against stock NetX's own network, over the first sample.

    Raises:
        UserError: stock NetX does not load the file, or fails while it runs.
    """
    from lava_models.graph.netx_compare import compare_messages
    from lava_models.graph.netx_run import make_drive, steps_of
    from lava_models.graph.netx_stock import run_stock
    from lava_models.reference.netx_reference import NetxReference

    steps = steps_of(program)
    drive = make_drive(net, inputs, 0, 1, program.schedule.period)
    try:
        stock = run_stock(path, net, drive, steps, on_step=on_step)
    except RuntimeError as error:
        raise UserError(f"--prove: {' '.join(str(error).split())}; nothing was written, run it "
                        "without --prove") from error
    mine = NetxReference(net).run(drive, steps, states=[net.layers[-1].name])
    return compare_messages(stock, mine, "stock NetX")


def _progress(console):
    """A progress bar, and what is to be called with (timesteps done, timesteps in all)."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def shown():
        columns = (TextColumn("{task.description}"), BarColumn(),
                   TextColumn("{task.completed}/{task.total} timesteps"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("running", total=None)
            yield progress, lambda done, total: progress.update(task, completed=done, total=total)

    return shown()

