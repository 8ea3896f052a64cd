"""`run-lava FILE.net --backend loihi2`: a NetX file on a chip, or with --dry-run all but the run.

Not run on hardware.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from hw_configs.files import UserError, check_writable

if TYPE_CHECKING:
    from lava_models.cost.estimates import Cost
    from lava_models.net.netx import NetxFile
    from lava_models.net.netx_input import NetxInput
    from lava_models.net.program import Program


def run_netx_loihi(command, arguments: list[str], net: NetxFile, program: Program,
                   inputs: NetxInput, out: Path, hardware, record: dict) -> int:
    """Checks, then the run, its measurement and comparison; or what would be sent.

    Raises:
        UserError: the network does not suit the chip, or whatever else is wrong, in one line.
    """
    from lava_models.commands.console import make_console
    from lava_models.graph.netx_run import run_samples
    from lava_models.loihi.board import require_extension
    from lava_models.loihi.netx_hardware import check_netx_for_chip, check_row
    from lava_models.report.netx_results import cost_of_netx

    chip = command.chip
    if chip.hold or chip.input_delay:
        raise UserError("--hold and --input-delay: are for a model.net of this project")
    if not chip.dry_run:
        require_extension()
        check_row(net, inputs)
    console = make_console()
    expected = run_samples(net, program, inputs, graph="reference", lanes=1)
    cost = cost_of_netx(net, program, inputs.samples, expected.counts, hardware)
    check_netx_for_chip(net, cost.fit)
    if chip.dry_run:
        _show_plan(console, command, net, program, inputs, cost)
        return 0
    check_writable(out)
    return _run(command, arguments, net, program, inputs, out, hardware, record, expected, cost,
                console)


def _run(command, arguments: list[str], net: NetxFile, program: Program, inputs: NetxInput,
         out: Path, hardware, record: dict, expected, cost: Cost, console) -> int:
    from dataclasses import replace

    from lava_models.commands.meters import MachineMeters
    from lava_models.loihi.board import use_board
    from lava_models.loihi.measure import Profilers, measured_section
    from lava_models.loihi.netx_hardware import compare_output, run_netx_on_chip, timesteps_in_a_row
    from lava_models.report.netx_results import NetxFinished, save_netx_run

    chip = command.chip
    environment = use_board(chip.partition, chip.board, chip.host, chip.generation)
    console.print("board: " + ", ".join(f"{k}={v}" for k, v in environment.items()))
    steps = timesteps_in_a_row(program, inputs.samples)
    console.print(f"running {command.net} on backend loihi2: {inputs.samples} samples in a row, "
                  f"{steps} timesteps; compiling, then the queue, at most {chip.wait:g} s")
    if chip.profile and steps < chip.power_timesteps:
        console.print(f"the power meter needs {chip.power_timesteps} timesteps (--power-timesteps);"
                      " run more --samples, or expect no more than its noise")
    profilers = Profilers.make(steps) if chip.profile else None
    start, meters = time.perf_counter(), MachineMeters()
    messages = run_netx_on_chip(net, program, inputs, wait_s=chip.wait, loggers=(
        profilers.all if profilers else ()), on_start=lambda: console.print(
            "the board answered; running"))
    wall_s, machine = time.perf_counter() - start, meters.read()
    measured = {} if profilers is None else measured_section(
        profilers, steps, program.schedule.period, cost.fit.board)
    got, compared, late = compare_output(messages, expected.messages, program)
    return save_netx_run(
        NetxFinished(replace(expected, messages=got, voltage=None, steps=steps), record, wall_s,
                     {"equal": compared.equal, "samples_compared": inputs.samples, "verdict":
                      f"{inputs.samples} samples on the chip against the integer reference, the "
                      f"last layer, {late} timesteps late: {compared}", **compared.section()},
                     {"backend": "loihi2", "graph": "stock", "lanes": 1, "description":
                      "Loihi 2: only the last layer came back; counts are the reference's"},
                     machine["cpu_j"], measured),
        net=net, net_path=command.net, program=program, out=out, hardware=hardware,
        arguments=arguments, console=console)


def _show_plan(console, command, net: NetxFile, program: Program, inputs: NetxInput, cost: Cost
               ) -> None:
    """What would be sent, and what it is expected to cost."""
    from rich.table import Table

    from lava_models.cost.estimates import energy_section, fit_section_of, time_section
    from lava_models.loihi.netx_hardware import planned_netx_processes
    from lava_models.report.render import fit_to_terminal
    from lava_models.report.rows import interval

    console.print(f"dry run of {command.net} for backend loihi2: nothing is sent, not run on "
                  "hardware")
    console.print(fit_to_terminal(fit_section_of(cost)))
    table = Table(title=f"graph: {program.schedule.period} timesteps per sample",
                  title_justify="left")
    for name in ("process", "what a compiler gets", "neurons", "first timestep"):
        table.add_column(name, justify="left" if name[0] in "pw" else "right")
    for name, inside, neurons, first in planned_netx_processes(net, program, inputs):
        table.add_row(name, inside, f"{neurons:,}" if neurons else "", str(first or ""))
    console.print(table)
    energy, times = energy_section(cost), time_section(cost)
    step = {**times["chip_timestep_us"],
            **{k: times["chip_timestep_us"][k] * 1e-6 for k in ("value", "low", "high")}}
    console.print(f"expected per sample, from the reference's messages in {inputs.samples} "
                  f"samples: {interval(energy['over_all_sets_j'], 'J')} over all sets of "
                  f"constants; timestep at least {interval(step, 's')}")
