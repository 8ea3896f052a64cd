"""The report: one JSON record of a run, and its renderings. Nothing is computed twice.

Every number says its unit in its name and carries a basis: `counted` (exact, from the spikes),
`measured` (by a clock), `modelled`, or `unavailable` (null, with the reason and what to do).
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lava_models.counts import LayerCount
from lava_models.files import UserError, replacing
from lava_models.schedule import Schedule

SCHEMA = "lava-fsvae-report/1"
COUNTED = ("neurons", "synapses", "spikes", "synops", "neuron_updates")
NOT_COUNTED = [
    "the host: image encoding, tanh of the readout",
    "input/output between host and chip",
    "the pipeline's filling and draining before the first and after the last sample",
]
NO_CHIP = {"value": None, "basis": "unavailable", "why": "ran on the CPU simulator, which has no "
           "chip clock and no power meter", "fix": "run-lava --backend loihi2 on a Loihi 2 system"}


def build_report(*, run: dict, inputs: dict, target: dict, mode: str, samples: int,
                 schedule: Schedule, readout: str, steps: int, wall_s: float,
                 counts: list[LayerCount], check: dict, pictures: list[str]) -> dict:
    """Assemble the record of one run of `samples` samples.

    Args:
        run, inputs, target, check: as in the schema.
        readout: name of the layer that is read.
        steps: timesteps run.
        wall_s: seconds the host took.
        counts: per-layer counts of the whole run.
        pictures: file names beside the report's folder.
    """
    layers = [_layer(c, samples) for c in counts]
    return {
        "schema": SCHEMA,
        "run": run, "inputs": inputs, "target": target,
        "work": {"basis": "counted", "mode": mode, "samples": samples, "ticks": schedule.ticks,
                 "lag_ticks": schedule.lag, "timesteps_per_tick": schedule.dilation,
                 "timesteps_per_sample": schedule.period,
                 "latency_timesteps": schedule.last_wave(readout, 0), "timesteps_run": steps},
        "time": {"host_wall_s": {"value": round(wall_s, 3), "basis": "measured",
                                 "what": "wall time of the simulator on this machine, "
                                         "compiling included, not of a chip"},
                 "chip_timestep_us": dict(NO_CHIP)},
        "energy": {"energy_per_sample_j": dict(NO_CHIP)},
        "layers": layers,
        "parts": _sums(layers),
        "totals": {"basis": "counted", **{
            where: {key: sum(layer[key] for layer in layers if layer["on_chip"] == on_chip)
                    for key in COUNTED}
            for where, on_chip in (("on_chip", True), ("on_host", False))}},
        "check": check,
        "pictures": pictures,
        "not_counted": NOT_COUNTED,
    }


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
        (resources.files("lava_models") / "schemas" / "report-1.json").read_text("utf-8"))
    if record.get("schema") != SCHEMA:
        raise UserError(f"{where}: schema {record.get('schema')!r}, this release reads {SCHEMA}")
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(record))
    if error is not None:
        raise UserError(f"{where}: {error.json_path}: {error.message}")
    layers = record["layers"]
    for layer in layers:
        for key in ("spikes", "synops"):
            if sum(layer[f"{key}_per_timestep"]) != layer[key]:
                raise UserError(f"{where}: {layer['name']}: {key} is not the sum over timesteps")
    for key in COUNTED:
        total = sum(record["totals"][side][key] for side in ("on_chip", "on_host"))
        for name, parts in (("layers", layers), ("parts", record["parts"])):
            if sum(part[key] for part in parts) != total:
                raise UserError(f"{where}: totals.{key} is not the sum of the {name}")


def read_report(path: Path) -> dict:
    """Read and validate a report.json.

    Raises:
        UserError: no such file, no JSON, or not a valid record.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run-lava writes one") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not a readable report: {error}") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: not a report; expected one that run-lava wrote")
    validate_report(record, str(path))
    return record


def write_report(record: dict, folder: Path) -> Path:
    """Write report.json and report.md to `folder`; the path of the first."""
    with replacing(folder / "report.json") as file:
        file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    with replacing(folder / "report.md") as file:
        file.write_text(to_markdown(record), "utf-8")
    return folder / "report.json"


# --- rendering --------------------------------------------------------------------------------

_COLUMNS = ("layer", "part", "neurons", "synapses", "spikes / sample", "synops / sample",
            "neuron updates / sample", "spikes / neuron and tick")


def _rows(record: dict) -> list[list[str]]:
    samples, ticks = record["work"]["samples"], record["work"]["ticks"]
    rows = []
    for layer in record["layers"]:
        per_neuron = layer["spikes"] / (samples * ticks * max(layer["neurons"], 1))
        rows.append([layer["name"] + ("" if layer["on_chip"] else " (host)"), layer["part"],
                     f"{layer['neurons']:,}", f"{layer['synapses']:,}",
                     f"{layer['spikes_per_sample']:,.0f}", f"{layer['synops_per_sample']:,.0f}",
                     f"{layer['neuron_updates'] / samples:,.0f}", f"{per_neuron:.3f}"])
    total = record["totals"]["on_chip"]
    rows.append(["total on chip", "", f"{total['neurons']:,}", f"{total['synapses']:,}",
                 f"{total['spikes'] / samples:,.0f}", f"{total['synops'] / samples:,.0f}",
                 f"{total['neuron_updates'] / samples:,.0f}", ""])
    return rows


def _facts(record: dict) -> list[tuple[str, str]]:
    work, target = record["work"], record["target"]
    time, energy = record["time"], record["energy"]["energy_per_sample_j"]

    def hole(entry: dict) -> str:
        return f"{entry['basis']}: {entry['why']} ({entry['fix']})"

    return [
        ("backend", f"{target['backend']} ({target['description']})"),
        ("mode", f"{work['mode']}, {work['samples']} samples, seed {record['run']['seed']}"),
        ("timesteps per sample", f"{work['timesteps_per_sample']} (T = {work['ticks']} ticks x "
         f"D = {work['timesteps_per_tick']} timesteps; z feeds back after L = "
         f"{work['lag_ticks']})"),
        ("latency", f"{work['latency_timesteps']} timesteps from a sample's start to its image"),
        ("timesteps run", f"{work['timesteps_run']}"),
        ("host time", f"{time['host_wall_s']['value']:.1f} s, measured "
                      f"({time['host_wall_s']['what']})"),
        ("chip time", hole(time["chip_timestep_us"])),
        ("energy", hole(energy)),
        ("reference", record["check"]["verdict"]),
    ]


def to_markdown(record: dict) -> str:
    """The record as Markdown."""
    rows = _rows(record)
    lines = [f"# {record['work']['mode']}: {record['inputs']['net']}", ""]
    lines += [f"- **{name}**: {value}" for name, value in _facts(record)]
    lines += ["", "Counted, exact:", "", "| " + " | ".join(_COLUMNS) + " |",
              "|" + "|".join(["-", "-"] + ["-:"] * (len(_COLUMNS) - 2)) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", *(f"![{name}](../{name})" for name in record["pictures"])]
    lines += ["", "Not counted: " + "; ".join(record["not_counted"]) + ".", ""]
    return "\n".join(lines)


def to_terminal(record: dict) -> Group:
    """The record as a rich table with its facts above."""
    table = Table(title="counted, exact; spikes, synops and updates per sample, rate per neuron "
                        "and tick", title_justify="left")
    for i, name in enumerate(("layer", "neurons", "synapses", "spikes", "synops", "updates",
                              "rate")):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    *rows, total = ([name, *numbers] for name, _part, *numbers in _rows(record))
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row(*total, style="bold")
    facts = Text("\n".join(f"{name:>20}  {value}" for name, value in _facts(record)))
    return Group(facts, table, Text("not counted: " + "; ".join(record["not_counted"]),
                                    style="dim"))
