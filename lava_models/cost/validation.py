"""The model against what others published: the page `hw_configs/VALIDATION.md`, and its test.

The mapper is compared with the closed compiler's tables, energy and time with the one Loihi 2 run
whose numbers and activity are both public. Nothing used there was fitted to that network: constant
sets fitted on it are left out, and so is its own power at rest.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import tomli

from hw_configs import load_board, load_constants, names
from hw_configs.files import UserError
from lava_models.cost.describe import read_description
from lava_models.cost.energy import Activity, Estimate, Interval, LayerActivity, estimate
from lava_models.cost.mapper import Fit, fit, published_differences

JUDGE = "pilotnet-lif"
BOARD = "oheogulch"


@cache
def published_networks() -> dict[str, Fit]:
    """Every network with a published compiler table, as we map it."""
    board, folder = load_board(BOARD), resources.files("hw_configs") / "networks"
    described = {name: read_description(Path(str(folder / f"{name}.toml")))
                 for name in names("networks")}
    return {name: fit(network, board) for name, network in described.items()
            if network.published_cores is not None}


def measured_run() -> dict:
    """The published measurement of PilotNet-LIF."""
    text = (resources.files("hw_configs") / "networks" / f"{JUDGE}.toml").read_text("utf-8")
    return tomli.loads(text)["measured"]


def predict(constants_name: str) -> Estimate:
    """Energy and time of a PilotNet-LIF inference, by constants that know nothing of it.

    Activity is the published one: synops per core; what spikes and messages cost is left out, as
    their number is not public.

    Raises:
        UserError: the constants were fitted on this network.
    """
    constants, mapped, run = load_constants(constants_name), published_networks()[JUDGE], (
        measured_run())
    if constants.fitted_on == mapped.network.name:
        raise UserError(f"{constants.name}: fitted on {constants.fitted_on}; it cannot be judged "
                        "on it")
    layers = []
    for layer in mapped.layers:
        synops = run["synops"].get(layer.name, [0.0] * len(layer.cores))
        layers.append(LayerActivity(
            layer.name, layer.part, layer.form, layer.neurons,
            1e9 * np.array([synops]) / run["timesteps"], 0.0, 0.0))
    activity = Activity(tuple(layers), run["timesteps_per_sample"], np.zeros((1, 1, 1)))
    power = mapped.board.chip.static_power_w(without=mapped.network.name)
    return estimate(activity, mapped, constants, power)


def page() -> str:
    """VALIDATION.md."""
    run = measured_run()
    per_sample = run["timesteps_per_sample"] * run["timestep_us"] * 1e-6
    measured = {
        "time per timestep, us": run["timestep_us"],
        "static energy per inference, uJ": 1e6 * run["static_power_w"] * per_sample,
        "dynamic energy per inference, uJ": 1e6 * run["dynamic_power_w"] * per_sample,
        "energy per inference, uJ": 1e6 * (run["static_power_w"] + run["dynamic_power_w"])
        * per_sample,
        "dynamic power, mW": 1e3 * run["dynamic_power_w"],
    }
    lines = [
        "# The model against published measurements", "",
        "Made by `energy-report validate`; a test keeps this page and the model together. Nothing "
        "here was run on hardware by us.", "",
        "## Energy and time: PilotNet-LIF", "",
        f"{run['system']}, {run['timesteps']:,} timesteps, {run['source']}. Nothing was fitted to "
        "this network: constants are Loihi 1's, power at rest is that of another network on the "
        "same kind of board. What was taken from the measurement is the activity: synops per "
        "core, read off a plot (5 %).", ""]
    sets = [n for n in names("energy")
            if load_constants(n).fitted_on != published_networks()[JUDGE].network.name]
    lines += ["| | measured | " + " | ".join(f"{n} | ratio" for n in sets) + " |",
              "|-|-:|" + "-:|-:|" * len(sets)]
    predicted = [_predicted(predict(n)) for n in sets]
    for key, value in measured.items():
        cells = [_cell(p[key], value) for p in predicted]
        lines.append(f"| {key} | {value:.1f} | " + " | ".join(cells) + " |")
    lines += [
        "", "Nominal, low to high in parentheses, nominal / measured. The time is a lower "
        "bound by construction (the busiest core's synops at 0.66 ns each); the measured timesteps "
        "alternate between about 105 and 200 us. The dynamic power is a ratio of two errors and "
        "comes out high because the time comes out low.", "",
        "What this does not cover: one network, one board, one firing rate; a network of mostly "
        "convolutions, whose dynamic energy is mostly synops, where a spiking VAE's may be mostly "
        "neuron updates; spikes and messages (their number is not public); several chips; host "
        "input and output (the image stayed on the chip). A matching total does not prove its "
        "parts.", "",
        "## Cores: the compiler's published tables", "",
        "The mapper's rules were recovered from these very tables: agreement shows that they "
        "hold together, not that they hold elsewhere. Compared per layer: AxonIn, NeuronGr, "
        "neurons, synapses, AxonMap, AxonMem, cores.", "",
        "| network | layers with a table | cores | published | differences |", "|-|-:|-:|-:|-|"]
    for mapped in published_networks().values():
        network = mapped.network
        tables = sum(layer.published is not None for layer in network.layers)
        lines.append(f"| {network.name} | {tables} | {mapped.cores} | {network.published_cores} | "
                     f"{'; '.join(published_differences(mapped)) or 'none'} |")
    lines += ["", "Tables for microcoded solvers (QP, QUBO), whose "
              "matrices are not public, are not compared. The rules are in "
              "`lava_models/cost/mapper.py`, the tables in `hw_configs/networks`.", ""]
    return "\n".join(lines)


def _predicted(e: Estimate) -> dict[str, Interval]:
    # Power is a quotient of two estimates; its ends pair the slow with the cheap and vice versa.
    d, t = e.dynamic, e.sample_ms
    power = Interval(1e6 * d.value / t.value, 1e6 * d.low / t.high, 1e6 * d.high / t.low)
    return {"time per timestep, us": e.timestep_us,
            "static energy per inference, uJ": e.static * 1e6,
            "dynamic energy per inference, uJ": e.dynamic * 1e6,
            "energy per inference, uJ": e.total * 1e6,
            "dynamic power, mW": power}


def _cell(predicted: Interval, measured: float) -> str:
    inside = predicted.low <= measured <= predicted.high
    return (f"{predicted.value:.1f} ({predicted.low:.1f} to {predicted.high:.1f}) | "
            f"{predicted.value / measured:.2f}, measured {'inside' if inside else 'outside'}")
