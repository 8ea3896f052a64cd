"""The report's record as Markdown, as a terminal table and as one self-contained HTML page.

Everything shown is in the record; only numbers are rounded here.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hw_configs.reading import PICTURE, read_bytes
from lava_models.report.file_names import file_of
from lava_models.report.rows import (
    LAYER_COLUMNS,
    baseline_rows,
    energy_rows,
    facts,
    fit_rows,
    layer_rows,
    measured_rows,
    si,
    verdict,
)

_ENERGY_COLUMNS = ("energy per sample, modelled", "count", "nominal", "low to high")
_FIT_COLUMNS = ("layer", "form", "cores", "binds", "fullest core", "percent")
_MEASURED_COLUMNS = ("measured on the chip", "mean", "spread", "n", "modelled / measured",
                     "what it is")
_BASELINE_COLUMNS = ("beside it", "multiply-accumulates", "energy per sample", "what it is")


# --- Markdown and terminal --------------------------------------------------------------------


def markdown_table(columns: tuple[str, ...], rows: list[list[str]], text: int) -> list[str]:
    """Lines of a Markdown table whose first `text` columns are left-aligned."""
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(columns), "|" + "|".join(["-"] * text + ["-:"] * (len(columns) - text)) + "|",
            *map(line, rows)]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def to_markdown(record: dict) -> str:
    """The record as Markdown."""
    lines = [f"# {record['work']['mode']}: {_one_line(record['inputs']['net'])}", "",
             f"**{_one_line(verdict(record))}**", ""]
    lines += [f"- **{name}**: {_one_line(value)}" for name, value in facts(record)]
    lines += ["", "Counted, exact:", "", *markdown_table(LAYER_COLUMNS, layer_rows(record), 2)]
    lines += ["", f"Modelled by {record['energy']['constants']}:", "",
              *markdown_table(_ENERGY_COLUMNS, energy_rows(record), 1)]
    lines += ["", f"Cores of {record['fit']['board']}, modelled:", "",
              *markdown_table(_FIT_COLUMNS, fit_rows(record), 2)]
    if record["measured"]:
        lines += ["", *markdown_table(_MEASURED_COLUMNS, measured_rows(record), 1)]
    lines += ["", *markdown_table(_BASELINE_COLUMNS, baseline_rows(record), 1)]
    lines += ["", *(f"![{name}](../{name})" for name in record["pictures"])]
    lines += ["", "Assumed: " + "; ".join(record["energy"]["assumptions"]) + ".",
              "", "Not counted: " + "; ".join(record["not_counted"]) + ".", ""]
    return "\n".join(lines)


def to_terminal(record: dict) -> Group:
    """The record as rich tables with its facts above."""
    counted = _table("counted, exact; spikes, synops and updates per sample, rate per neuron and "
                     "tick", ("layer", "neurons", "synapses", "spikes", "synops", "updates",
                              "rate"),
                     [[name, *numbers] for name, _part, *numbers in layer_rows(record)], total=True)
    energy = _table(f"energy of a sample, modelled by {record['energy']['constants']}",
                    ("", "count", "nominal", "low to high"), energy_rows(record))
    lines = Text("\n".join(f"{name:>20}  {value}" for name, value in facts(record)))
    return Group(Text(verdict(record), style="bold"), lines, counted, energy,
                 Text("not counted: " + "; ".join(record["not_counted"]), style="dim"))


def fit_to_terminal(section: dict) -> Table:
    """The fit section as a rich table."""
    return _table(f"{section['board']}: {section['cores']} cores on {section['chips']} of "
                  f"{section['board_chips']} chips ({section['cores_per_chip']} cores each), "
                  + ("fits" if section["fits"] else "does NOT fit"),
                  _FIT_COLUMNS, fit_rows({"fit": section}), total=True)


def _table(title: str, columns: tuple[str, ...], rows: list[list[str]], total: bool = False
           ) -> Table:
    table = Table(title=Text(title), title_justify="left")  # Text: names are no markup
    for i, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if i else "left", no_wrap=True)
    for i, row in enumerate(rows):
        if total and i == len(rows) - 1:
            table.add_section()
        table.add_row(*map(Text, row), style="bold" if total and i == len(rows) - 1 else None)
    return table


# --- HTML -------------------------------------------------------------------------------------


def to_html(record: dict, folder: Path) -> str:
    """The record as one page that needs nothing else.

    Args:
        folder: holds the record's pictures; one that is not there is left out.

    Raises:
        UserError: a picture is no file of that folder.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        (resources.files("lava_models.report") / "templates" / "report.html").read_text("utf-8"))
    files = [file_of(folder, name) for name in record["pictures"]]
    pictures = [(file.name, base64.b64encode(read_bytes(file, PICTURE)).decode())
                for file in files if file.is_file()]
    return template.render(
        r=record, verdict=verdict(record), facts=facts(record), pictures=pictures,
        layers=_with_bars(layer_rows(record)[:-1], [la["synops_per_sample"]
                                                    for la in record["layers"]]),
        layer_total=layer_rows(record)[-1], layer_columns=LAYER_COLUMNS,
        maps=_maps(record), energy_columns=_ENERGY_COLUMNS, energy_rows=energy_rows(record),
        shares=_shares(record), fit_columns=_FIT_COLUMNS, fits=_with_bars(
            fit_rows(record)[:-1], [la["fullest_core"][la["binds"]]["percent"] or 0
                                    for la in record["fit"]["layers"]], 100.0),
        fit_total=fit_rows(record)[-1], chips=_chips(record), limits=_limits(record),
        measured_columns=_MEASURED_COLUMNS,
        measured=measured_rows(record), baseline_columns=_BASELINE_COLUMNS,
        baselines=baseline_rows(record))


def _chips(record: dict) -> list[dict]:
    """The chips in use as grids of cores: their layer, and how full its fullest core is."""
    fit, columns = record["fit"], math.ceil(math.sqrt(record["fit"]["cores_per_chip"]))
    rows = -(-fit["cores_per_chip"] // columns)
    cores = [(i, layer) for i, layer in enumerate(fit["layers"]) for _ in range(layer["cores"])]
    chips = []
    for first in range(0, len(cores), fit["cores_per_chip"]):
        held = cores[first:first + fit["cores_per_chip"]]
        chips.append({"columns": columns, "rows": rows, "cores": [
            {"x": at % columns, "y": at // columns, "color": i % 10,
             "text": f"core {at}: {layer['name']}, {_fullest(layer)}"}
            for at, (i, layer) in enumerate(held)]})
    return chips


def _fullest(layer: dict) -> str:
    used = layer["fullest_core"][layer["binds"]]
    return f"{layer['binds']} {used['percent'] or 0:.0f} % on its fullest core"


def _limits(record: dict) -> tuple[list[str], list[list[str]]]:
    """(columns, rows): percent of every limit on the fullest core of each layer, and its spikes."""
    layers = record["fit"]["layers"]
    columns = list(layers[0]["fullest_core"])
    spikes = {la["name"]: la["spikes_per_sample"] for la in record["layers"]}
    rows = []
    for layer in layers:
        percents = [layer["fullest_core"].get(c, {}).get("percent") for c in columns]
        sent = spikes.get(layer["name"])
        rows.append([layer["name"], *("-" if p is None else f"{p:.1f}" for p in percents),
                     "-" if sent is None else f"{sent:,.0f}"])
    return ["layer", *(f"{c}, %" for c in columns), "spikes sent"], rows


def _with_bars(rows: list[list[str]], values: list[float], full: float | None = None) -> list[dict]:
    """Rows with the length of a bar in percent."""
    full = full or max(max(values), 1e-30)
    return [{"cells": row, "bar": round(100 * min(value / full, 1.0), 1)}
            for row, value in zip(rows, values, strict=True)]


def _maps(record: dict) -> list[dict]:
    """Spikes and synops as maps, layer by timestep; every row shaded up to its own largest."""
    samples, maps = record["work"]["samples"], []
    for key in ("spikes", "synops"):
        rows = []
        for layer in record["layers"]:
            series = [n / samples for n in layer[f"{key}_per_timestep"]]
            if not any(series):
                continue
            top = max(series)
            rows.append({"name": layer["name"], "series": series, "top": top,
                         "shade": [round(n / top, 2) for n in series]})
        maps.append({"key": key, "rows": rows, "steps": record["work"]["timesteps_per_sample"]})
    return maps


def _shares(record: dict) -> list[dict]:
    """The energy's split as stacked bars: by kind, and by part of the network."""
    energy, bars = record["energy"], []
    total = energy["energy_per_sample_j"]["value"]
    for title, key in (("by kind", "dynamic_by_kind_j"), ("by part", "dynamic_by_part_j")):
        entries = [("static", energy["static_j"]["value"]),
                   *((e["name"], e["value"]) for e in energy[key])]
        pieces, at = [], 0.0
        for name, value in entries:
            width = 100 * value / total if total else 0.0
            pieces.append({"name": name, "width": round(width, 2), "at": round(at, 2),
                           "text": f"{si(value, 'J')}, {width:.1f} %"})
            at += width
        bars.append({"title": title, "pieces": pieces})
    return bars
