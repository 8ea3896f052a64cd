"""What a network costs on a board: the fit and the estimates, as the sections of a report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs import (
    Board,
    EnergyConstants,
    load_board,
    load_constants,
    load_mac,
    load_quantised_ann,
    names,
)
from hw_configs.files import UserError
from lava_models.cost.ann import (
    WEIGHT_BITS,
    AnnWork,
    ann_energy,
    break_even,
    work_of_net,
    work_of_network,
)
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
from lava_models.cost.mapper import COLUMNS, Fit, LayerFit, fit, other_form
from lava_models.cost.networks import describe_netx
from lava_models.net.layers import Dense, Layer
from lava_models.net.netfile import NetFile
from lava_models.net.netx import NetxFile
from lava_models.net.pretrained import PRETRAINED_COST
from lava_models.net.program import Program
from lava_models.net.synapse import unroll

DEFAULT_CONSTANTS = "loihi1-davies2018"
QUANTISED_ANN = "ANN of the same layers, bit-matched, memory included"
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
            "energy_per_sample_j": other_estimate and _modelled(other_estimate.total),
            "chip_sample_ms": other_estimate and _modelled(other_estimate.sample_ms)},
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
        "chip_timestep_us": _modelled(first.timestep_us) | {"what": what},
        "chip_sample_ms": _modelled(first.sample_ms) | {"what": what},
        "waits_for": first.waits,
        "measured_timestep_us": _of_chip(measured, "timestep_us"),
    }
    step = cost.fit.board.chip.timing.host_step
    if step is not None and any(not layer.on_chip for layer in cost.fit.network.layers):
        section["host_input_sample_ms"] = _modelled(
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
        "energy_per_sample_j": _modelled(first.total),
        "over_all_sets_j": _modelled(over),
        "energy_per_timestep_j": _modelled(first.total * (1 / cost.activity.timesteps)),
        "static_j": _modelled(first.static),
        "dynamic_j": _modelled(first.dynamic),
        "dynamic_by_kind_j": [{"name": kind, "count": float(counts[kind]),
                               **_modelled(first.by_kind[kind])} for kind in KINDS],
        "dynamic_by_part_j": [{"name": part, **_modelled(value)}
                              for part, value in first.by_part.items()],
        "sets": [{"name": e.constants.name, "technology": e.constants.technology,
                  "fitted_on": e.constants.fitted_on,
                  "sha256": hashlib.sha256(repr(e.constants).encode()).hexdigest(),
                  "dynamic_j": _modelled(e.dynamic), "total_j": _modelled(e.total)}
                 for e in cost.estimates],
        "measured_j": _of_chip(measured, "energy_per_sample_j"),
        "assumptions": ASSUMPTIONS + [GATED] * any(
            layer.state_words > 1 for layer in cost.fit.network.layers),
    }


def _of_chip(measured: dict | None, name: str) -> dict:
    """A measured entry, or why there is none; `measured` is None where no chip ran."""
    return dict(NO_CHIP if measured is None else measured.get(name, NOT_PROFILED))


def _modelled(value: Interval) -> dict:
    return {**value.as_dict(), "basis": "modelled"}


def multiply_accumulates(net: NetFile, mode: str) -> int:
    """Of the ANN VAE with the same layers, per image: encoder and decoder once, Gaussian latent."""
    def macs(layer: Layer) -> int:
        if isinstance(layer, Dense):
            return layer.weight.size
        return unroll(dataclasses.replace(layer, weight=np.ones_like(layer.weight))).nnz

    decoder = sum(map(macs, net.decoder))
    if mode == "generate":
        return decoder
    if net.poisson is not None:
        return _host_macs(net) + net.poisson.encoder[-1].weight.size + decoder
    return sum(map(macs, net.encoder)) + macs(net.encoder[-1]) + decoder  # mean and variance


def host_work(net: NetFile, mode: str) -> str:
    """What the host computes in a run, in words."""
    if net.poisson is None:
        return "image encoding, tanh of the readout"
    encoder = (f"the encoder ({_host_macs(net):,} multiply-accumulates per image) and its "
               "exponential, ")
    return (encoder if mode == "reconstruct" else "") + "scale and offset of the readout"


def _host_macs(net: NetFile) -> int:
    """Of the encoder that the host computes, borders of convolutions included."""
    total, (_, h, w) = 0, net.image_shape
    for layer in net.poisson.encoder:
        if layer.weight.ndim == 4:
            h, w = -(-h // 2), -(-w // 2)
            total += layer.weight.size * h * w
        else:
            total += layer.weight.size
    return total


def baseline_section(net: NetFile, mode: str, samples: int, cpu: dict, path: Path) -> list[dict]:
    """What to compare with: the ANN's arithmetic, and what the simulator took on this machine.

    Args:
        cpu: joules of the CPU during the run, an entry of `MachineMeters.read`.
        path: of the network's file.
    """
    count = multiply_accumulates(net, mode)
    return [_arithmetic("ANN VAE of the same layers, arithmetic only", count),
            quantised_ann(work_of_net(net, mode, count)), *_host_rows(samples, cpu),
            *_shipped(net, mode, path)]


def netx_baselines(net: NetxFile, timesteps: int, samples: int, cpu: dict) -> list[dict]:
    """`baseline_section` of a NetX file: its layers as those of an ANN, run once per sample.

    The quantised one's bits are those of spike counts, so not where messages are integers.
    """
    work = work_of_network(describe_netx(net), timesteps)
    spiking = not any(layer.graded for layer in net.layers)
    return [_arithmetic("ANN of the same layers, arithmetic of one pass only", work.macs),
            *([quantised_ann(work)] if spiking else []), *_host_rows(samples, cpu)]


def _arithmetic(name: str, count: int) -> dict:
    """The arithmetic of `count` multiply-accumulates."""
    mac = load_mac()
    return {"name": name, "multiply_accumulates": count,
            "energy_per_sample_j": _modelled(Interval.of(mac.mac) * (count * 1e-12)),
            "constants": mac.name, "what": f"{mac.technology}; {mac.mac.source}"}


def _host_rows(samples: int, cpu: dict) -> list[dict]:
    """What the host took."""
    if cpu["value"] is not None:
        cpu = {**cpu, "value": cpu["value"] / samples}
    gpu = {"value": None, "basis": "unavailable", "why": "the simulator does not use a GPU",
           "fix": "score-fsvae --device cuda reads NVML while the float model runs"}
    return [
        {"name": "this simulator, CPU", "multiply_accumulates": None, "energy_per_sample_j": cpu,
         "constants": None, "what": "of the host, not of a chip"},
        {"name": "GPU", "multiply_accumulates": None, "energy_per_sample_j": gpu,
         "constants": None, "what": "of the host, not of a chip"}]


def quantised_ann(work: AnnWork) -> dict:
    """The quantised network without spikes, as a row of `baseline_section`."""
    constants = load_quantised_ann()
    return {"name": QUANTISED_ANN, "multiply_accumulates": work.macs,
            "energy_per_sample_j": _modelled(ann_energy(work, constants)),
            "constants": constants.name,
            "what": f"{constants.technology}; weights of {WEIGHT_BITS} bits, activations of "
                    f"{work.activation_bits}; nominal: {work.weights:,} weights and "
                    f"{work.activations:,} activations each moved once; high: nothing reused"}


def break_even_text(dynamic_by_kind: list[dict], ann_j: dict, rate: float,
                    per: str = "tick") -> str:
    """Where the spiking network breaks even with the quantised one, in words.

    Args:
        dynamic_by_kind: as in `energy_section`.
        ann_j: its energy, modelled.
        rate: spikes per neuron and `per` now.
    """
    neurons = sum(kind["value"] for kind in dynamic_by_kind if kind["name"] == "neurons")
    moving = sum(kind["value"] for kind in dynamic_by_kind) - neurons
    least, most = (break_even(neurons, moving, ann_j[key]) for key in ("low", "high"))
    times = (neurons + moving) / ann_j["value"]
    text = (f"dynamic energy {times:.2g} times that of the quantised ANN (no power at rest in "
            f"either); it fires {rate:.3f} spikes per neuron and {per} and breaks even at ")
    if most == 0:
        return text + "no rate: neuron updates alone cost more"
    return text + (f"{least * rate:.4f} if that reuses every word it reads, {most * rate:.4f} if "
                   "none")


def _shipped(net: NetFile, mode: str, path: Path) -> list[dict]:
    """Beside another network of MNIST: the FSVAE that comes with the package."""
    known = json.loads(PRETRAINED_COST.read_text("utf-8"))
    try:
        dataset = json.loads(net.provenance).get("dataset")
    except (ValueError, AttributeError):
        dataset = None
    if dataset != known["dataset"] or file_sha256(path) == known["net_sha256"]:
        return []
    row = known[mode]
    return [{"name": known["name"], "multiply_accumulates": None,
             "energy_per_sample_j": row["energy_per_sample_j"], "constants": row["constants"],
             "what": f"{row['spikes']:,.0f} spikes and {row['synops']:,.0f} synops per image; "
                     f"reconstruction error {known['reconstruction']:.4f} in [-1, 1]"}]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
