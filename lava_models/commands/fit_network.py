"""energy-report --fit: does a network fit a board, and what would it cost? Before any training."""

from __future__ import annotations

import dataclasses

from hw_configs.files import UserError, check_replaceable, replacing

TIMESTEPS = 64
"""Per sample, assumed of a network whose file does not say."""


def fit_network(command) -> int:
    """Run `--fit` (energy_report.Command); 1 where the network does not fit.

    Raises:
        UserError: whatever is wrong with file or options, in one line.
    """
    from lava_models.commands.console import make_console
    from lava_models.cost.ann import work_of_network
    from lava_models.cost.baselines import break_even_text, quantised_ann
    from lava_models.cost.describe import to_toml
    from lava_models.cost.estimates import (
        cost_at_rate,
        energy_section,
        fit_section,
        load_hardware,
        place_described,
        time_section,
    )
    from lava_models.cost.forms import form_of
    from lava_models.cost.networks import read_network
    from lava_models.net.netx import NetxOptions
    from lava_models.report.render import fit_to_terminal
    from lava_models.report.rows import interval

    if command.rate is not None and not 0 <= command.rate <= 1:
        raise UserError(f"--rate {command.rate}: expected 0 to 1 spikes per neuron and timestep")
    if command.timesteps is not None and command.timesteps < 1:
        raise UserError(f"--timesteps {command.timesteps}: expected at least 1")
    if command.describe is not None:
        check_replaceable(command.describe)
    console = make_console()
    if command.minimise and command.convolutions:
        raise UserError(f"--minimise {command.minimise}: chooses the form of every convolution; "
                        "leave out --convolutions")
    network = read_network(command.fit, command.mode, command.compiler, NetxOptions(
        num_layers=command.num_layers, input_shape=command.input_shape))
    hardware = load_hardware(command.hw, command.constants, command.convolutions)
    timesteps, per_tick = (1, "") if command.rate is None else _timing(command)
    best = place_described(network, hardware, command.minimise or "cores", command.rate,
                           timesteps)
    console.print(f"{network.name}: modelled, not run on hardware")
    console.print(fit_to_terminal(fit_section(best, None, form_of(best.network))))
    if command.rate is not None:
        cost = cost_at_rate(best, command.rate, timesteps, hardware)
        energy, time = energy_section(cost), time_section(cost)
        step = {**time["chip_timestep_us"],
                **{k: time["chip_timestep_us"][k] * 1e-6 for k in ("value", "low", "high")}}
        console.print(
            f"at an assumed {command.rate:g} spikes per neuron and timestep{per_tick}, {timesteps} "
            f"timesteps per sample:\n  energy per sample {interval(energy['over_all_sets_j'], 'J')}"
            f" over all sets of constants\n  timestep at least {interval(step, 's')}")
        ann = quantised_ann(work_of_network(network, timesteps))["energy_per_sample_j"]
        console.print("  is it worth it: " + break_even_text(
            energy["dynamic_by_kind_j"], ann, command.rate, "timestep"))
    if command.describe is not None:
        shown = dataclasses.replace(best.network, name=network.name)
        with replacing(command.describe) as file:
            file.write_text(to_toml(shown), "utf-8")
        console.print(f"description: {command.describe}")
    return 0 if best.fits else 1


def _timing(command) -> tuple[int, str]:
    """(timesteps per sample, the rate per tick in words where the file knows ticks).

    Raises:
        UserError: --timesteps is not what the file says.
    """
    from lava_models.cost.networks import is_model_net
    from lava_models.net.hdf5 import read_net
    from lava_models.net.program import schedule_for

    if not is_model_net(command.fit):
        return command.timesteps or TIMESTEPS, ""
    schedule = schedule_for(read_net(command.fit), command.mode)
    if command.timesteps not in (None, schedule.period):
        raise UserError(f"--timesteps {command.timesteps}: {command.fit} takes {schedule.period} "
                        f"per sample in mode {command.mode}; leave the option out")
    return schedule.period, (f" ({command.rate * schedule.dilation:g} per tick of "
                             f"{schedule.dilation} timesteps)")
