"""What a record says, in words and rows: shared by the page, Markdown and the terminal."""

from __future__ import annotations

import math

from lava_models.cost.baselines import QUANTISED_ANN, break_even_text
from lava_models.net.netx_program import MODE as NETX

NOT_FIRING = ("clock", "random bits", "input")
"""Parts whose spikes say nothing about how much a network fires."""
LAYER_COLUMNS = ("layer", "part", "neurons", "synapses", "spikes / sample", "synops / sample",
                 "neuron updates / sample", "spikes / neuron and tick")
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


def si(value: float, unit: str) -> str:
    """A number with three digits and a prefix: 0.00131 J is "1.31 mJ"."""
    size = abs(value)
    scale, prefix = next(((s, p) for s, p in _PREFIXES if size >= s), _PREFIXES[-1])
    if size == 0:
        return f"0 {unit}"
    digits = max(0, 2 - math.floor(math.log10(size / scale) + 1e-9))
    return f"{value / scale:.{digits}f} {prefix}{unit}"


def interval(entry: dict, unit: str) -> str:
    """A record's entry: nominal, interval and basis, or why there is none."""
    if entry["value"] is None:
        return f"{entry['basis']}: {entry['why']} ({entry['fix']})"
    if "low" not in entry:
        return f"{si(entry['value'], unit)} ({entry['basis']})"
    return (f"{si(entry['value'], unit)} ({si(entry['low'], unit)} to {si(entry['high'], unit)}, "
            f"{entry['basis']})")


def verdict(record: dict) -> str:
    """Cores, chips, energy and time of a sample in one line."""
    fit, energy, time = record["fit"], record["energy"], record["time"]
    over = energy["over_all_sets_j"]
    chips = f"{fit['chips']} chip{'s' * (fit['chips'] > 1)}"
    fits = "fits" if fit["fits"] else f"does NOT fit: the board has {fit['board_chips']}"
    return (f"{fit['cores']} cores on {chips} of {fit['board']} ({fits}); per sample "
            f"{si(over['value'], 'J')} ({si(over['low'], 'J')} to {si(over['high'], 'J')} over all "
            f"sets of constants) and at least {si(time['chip_sample_ms']['value'] * 1e-3, 's')}; "
            + ("modelled, not run on hardware" if record["measured"] is None else
               "modelled" + "; measured below" * bool(record["measured"])))


def decoder_forms(fit: dict) -> str:
    """Cores of the decoder in either form of its convolutions."""
    def cores(section: dict) -> str:
        parts = section["cores_by_part"]
        return (f"{parts.get('decoder', 0) + parts.get('readout', 0)} cores with "
                f"{section['convolutions']} convolutions")

    return f"{cores(fit)}, {cores(fit['other_form'])}"


def _work_facts(work: dict, seed: int) -> list[tuple[str, str]]:
    """What was run; any NetX file has neither ticks nor a seed."""
    if work["mode"] == NETX:
        return [("mode", f"any NetX file, {work['samples']} samples"),
                ("timesteps per sample", f"{work['timesteps_per_sample']}"),
                ("latency", f"{work['latency_timesteps']} timesteps from a sample's start to the "
                            "end of its output")]
    return [
        ("mode", f"{work['mode']}, {work['samples']} samples, seed {seed}"),
        ("timesteps per sample", f"{work['timesteps_per_sample']} (T = {work['ticks']} ticks x "
         f"D = {work['timesteps_per_tick']} timesteps; "
         + (f"z feeds back after L = {work['lag_ticks']})" if work["lag_ticks"] else
            "nothing is fed back)")),
        ("latency", f"{work['latency_timesteps']} timesteps from a sample's start to its image"),
        *([("stock NetX", f"opens the encoder, which takes a timestep per tick there; with the "
            f"leak spread over D = {work['timesteps_per_tick']} as here, single spikes differ")]
          if work["mode"] == "reconstruct" and work["timesteps_per_tick"] > 1 else [])]


def _worth(record: dict) -> str | None:
    """Beside the quantised ANN, and at which rate that would be even; None in older records."""
    ann = next((b for b in record["baselines"] if b["name"] == QUANTISED_ANN), None)
    firing = [la for la in record["layers"] if la["on_chip"] and la["part"] not in NOT_FIRING]
    if ann is None or not firing:
        return None
    ticks = record["work"]["ticks"] * record["work"]["samples"]
    rate = sum(la["spikes"] for la in firing) / (ticks * sum(la["neurons"] for la in firing))
    return break_even_text(record["energy"]["dynamic_by_kind_j"], ann["energy_per_sample_j"], rate)


def _scaled(entry: dict, by: float) -> dict:
    """An entry in another unit."""
    return {**entry, **{key: entry[key] * by for key in ("value", "low", "high")}}


def facts(record: dict) -> list[tuple[str, str]]:
    """What a reader wants first, as (name, text)."""
    work, target, fit = record["work"], record["target"], record["fit"]
    time, energy = record["time"], record["energy"]
    other = fit["other_form"]
    rows = [
        ("backend", f"{target['backend']} ({target['description']})"),
        *_work_facts(work, record["run"]["seed"]),
        ("timesteps run", f"{work['timesteps_run']}"),
        ("cores", f"{fit['cores']} on {fit['chips']} of {fit['board_chips']} chips"
         + (f", {fit['convolutions']} convolutions" if other is not None else "")
         + f"; most in {fit['binds']}"),
    ]
    if other is not None:
        rows += [
            ("other form", f"{other['convolutions']} convolutions: {other['cores']} cores on "
             f"{other['chips']} chips, {interval(other['energy_per_sample_j'], 'J')}, at least "
             f"{si(other['chip_sample_ms']['value'] * 1e-3, 's')} per sample")]
        if work["mode"] != NETX:
            rows += [("decoder", decoder_forms(fit))]
    rows += [
        ("energy per sample", f"{interval(energy['energy_per_sample_j'], 'J')} by "
         f"{energy['constants']}; static at least {interval(energy['static_j'], 'J')}"),
        *([("host input", "at least "
            + interval(_scaled(time["host_input_sample_ms"], 1e-3), "s")
            + " per sample, beside the chip's own time")]
          if "host_input_sample_ms" in time else []),
        ("chip timestep", "at least "
         + interval(_scaled(time["chip_timestep_us"], 1e-6), "s")),
        *([("is it worth it", worth)] if (worth := _worth(record)) else []),
        ("measured on chip", _measured(record)),
        ("host time", f"{time['host_wall_s']['value']:.1f} s, measured "
                      f"({time['host_wall_s']['what']})"),
    ]
    rows += [(f"quality: {name.replace('_', ' ')}",
              f"{entry['value']:.4f} ({entry['basis']}: {entry['what']})" if
              entry["value"] is not None else interval(entry, ""))
             for name, entry in record["quality"].items()]
    return [*rows, ("reference", record["check"]["verdict"])]


def _measured(record: dict) -> str:
    """A chip's energy and time beside the modelled, or why there are none."""
    energy, time = record["energy"], record["time"]
    if not record["measured"]:
        return interval(energy["measured_j"], "J")
    words = []
    for name, mine, theirs, unit, scale in (
            ("energy per sample", energy["energy_per_sample_j"], energy["measured_j"], "J", 1.0),
            ("timestep", time["chip_timestep_us"], time["measured_timestep_us"], "s", 1e-6)):
        if theirs["value"] is None:
            words.append(f"{name} {interval(theirs, unit)}")
            continue
        words.append(f"{name} {si(theirs['value'] * scale, unit)} (spread "
                     f"{si(theirs['spread'] * scale, unit)}, n = {theirs['n']}; modelled / "
                     f"measured {mine['value'] / theirs['value']:.2f})")
    return "; ".join(words)


def measured_rows(record: dict) -> list[list[str]]:
    """What a chip's loggers gave: (name, mean, spread, n, modelled / measured, what)."""
    energy, samples = record["energy"], record["work"]["samples"]
    per_timestep = samples * record["work"]["timesteps_per_sample"]
    totals = record["totals"]["on_chip"]
    beside = {"timestep_us": record["time"]["chip_timestep_us"]["value"],
              "energy_per_sample_j": energy["energy_per_sample_j"]["value"],
              "energy_static_per_sample_j": energy["static_j"]["value"],
              "energy_dynamic_per_sample_j": energy["dynamic_j"]["value"],
              "synops_per_timestep": totals["synops"] / per_timestep,
              "neuron_passes_per_timestep": totals["neuron_updates"] / per_timestep}
    rows = []
    for name, entry in (record["measured"] or {}).items():
        if entry["value"] is None:
            rows.append([name, entry["basis"], "", "", "", entry["why"]])
        else:
            rows.append([name, f"{entry['value']:.6g}", *(
                [f"{entry['spread']:.3g}"] if "spread" in entry else [""]), str(entry["n"]),
                f"{beside[name] / entry['value']:.2f}" if name in beside and entry["value"] else "",
                entry["what"]])
    return rows


def layer_rows(record: dict) -> list[list[str]]:
    """The table of counts, its total last."""
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


def energy_rows(record: dict) -> list[list[str]]:
    """Where the energy goes: (what, count, nominal, low to high)."""
    energy = record["energy"]

    def row(name: str, entry: dict, count: str = "") -> list[str]:
        return [name, count, si(entry["value"], "J"),
                f"{si(entry['low'], 'J')} to {si(entry['high'], 'J')}"]

    rows = [row("static", energy["static_j"])]
    rows += [row(f"dynamic: {kind['name']}", kind, f"{kind['count']:,.0f}")
             for kind in energy["dynamic_by_kind_j"]]
    rows += [row(f"dynamic in {part['name']}", part) for part in energy["dynamic_by_part_j"]]
    rows += [row(f"total by {s['name']}" + (f" (fitted on {s['fitted_on']})" if s["fitted_on"]
                                            else ""), s["total_j"]) for s in energy["sets"]]
    return rows


def fit_rows(record: dict) -> list[list[str]]:
    """Cores per layer: (layer, form, cores, what binds, used / limit, percent)."""
    rows = []
    for layer in record["fit"]["layers"]:
        use = layer["fullest_core"][layer["binds"]]
        rows.append([layer["name"], layer["form"], f"{layer['cores']}", layer["binds"],
                     f"{use['used']:,} / {use['limit']:,}", f"{use['percent']:.1f} %"])
    fit = record["fit"]
    return [*rows, ["total", "", f"{fit['cores']}", "",
                    f"{fit['cores']} / {fit['cores_per_chip'] * fit['board_chips']:,} cores",
                    f"{100 * fit['cores'] / (fit['cores_per_chip'] * fit['board_chips']):.1f} %"]]


def baseline_rows(record: dict) -> list[list[str]]:
    """(name, multiply-accumulates, energy per sample, what it is)."""
    return [[b["name"], "" if b["multiply_accumulates"] is None
             else f"{b['multiply_accumulates']:,}", interval(b["energy_per_sample_j"], "J"),
             b["what"]] for b in record["baselines"]]
