"""The report: one JSON record of a run. Its renderings: lava_models.report.render.

Every number says its unit in its name and carries a basis: `counted` (exact, from the spikes),
`measured` (by a clock or a meter), `modelled` (with low and high), or `unavailable` (null, with the
reason and what to do).
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path

from hw_configs.files import UserError, replacing
from hw_configs.reading import read_json
from lava_models.cost.counts import LayerCount
from lava_models.cost.energy import KINDS
from lava_models.cost.estimates import Cost, energy_section, fit_section_of, time_section
from lava_models.net.schedule import Schedule
from lava_models.report.file_names import check_file_name

SCHEMA = "lava-fsvae-report/4"
COUNTED = ("neurons", "synapses", "spikes", "synops", "neuron_updates")
NOT_COUNTED = [
    "input/output between host and chip, the board around the chips, their embedded processors",
    "the pipeline's filling and draining before the first and after the last sample",
]
TOLERANCE = 1e-9
"""Relative, of sums of modelled numbers."""


def build_report(*, run: dict, inputs: dict, target: dict, mode: str, samples: int, first: int,
                 schedule: Schedule, readout: int, steps: int, wall_s: float,
                 counts: list[LayerCount], cost: Cost, baselines: list[dict], quality: dict,
                 check: dict, pictures: list[str], outputs: dict[str, str], host: str,
                 measured: dict | None = None) -> dict:
    """Assemble the record of one run of `samples` samples.

    Args:
        run, inputs, target, quality, check, outputs: as in the schema.
        first: which sample of the seed's random bits was the first.
        readout: phase of the layer that is read.
        steps: timesteps run.
        wall_s: seconds the host took.
        counts: per-layer counts of the whole run.
        cost: modelled cost of a sample on a board.
        baselines: `cost.baseline_section`.
        pictures: file names beside the report's folder, each one of `outputs`.
        host: what the host computes besides.
        measured: of a chip, `loihi.measure.measured_section`, empty where it was not profiled;
            None where no chip ran.
    """
    wall = {"value": round(wall_s, 3), "basis": "measured",
            "what": "wall time of the simulator on this machine, compiling included, not of a chip"}
    return {
        "schema": SCHEMA,
        "run": run, "inputs": inputs, "target": target,
        "work": work_section(mode, samples, first, schedule, readout, steps),
        "time": {"host_wall_s": wall, **time_section(cost, measured)},
        "energy": energy_section(cost, measured),
        "fit": fit_section_of(cost),
        "measured": measured,
        "baselines": baselines,
        "quality": quality,
        **counted_sections(counts, samples),
        "check": check,
        "pictures": pictures,
        "outputs": outputs,
        "not_counted": [f"the host: {host}", *NOT_COUNTED],
    }


def work_section(mode: str, samples: int, first: int, schedule: Schedule, readout: int,
                 steps: int) -> dict:
    """What was run; arguments as in `build_report`."""
    return {"basis": "counted", "mode": mode, "samples": samples, "first_sample": first,
            "ticks": schedule.ticks, "lag_ticks": schedule.lag,
            "timesteps_per_tick": schedule.dilation, "timesteps_per_sample": schedule.period,
            "latency_timesteps": schedule.last_wave(readout, 0), "timesteps_run": steps}


def counted_sections(counts: list[LayerCount], samples: int) -> dict:
    """The sections that are counts: layers, parts, totals."""
    layers = [_layer(c, samples) for c in counts]
    return {
        "layers": layers,
        "parts": _sums(layers),
        "totals": {"basis": "counted", **{
            where: {key: sum(layer[key] for layer in layers if layer["on_chip"] == on_chip)
                    for key in COUNTED}
            for where, on_chip in (("on_chip", True), ("on_host", False))}}}


def with_cost(record: dict, cost: Cost) -> dict:
    """The record with its modelled sections made anew, for another board or constants."""
    measured = record["measured"]
    return {**record, "fit": fit_section_of(cost), "energy": energy_section(cost, measured),
            "time": {"host_wall_s": record["time"]["host_wall_s"],
                     **time_section(cost, measured)}}


def _layer(count: LayerCount, samples: int) -> dict:
    return {
        "name": count.name, "part": count.part, "on_chip": count.on_chip, "basis": "counted",
        "neurons": count.neurons, "synapses": count.synapses,
        "spikes": int(count.spikes.sum()), "synops": int(count.synops.sum()),
        "neuron_updates": count.neuron_updates,
        "spikes_per_sample": float(count.spikes.sum() / samples),
        "synops_per_sample": float(count.synops.sum() / samples),
        "spikes_per_timestep": count.spikes.tolist(),
        "synops_per_timestep": count.synops.tolist(),
    }


def _sums(layers: list[dict]) -> list[dict]:
    parts = dict.fromkeys(layer["part"] for layer in layers)
    return [{"name": part, "basis": "counted",
             **{key: sum(layer[key] for layer in layers if layer["part"] == part)
                for key in COUNTED}} for part in parts]


# --- reading and checking ---------------------------------------------------------------------


def validate_report(record: dict, where: str) -> None:
    """Check a record against the schema and its own sums.

    Raises:
        UserError: names the file and the field.
    """
    import jsonschema

    schema = json.loads(
        (resources.files("lava_models.report") / "schemas" / "report-4.json").read_text("utf-8"))
    if record.get("schema") != SCHEMA:
        raise UserError(f"{where}: schema {record.get('schema')!r}, this release reads {SCHEMA}; "
                        "run run-lava again")
    draft = jsonschema.Draft202012Validator
    strict = jsonschema.validators.extend(draft, type_checker=draft.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int))  # by JSON Schema 5.0 is one, too
    error = jsonschema.exceptions.best_match(strict(schema).iter_errors(record))
    if error is not None:
        raise UserError(f"{where}: {error.json_path}: {error.message}")
    for name in (record["inputs"]["counts"], *record["pictures"], *record["outputs"]):
        check_file_name(name, where)
    unhashed = [name for name in record["pictures"] if name not in record["outputs"]]
    if unhashed:
        raise UserError(f"{where}: pictures: {unhashed[0]!r} is not among the outputs")
    layers = record["layers"]
    for layer in layers:
        for key in ("spikes", "synops"):
            if sum(layer[f"{key}_per_timestep"]) != layer[key]:
                raise UserError(f"{where}: {layer['name']!r}: {key} is not the sum over timesteps")
    for key in COUNTED:
        total = sum(record["totals"][side][key] for side in ("on_chip", "on_host"))
        for name, parts in (("layers", layers), ("parts", record["parts"])):
            if sum(part[key] for part in parts) != total:
                raise UserError(f"{where}: totals.{key} is not the sum of the {name}")
    _check_cost(record, where)


def _check_cost(record: dict, where: str) -> None:
    """Parts add up, and the model speaks of the synops that were counted."""
    energy, fit = record["energy"], record["fit"]

    def need_equal(name: str, total: float, parts: list[float]) -> None:
        if abs(sum(parts) - total) > TOLERANCE * max(abs(total), 1e-30):
            raise UserError(f"{where}: {name} is {total}, its parts add up to {sum(parts)}")

    for key in ("value", "low", "high"):
        for split in ("dynamic_by_kind_j", "dynamic_by_part_j"):
            need_equal(f"energy.dynamic_j.{key} by energy.{split}", energy["dynamic_j"][key],
                       [part[key] for part in energy[split]])
        need_equal(f"energy.energy_per_sample_j.{key}", energy["energy_per_sample_j"][key],
                   [energy["static_j"][key], energy["dynamic_j"][key]])
        need_equal(f"energy.energy_per_timestep_j.{key} times the timesteps",
                   energy["energy_per_timestep_j"][key] * record["work"]["timesteps_per_sample"],
                   [energy["energy_per_sample_j"][key]])
    kinds = {kind["name"]: kind["count"] for kind in energy["dynamic_by_kind_j"]}
    if set(kinds) != set(KINDS):
        raise UserError(f"{where}: energy.dynamic_by_kind_j names {list(kinds)}; expected "
                        f"{list(KINDS)}")
    for layer in fit["layers"]:
        use = layer["fullest_core"].get(layer["binds"])
        if use is None or use["limit"] is None or use["percent"] is None:
            raise UserError(f"{where}: fit: {layer['name']!r}: binds {layer['binds']!r}, of which "
                            "fullest_core has no limit and percent")
    need_equal("energy: the number of synops", kinds["synapses"],
               [layer["synops_per_sample"] for layer in record["layers"]])
    need_equal("fit.cores", fit["cores"], [layer["cores"] for layer in fit["layers"]])


def read_report(path: Path) -> dict:
    """Read and validate a report.json.

    Raises:
        UserError: no such file, no JSON, or not a valid record.
    """
    record = read_json(path, "run-lava writes one", "report", parse_constant=_no_number,
                       parse_float=_finite, parse_int=_whole, object_pairs_hook=_once)
    if not isinstance(record, dict):
        raise UserError(f"{path}: not a report; expected one that run-lava wrote")
    validate_report(record, str(path))
    return record


def _no_number(word: str) -> None:
    """NaN and the infinities, which Python reads and JSON does not know; sums do not catch them."""
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    """Not the infinity that Python makes of too large a number."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _whole(digits: str) -> int:
    """Not more than 64 bits: Python divides no larger one by a float."""
    number = int(digits)
    if abs(number) >= 2**64:
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _once(pairs: list[tuple[str, object]]) -> dict:
    """Python takes the last of two entries of a name, and another reader the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in found if names.count(n) > 1)!a} occurs twice")
    return found


def write_report(record: dict, folder: Path, pictures: Path | None = None) -> Path:
    """Write report.json, report.md and report.html to `folder`; the path of the first.

    Args:
        pictures: folder of the pictures (default: the one above).
    """
    from lava_models.report.render import to_html, to_markdown

    with replacing(folder / "report.json") as file:
        file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    with replacing(folder / "report.md") as file:
        file.write_text(to_markdown(record), "utf-8")
    with replacing(folder / "report.html") as file:
        file.write_text(to_html(record, pictures or folder.parent), "utf-8")
    return folder / "report.json"
