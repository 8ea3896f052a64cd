"""What a network costs on a board: the fit and the estimates, as the sections of a report."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hw_configs import (
    Board,
    EnergyConstants,
    load_board,
    load_constants,
    names,
)
from hw_configs.files import UserError
from lava_models.cost.describe import describe
from lava_models.cost.description import FORMS, GATED_STATE_WORDS, Network
from lava_models.cost.energy import (
    KINDS,
    Activity,
    Estimate,
    Interval,
    activity_at_rate,
    activity_of_program,
    activity_of_run,
    estimate,
)
from lava_models.cost.forms import choose_forms, form_of
from lava_models.cost.mapper import Fit, LayerFit, fit, other_form
from lava_models.cost.words import COLUMNS
from lava_models.net.netfile import NetFile
from lava_models.net.program import Program

DEFAULT_CONSTANTS = "loihi1-davies2018"
LADDER = ("oheogulch", "kapohopoint", "vpx", "halapoint")
"""Boards tried when none is named, small to large."""
NO_CHIP = {"value": None, "basis": "unavailable", "why": "ran on the CPU simulator, which has no "
           "chip clock and no power meter", "fix": "run-lava --backend loihi2 on a Loihi 2 system"}
NOT_PROFILED = {"value": None, "basis": "unavailable", "why": "the chip's run was not profiled",
                "fix": "run-lava --backend loihi2 --profile"}
ASSUMPTIONS = [
    "no per-operation energy of Loihi 2 is public: constants are Loihi 1's (14 nm), or fitted on "
    "one published Loihi 2 run",
    "time is a lower bound (synchronisation, busiest core, busiest link), and static energy with "
    "it: mesh congestion is not modelled; `high` is what measured timesteps were, in multiples",
    "intervals contain every public measurement we know (hw_configs/VALIDATION.md), of two "
    "networks; measured over nominal, the worst were 2.86 in time, 6.91 in static energy (on a "
    "board whose power at rest was not known), 0.74 in dynamic energy, 4.01 in all",
    "cores are taken in the order of the layers; how far messages travel is an interval",
    "the mapper's rules are recovered from published compiler tables; for sparse matrices there is "
    "no table",
    "every neuron is updated in every timestep; a biased membrane costs what an inactive one does",
]

GATED = ("gated neurons (GLIF) need microcode, of which none is public: each is given the "
         f"{GATED_STATE_WORDS} words of state of a published microcoded neuron, and the energy and "
         "time of a LIF, which is too little")


@dataclass(frozen=True)
class Hardware:
    """What the cost is asked for."""

    board: Board | None
    """None: the smallest Loihi 2 board that holds the network."""
    constants: tuple[EnergyConstants, ...]
    """The first is the one the headline is made with."""
    form: str | None
    """Of convolutions, "shared" or "unrolled"; None: the one that takes fewer cores."""


def load_hardware(board: str | None = None, constants: str | None = None,
                  form: str | None = None) -> Hardware:
    """The hardware behind command-line options; names of shipped files or paths of TOML files.

    Raises:
        UserError: names file and key.
    """
    first = load_constants(constants or DEFAULT_CONSTANTS)
    others = [load_constants(name) for name in names("energy")]
    return Hardware(load_board(board) if board else None,
                    (first, *(c for c in others if c.name != first.name)), form)


@dataclass(frozen=True)
class Cost:
    """Fit, activity and estimates of one network on one board."""

    fit: Fit
    other: Fit | None
    """With its convolutions in the other form; None where there are none."""
    form: str
    activity: Activity
    estimates: tuple[Estimate, ...]
    """By every set of constants, the headline's first."""
    other_estimate: Estimate | None
    """Of `other`, by the headline's constants."""


def place(network: Network, hardware: Hardware) -> tuple[Fit, Fit | None, str]:
    """Fit a network in the wanted form of its convolutions (or the better one), and the other.

    Raises:
        UserError: a neuron does not fit a core; no form of a convolution fits.
    """
    has_maps = any(layer.kind in ("conv", "convT") for layer in network.layers)
    forms = [hardware.form] if hardware.form else list(FORMS)
    tried, problem = {}, None
    board = hardware.board or load_board(LADDER[0])
    for form in FORMS if has_maps else forms[:1]:
        try:
            tried[form] = fit(other_form(network, form), board)
        except UserError as error:
            problem = problem or UserError(str(error))
    wanted = [form for form in forms if form in tried]
    if not wanted:
        raise problem
    form = min(wanted, key=lambda f: tried[f].cores)
    best = tried.pop(form)
    if hardware.board is None:
        best = _on_smallest_board(best)
        tried = {f: dataclasses.replace(t, board=best.board) for f, t in tried.items()}
    return best, next(iter(tried.values()), None), form


def cost_of_run(net: NetFile, mode: str, samples: int, spikes: Mapping[str, np.ndarray],
                pixels: np.ndarray | None, hardware: Hardware, name: str = "model.net") -> Cost:
    """The cost of a run whose spikes were counted (arguments as in counts.count_run)."""
    best, other, form = place(describe(net, mode, name=name), hardware)
    return _cost(best, other, form, hardware,
                 lambda on: activity_of_run(net, mode, samples, spikes, pixels, on))


def cost_of_program(program: Program, network: Network, samples: int,
                    spikes: Mapping[str, np.ndarray], hardware: Hardware) -> Cost:
    """The cost of a run of any program, described by `network`; every population's spikes counted
    (as in counts.count_run), those of the input, too."""
    best, other, form = place(network, hardware)
    return _cost(best, other, form, hardware,
                 lambda on: activity_of_program(program, samples, spikes, None, on))


def place_described(network: Network, hardware: Hardware, minimise: str = "cores",
                    rate: float | None = None, timesteps: int = 1) -> Fit:
    """Fit a described network in one form of its convolutions: the wanted one, or layer by layer
    what minimises "cores", or the "time" or "energy" of a sample at an assumed `rate`.

    Raises:
        UserError: a neuron does not fit a core; a convolution has no such form; no rate is given
            for time or energy.
    """
    if minimise != "cores" and rate is None:
        raise UserError(f"--minimise {minimise}: needs --rate, spikes per neuron and timestep")
    board = hardware.board or load_board(LADDER[0])

    def cost(on: Fit) -> tuple[float, float]:
        activity = activity_at_rate(on.network, on, rate, timesteps)
        e = estimate(activity, on, hardware.constants[0])
        if minimise == "energy":
            return e.total.value, on.cores
        return e.sample_ms.value, float(sum(layer.synops.max() for layer in activity.layers))

    best = fit(other_form(network, hardware.form), board) if hardware.form else choose_forms(
        network, board, None if minimise == "cores" else cost)
    return best if hardware.board else _on_smallest_board(best)


def _on_smallest_board(placed: Fit) -> Fit:
    boards = [load_board(name) for name in LADDER]
    on = next((b for b in boards if dataclasses.replace(placed, board=b).fits), boards[-1])
    return dataclasses.replace(placed, board=on)


def cost_at_rate(placed: Fit, rate: float, timesteps: int, hardware: Hardware) -> Cost:
    """The cost of a described network at an assumed firing rate per neuron and timestep."""
    return _cost(placed, None, form_of(placed.network), hardware,
                 lambda on: activity_at_rate(on.network, on, rate, timesteps))


def _cost(best: Fit, other: Fit | None, form: str, hardware: Hardware,
          activity_on: Callable[[Fit], Activity]) -> Cost:
    activity = activity_on(best)
    return Cost(best, other, form, activity,
                tuple(estimate(activity, best, c) for c in hardware.constants),
                other and estimate(activity_on(other), other, hardware.constants[0]))


# --- sections of the report -------------------------------------------------------------------


def fit_section(best: Fit, other: Fit | None, form: str,
                other_estimate: Estimate | None = None) -> dict:
    """Cores per layer and in all."""
    board = best.board
    return {
        "basis": "modelled", "board": board.name, "chip": board.chip.name,
        "board_chips": int(board.chips.value), "cores_per_chip": board.cores_per_chip,
        "board_sha256": hashlib.sha256(repr(board).encode()).hexdigest(),
        "convolutions": form, "cores": best.cores, "chips": best.chips, "fits": best.fits,
        "binds": best.binds, "cores_by_part": best.cores_by_part,
        "other_form": None if other is None else {
            "convolutions": next(f for f in FORMS if f != form), "cores": other.cores,
            "chips": other.chips, "cores_by_part": other.cores_by_part,
            "energy_per_sample_j": other_estimate and modelled(other_estimate.total),
            "chip_sample_ms": other_estimate and modelled(other_estimate.sample_ms)},
        "layers": [_fit_row(layer) for layer in best.layers],
    }


def fit_section_of(cost: Cost) -> dict:
    """`fit_section` of a run, with what the other form would cost."""
    return fit_section(cost.fit, cost.other, cost.form, cost.other_estimate)


def _fit_row(layer: LayerFit) -> dict:
    return {"name": layer.name, "part": layer.part, "form": layer.form,
            "cores": len(layer.cores), "binds": COLUMNS[layer.binds],
            "fullest_core": {COLUMNS[column]: {
                "used": used, "limit": limit,
                "percent": None if limit is None else round(100 * used / limit, 2)}
                for column, (used, limit) in layer.use.items()}}


def time_section(cost: Cost, measured: dict | None = None) -> dict:
    """Time per timestep and sample; what the host's input takes, where it sends any.

    Args:
        measured: as in report.build_report.
    """
    first = cost.estimates[0]
    what = ("lower bound; high is the sum of what low takes the largest of, or what measured "
            "timesteps were as multiples of the bound")
    section = {
        "chip_timestep_us": modelled(first.timestep_us) | {"what": what},
        "chip_sample_ms": modelled(first.sample_ms) | {"what": what},
        "waits_for": first.waits,
        "measured_timestep_us": _of_chip(measured, "timestep_us"),
    }
    step = cost.fit.board.chip.timing.host_step
    if step is not None and any(not layer.on_chip for layer in cost.fit.network.layers):
        section["host_input_sample_ms"] = modelled(
            Interval.of(step) * (cost.activity.timesteps * 1e-3)) | {
                "what": "lower bound; what the chip waits for while the host sends its input, "
                        "beside its own timesteps"}
    return section


def energy_section(cost: Cost, measured: dict | None = None) -> dict:
    """Energy of a sample; `measured` as in report.build_report."""
    first = cost.estimates[0]
    counts = {
        "synapses": sum(la.synops.sum() for la in cost.activity.layers) * cost.activity.repeat,
        "neurons": sum(la.neurons.sum() for la in cost.activity.layers) * cost.activity.timesteps,
        "spikes": sum(la.spikes for la in cost.activity.layers),
        "messages": sum(la.messages for la in cost.activity.layers)}
    totals = [e.total for e in cost.estimates]
    over = Interval(first.total.value, min(t.low for t in totals), max(t.high for t in totals))
    return {
        "scope": "one sample, chips only, in a row of samples without gaps",
        "constants": first.constants.name,
        "energy_per_sample_j": modelled(first.total),
        "over_all_sets_j": modelled(over),
        "energy_per_timestep_j": modelled(first.total * (1 / cost.activity.timesteps)),
        "static_j": modelled(first.static),
        "dynamic_j": modelled(first.dynamic),
        "dynamic_by_kind_j": [{"name": kind, "count": float(counts[kind]),
                               **modelled(first.by_kind[kind])} for kind in KINDS],
        "dynamic_by_part_j": [{"name": part, **modelled(value)}
                              for part, value in first.by_part.items()],
        "sets": [{"name": e.constants.name, "technology": e.constants.technology,
                  "fitted_on": e.constants.fitted_on,
                  "sha256": hashlib.sha256(repr(e.constants).encode()).hexdigest(),
                  "dynamic_j": modelled(e.dynamic), "total_j": modelled(e.total)}
                 for e in cost.estimates],
        "measured_j": _of_chip(measured, "energy_per_sample_j"),
        "assumptions": ASSUMPTIONS + [GATED] * any(
            layer.state_words > 1 for layer in cost.fit.network.layers),
    }


def _of_chip(measured: dict | None, name: str) -> dict:
    """A measured entry, or why there is none; `measured` is None where no chip ran."""
    return dict(NO_CHIP if measured is None else measured.get(name, NOT_PROFILED))


def modelled(value: Interval) -> dict:
    """An interval as a record's entry."""
    return {**value.as_dict(), "basis": "modelled"}
