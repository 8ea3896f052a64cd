"""`run-lava FILE.net --backend loihi2 --dry-run`: what of a NetX file would be sent to a chip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw_configs.files import UserError

if TYPE_CHECKING:
    from lava_models.net.netx import NetxFile
    from lava_models.net.netx_input import NetxInput
    from lava_models.net.program import Program


def run_netx_loihi(command, net: NetxFile, program: Program, inputs: NetxInput, hardware) -> int:
    """Checks, fit, expected cost, and the graph as a compiler would get it.

    Raises:
        UserError: the network does not suit the chip.
    """
    from rich.table import Table

    from lava_models.commands.console import make_console
    from lava_models.cost.estimates import energy_section, fit_section_of, time_section
    from lava_models.graph.netx_run import run_samples
    from lava_models.loihi.netx_hardware import check_netx_for_chip, planned_netx_processes
    from lava_models.report.netx_results import cost_of_netx
    from lava_models.report.render import fit_to_terminal, interval

    if not command.chip.dry_run:
        raise UserError("--backend loihi2: a NetX file can be checked and planned for a chip with "
                        "--dry-run; to run it there, use lava.lib.dl.netx.hdf5.Network with "
                        "Loihi2HwCfg, which is what the plan is made of")
    console = make_console()
    run = run_samples(net, program, inputs, graph="reference", lanes=1)
    cost = cost_of_netx(net, program, inputs.samples, run.counts, hardware)
    check_netx_for_chip(net, cost.fit)
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
    return 0
