"""`run-lava --backend loihi2`: checks, run, measurement, proof; or with --dry-run all but the run.

Not run on hardware.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hw_configs.files import UserError, check_writable

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from lava_models.cost.estimates import Hardware
    from lava_models.loihi.proof import Expected
    from lava_models.net.netfile import NetFile
    from lava_models.reference.rule30 import ChipBits
    from lava_models.report.results import Finished


@dataclass(frozen=True)
class ChipOptions:
    """What only --backend loihi2 takes."""

    partition: str | None = None
    """SLURM partition to take a board from (default: $PARTITION)."""
    board: str | None = None
    """SLURM board (default: $BOARD)."""
    host: str | None = None
    """Address of a board reached by ethernet, instead of SLURM (default: $NXSDKHOST)."""
    generation: Literal["N3B2", "N3B3", "N3C1", "N3D1"] = "N3B3"
    """Chip generation; most systems of the research community are N3B3."""
    wait: float = 600.0
    """Seconds that compiling and the queue may take."""
    dry_run: bool = False
    """Stop before the compiler: checks, fit, schedule, expected cost, what would be sent. Needs
    neither extension nor board."""
    profile: bool = True
    """Measure power, time, activity and memory."""
    power_timesteps: int = 10000
    """Timesteps that the power meter needs at the least; more samples are run until then."""
    hold: bool = False
    """Reconstruct mode: keep the first image on the chip for all samples, so that host input does
    not hide what the chip takes. Its synaptic sums come with the bias: the first layer's input
    spikes and synops are then neither sent nor measured."""
    input_delay: int = 0
    """Timesteps that the input adapter takes. Not public: if the first latent spikes differ from
    the reference, try 1, 2, ..."""


def check_options(options: ChipOptions, backend: str, mode: str) -> None:
    """Raises:
        UserError: options that do not go together.
    """
    if backend != "loihi2":
        for name, value in vars(options).items():
            if value != getattr(ChipOptions(), name):
                raise UserError(f"--{name.replace('_', '-')}: goes with --backend loihi2")
        return
    if options.host and (options.partition or options.board):
        raise UserError("--host: reaches a board without SLURM; it does not go with --partition "
                        "and --board")
    if options.partition and options.board:
        raise UserError("--board: names one board; it does not go with --partition")
    if options.wait <= 0 or options.power_timesteps < 1 or not 0 <= options.input_delay <= 64:
        raise UserError(f"--wait {options.wait:g}, --power-timesteps {options.power_timesteps}, "
                        f"--input-delay {options.input_delay}: expected more than 0, at least 1, "
                        "0 to 64")
    if options.hold and mode != "reconstruct":
        raise UserError("--hold: is for --mode reconstruct; generate has no input at all")


@dataclass(frozen=True)
class Plan:
    """What is to run on the chip."""

    samples: int
    """As many as asked for, or as the power meter needs."""
    before: int
    """Samples that pass before the first that counts."""
    bits: ChipBits
    images: np.ndarray | None
    """Float (samples, C, H, W) in [-1, 1]; None when generating."""
    graded: np.ndarray | None
    """int32 (samples, C*H*W)."""
    hardware: Hardware
    """The board, and the form of the convolutions."""
    what: str
    """Both in words."""


def run_loihi(command, arguments: list[str], net: NetFile, out: Path, dataset: str | None,
              hardware: Hardware) -> int:
    """Run the command (run_lava.Command) on a chip; 1 when chip and reference differ.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    from lava_models.commands.console import make_console

    console = make_console()
    plan = _plan(command, net, dataset, hardware)
    if command.chip.dry_run:
        _dry_run(command, net, plan, console)
        return 0
    check_writable(out)
    finished = _run_on_board(command, net, plan, console)

    from lava_models.report.results import save_run

    return save_run(finished, net=net, net_path=command.net, mode=command.mode, seed=command.seed,
                    dataset=dataset, out=out, hardware=plan.hardware, arguments=arguments,
                    console=console)


def _plan(command, net: NetFile, dataset: str | None, hardware: Hardware) -> Plan:
    """Raises:
        UserError: the network or the test images are not for this chip.
    """
    import numpy as np

    from lava_models.commands.test_images import load_images
    from lava_models.cost.describe import describe
    from lava_models.cost.estimates import place
    from lava_models.loihi.board import check_for_chip
    from lava_models.loihi.hardware_graph import samples_before
    from lava_models.net.program import schedule_for
    from lava_models.reference.rule30 import ChipBits
    from lava_models.reference.simulator import encode_images

    options, mode, samples = command.chip, command.mode, command.samples
    placed, _, form = place(describe(net, mode, name=command.net.name), hardware)
    check_for_chip(net, mode, placed)
    if options.profile and not options.dry_run:
        period = schedule_for(net, mode).period
        samples = max(samples, math.ceil(options.power_timesteps / period))
    images = graded = None
    if mode == "reconstruct":
        images = load_images(dataset, command.data_dir, 1 if options.hold else samples,
                             net.image_shape)
        images = np.repeat(images, samples, axis=0) if options.hold else images
        graded = encode_images(net, images)
    return Plan(samples, samples_before(mode, options.hold, options.input_delay),
                ChipBits.of(net, mode, command.seed), images, graded,
                replace(hardware, board=placed.board, form=form),
                f"{placed.board.name}, {options.generation}, stock processes, "
                f"{form} convolutions" + ", one image held" * options.hold)


def _expected(command, net: NetFile, plan: Plan, console: Console) -> Expected:
    """The reference's run of the plan; shows its progress."""
    from rich.progress import BarColumn, Progress, TextColumn

    from lava_models.loihi.proof import expect

    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.completed}/{task.total} samples"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reference", total=plan.samples)
        return expect(net, command.mode, plan.bits, plan.before, plan.samples, plan.graded,
                      lambda n: progress.advance(task, n))


def _dry_run(command, net: NetFile, plan: Plan, console: Console) -> None:
    """All but the run: fit, graph, what would be sent, and what it is expected to cost."""
    from lava_models.cost.counts import pixels_used
    from lava_models.cost.estimates import cost_of_run
    from lava_models.loihi.hardware_graph import planned_processes

    cost = cost_of_run(net, command.mode, plan.samples,
                       _expected(command, net, plan, console).counts, pixels_used(plan.graded),
                       plan.hardware, command.net.name)
    processes = planned_processes(net, command.mode, plan.bits, plan.graded, plan.hardware.form,
                                  command.chip.hold)
    _show_dry_run(console, command, net, cost, plan.what, plan.samples, processes)


def _run_on_board(command, net: NetFile, plan: Plan, console: Console) -> Finished:
    """Take a board, run, measure, compare with the reference.

    Raises:
        UserError: no board, a compiler's refusal, a measurement that says nothing.
    """
    import numpy as np

    from lava_models.commands.meters import MachineMeters
    from lava_models.loihi.board import use_board
    from lava_models.loihi.hardware_graph import run_on_chip, timesteps_of
    from lava_models.loihi.measure import Profilers, measured_section
    from lava_models.loihi.proof import compare_with_expected
    from lava_models.net.program import build_program
    from lava_models.report.results import Finished

    options, mode, samples = command.chip, command.mode, plan.samples
    program = build_program(net, mode)
    environment = use_board(options.partition, options.board, options.host, options.generation)
    console.print("board: " + ", ".join(f"{k}={v}" for k, v in environment.items()))
    console.print(f"running {command.net} on backend loihi2 ({plan.what}): {mode}, {samples} "
                  f"samples of {program.schedule.period} timesteps; compiling, then the queue, at "
                  f"most {options.wait:g} s")
    if samples > command.samples:
        console.print(f"{samples} samples instead of {command.samples}: the power meter needs "
                      f"{options.power_timesteps} timesteps (--power-timesteps, --no-profile)")
    profilers = None
    if options.profile:
        profilers = Profilers.make(timesteps_of(net, mode, samples + plan.before))
    start, meters = time.perf_counter(), MachineMeters()
    run = run_on_chip(net, mode, plan.bits, samples, plan.graded,
                      convolutions=plan.hardware.form, held=options.hold,
                      delay=options.input_delay, loggers=profilers.all if profilers else (),
                      wait_s=options.wait,
                      on_start=lambda: console.print("the board answered; running"))
    wall_s, machine = time.perf_counter() - start, meters.read()
    measured = {}
    if profilers is not None:
        measured = measured_section(profilers, run.steps, program.schedule.period,
                                    plan.hardware.board)
    expected = _expected(command, net, plan, console)
    compared, late = compare_with_expected(run, expected, net, mode)
    # A held image is never sent: none of its pixels counts as a spike.
    sent = np.zeros_like(plan.graded) if options.hold else plan.graded
    return Finished(
        images=plan.images, graded=sent, voltage=run.voltage,
        latents=_latents(run, program, samples), counts=expected.counts, steps=run.steps,
        wall_s=wall_s, first=plan.before,
        check={"equal": compared.equal, "samples_compared": samples, "verdict":
               f"{samples} samples on the chip against the integer reference: {compared}"
               + f"; z {late} timesteps late through its adapter" * bool(late),
               **compared.section()},
        cpu=machine["cpu_j"], measured=measured,
        target={"backend": "loihi2", "graph": "stock", "lanes": 1,
                "description": f"Loihi 2: {plan.what}; counts are the reference's"})


def _latents(run, program, samples: int):
    """z by tick as the chip sent it: bool (samples, T, C)."""
    import numpy as np

    schedule, phase = program.schedule, program.draws[0].phase
    at = np.concatenate([schedule.timesteps(phase, i + run.first) - 1
                         for i in range(min(samples, 64))])
    return run.z[at].reshape(-1, schedule.ticks, run.z.shape[1])


def _show_dry_run(console, command, net, cost, what: str, samples: int,
                  processes: list[tuple[str, str, int]]) -> None:
    """What would be sent, and what it is expected to cost."""
    from rich.table import Table

    from lava_models.cost.estimates import energy_section, fit_section_of, time_section
    from lava_models.net.program import schedule_for
    from lava_models.report.render import fit_to_terminal
    from lava_models.report.rows import interval

    schedule = schedule_for(net, command.mode)
    console.print(f"dry run of {command.net} for backend loihi2 ({what}): nothing is sent, not run "
                  "on hardware")
    console.print(fit_to_terminal(fit_section_of(cost)))
    table = Table(title=f"graph: {schedule.period} timesteps per sample, T = {schedule.ticks} "
                        f"ticks x D = {schedule.dilation}", title_justify="left")
    for name in ("process", "what a compiler gets", "neurons", "first wave"):
        table.add_column(name, justify="left" if name[0] in "pw" else "right")
    first = {name.replace(".", "_"): phase for name, phase in schedule.phases.items()}
    for name, inside, neurons in sorted(processes, key=lambda row: first.get(row[0], 0)):
        table.add_row(name, inside, f"{neurons:,}" if neurons else "", str(first.get(name, "")))
    table.add_row("image_read", f"state Read, once per {schedule.period} timesteps", "", "")
    console.print(table)
    energy, times = energy_section(cost), time_section(cost)
    step = {**times["chip_timestep_us"],
            **{k: times["chip_timestep_us"][k] * 1e-6 for k in ("value", "low", "high")}}
    console.print(f"expected per sample, from the reference's spikes in {samples} samples: "
                  f"{interval(energy['over_all_sets_j'], 'J')} over all sets of constants; "
                  f"timestep at least {interval(step, 's')}")
