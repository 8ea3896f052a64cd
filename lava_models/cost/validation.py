"""The model against what others published: the page `hw_configs/VALIDATION.md`, and its test.

The mapper is compared with the closed compiler's tables, energy and time with the Loihi 2 runs
whose numbers and activity are both public. A nominal knows nothing of the network it is compared
with: constants fitted on it are left out, and so is its own power at rest. Intervals do: what a
measurement was outside of, it has widened.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import tomli

from hw_configs import Quantity, load_board, load_constants, names
from hw_configs.files import UserError
from lava_models.cost.describe import read_description
from lava_models.cost.energy import Activity, Estimate, Interval, LayerActivity, estimate
from lava_models.cost.mapper import Fit, fit, published_differences

JUDGES = ("pilotnet-lif", "yolo-kp")
HOST_BOUND = "pilotnet-sdnn"
BOARD = "oheogulch"
GRADED_MESSAGE = 1.5
"""Of a link's time, in binary spikes: 12 bytes for 8 (mbrehove/lava-dl, yolo_kp notebook)."""


@cache
def published_networks() -> dict[str, Fit]:
    """Every network with a published compiler table, as we map it."""
    board, folder = load_board(BOARD), resources.files("hw_configs") / "networks"
    described = {name: read_description(Path(str(folder / f"{name}.toml")))
                 for name in names("networks")}
    return {name: fit(network, board) for name, network in described.items()
            if network.published_cores is not None}


def measured_run(name: str) -> dict:
    """The published measurement of a network."""
    text = (resources.files("hw_configs") / "networks" / f"{name}.toml").read_text("utf-8")
    return tomli.loads(text)["measured"]


def measured_numbers(run: dict) -> dict[str, float]:
    """Time of a timestep in us and energies of a sample in uJ."""
    seconds = run["timesteps_per_sample"] * run["timestep_us"] * 1e-6
    static, dynamic = (1e6 * run[f"{kind}_power_w"] * seconds for kind in ("static", "dynamic"))
    return {"time per timestep, us": run["timestep_us"], "static energy per inference, uJ": static,
            "dynamic energy per inference, uJ": dynamic,
            "energy per inference, uJ": static + dynamic}


def predicted_numbers(e: Estimate) -> dict[str, Interval]:
    """The same of a prediction."""
    return {"time per timestep, us": e.timestep_us, "static energy per inference, uJ":
            e.static * 1e6, "dynamic energy per inference, uJ": e.dynamic * 1e6,
            "energy per inference, uJ": e.total * 1e6}


def predict(constants_name: str, judge: str) -> Estimate:
    """Energy and time of an inference, by constants that know nothing of the network.

    Activity is the published one; what spikes and messages cost is left out, as their number is not
    public.

    Raises:
        UserError: the constants were fitted on this network.
    """
    constants, run = load_constants(constants_name), measured_run(judge)
    mapped = dataclasses.replace(published_networks()[judge], board=load_board(run["board"]))
    if constants.fitted_on == mapped.network.name:
        raise UserError(f"{constants.name}: fitted on {constants.fitted_on}; it cannot be judged "
                        "on it")
    links = np.zeros((1, mapped.chips, mapped.chips))
    links[0, 0, -1] = GRADED_MESSAGE * run.get("busiest_link_spikes", 0.0)
    activity = Activity(tuple(_layers(mapped, run)), run["timesteps_per_sample"], links)
    return estimate(activity, mapped, constants, _power(mapped))


def _layers(mapped: Fit, run: dict) -> list[LayerActivity]:
    """Synops as published: per core of each layer, or in all and of the busiest core."""
    if "synops" in run:
        return [LayerActivity(
            layer.name, layer.part, layer.form, layer.neurons, 1e9 * np.array(
                [run["synops"].get(layer.name, [0.0] * len(layer.cores))]) / run["timesteps"],
            0.0, 0.0) for layer in mapped.layers]
    layers = [layer for layer in mapped.layers if layer.form == "shared convolution"]
    neurons = np.concatenate([layer.neurons for layer in layers])
    busiest = run["busiest_core_synops"]
    others = (run["synops_per_timestep"] - busiest) / (len(neurons) - 1)
    synops = np.array([[busiest, *[others] * (len(neurons) - 1)]])
    return [LayerActivity("all", "all", "shared convolution", neurons, synops, 0.0, 0.0)]


def _power(mapped: Fit) -> Quantity:
    """Of a chip at rest: nominal without the network's own reading, interval with it."""
    chip, board = mapped.board.chip, mapped.board.name
    blind, all_ = chip.static_power_w(board, mapped.network.name), chip.static_power_w(board)
    ends = (*blind.interval, *all_.interval)
    return dataclasses.replace(blind, low=min(ends), high=max(ends))


def sets_for(judge: str) -> list[str]:
    """Constants that were not fitted on the network."""
    return [n for n in names("energy")
            if load_constants(n).fitted_on != published_networks()[judge].network.name]


def page() -> str:
    """VALIDATION.md."""
    lines = [
        "# The model against published measurements", "",
        "Made by `energy-report validate`; a test keeps this page and the model together. Nothing "
        "here was run on hardware by us. Every cell: nominal, low to high in parentheses, then "
        "measured / nominal.", "",
        "Nominals know nothing of the network they are compared with: constants are Loihi 1's, or "
        "fitted on another network, and power at rest is that of other networks (where possible on "
        "the same kind of board). Intervals are widened by these measurements, so that they "
        "contain every one we know; how far a nominal is off is the ratio.", ""]
    worst: dict[str, float] = {}
    for judge in JUDGES:
        lines += _measured_network(judge, worst)
    lines += _host_bound()
    lines += ["Worst of all, measured / nominal: " + "; ".join(
        f"{key.split(',')[0]} {ratio:.2f}" for key, ratio in worst.items()) + ".", "",
        "The time is a lower bound by construction (the busiest core's synops at 0.66 ns each, the "
        "busiest link), and the static energy made of it likewise: neither says what congestion "
        "adds. PilotNet-LIF's timesteps alternate between about 105 and 200 us.", "",
        "What this does not cover: networks of mostly convolutions, whose dynamic energy is mostly "
        "synops, where a spiking VAE's may be mostly neuron updates; spikes and messages (their "
        "number is not public). A matching total does not prove its parts.", "",
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
    lines += ["", "Tables for microcoded solvers (QP, QUBO), whose matrices are not public, are "
              "not compared. The rules are in `lava_models/cost/mapper.py`, the tables in "
              "`hw_configs/networks`.", ""]
    return "\n".join(lines)


def _measured_network(judge: str, worst: dict[str, float]) -> list[str]:
    """Section of one measured network; adds to the worst ratios of all."""
    run, network, sets = measured_run(judge), published_networks()[judge].network, sets_for(judge)
    activity = ("synops per core, read off a plot (5 %)" if "synops" in run else
                "synops in all and of the busiest core, and spikes over the busiest link")
    lines = [f"## Energy and time: {network.name}", "",
             f"{run['system']}, {run['timesteps']:,} timesteps, {run['source']}. Taken from the "
             f"measurement: {activity}.", "",
             "| | measured | " + " | ".join(f"{n} | ratio" for n in sets) + " |",
             "|-|-:|" + "-:|-:|" * len(sets)]
    predicted = [predicted_numbers(predict(n, judge)) for n in sets]
    for key, value in measured_numbers(run).items():
        cells = []
        for numbers in predicted:
            p = numbers[key]
            ratio = value / p.value
            worst[key] = max(worst.get(key, 1.0), ratio, key=lambda r: abs(np.log(r)))
            inside = "" if p.low <= value <= p.high else ", outside"
            cells.append(f"{p.value:,.1f} ({p.low:,.1f} to {p.high:,.1f}) | {ratio:.2f}{inside}")
        lines.append(f"| {key} | {value:,.1f} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _host_bound() -> list[str]:
    run, mapped = measured_run(HOST_BOUND), published_networks()[HOST_BOUND]
    low, high = mapped.board.chip.timing.host_step.interval
    return [f"## The host: {mapped.network.name}", "",
            f"{run['system']}, {run['timesteps']:,} timesteps, {run['source']}: "
            f"{run['timestep_us']:,} us a timestep, all of it waiting for input of the host; "
            f"modelled: {low:,.0f} to {high:,.0f} us. Its power, {run['static_power_w']:.3f} W at "
            f"rest and {run['static_power_w'] + run['dynamic_power_w']:.3f} W running, shows no "
            "dynamic energy, so that nothing else can be compared.", ""]
