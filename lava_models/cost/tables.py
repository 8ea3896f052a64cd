"""What every core does, and every timestep, as CSV beside the report: modelled cores, counted work.

cores.csv has a row per core, timesteps.csv one per timestep of a sample; means over the samples.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hw_configs.files import replacing
from lava_models.cost.energy import timestep_terms
from lava_models.cost.estimates import Cost
from lava_models.cost.words import COLUMNS

TABLES = ("cores.csv", "timesteps.csv")


def core_rows(cost: Cost) -> Iterator[dict]:
    """Per core: where it is, words used, percent of each limit, synops and updates per sample."""
    number, activity = 0, {layer.name: layer for layer in cost.activity.layers}
    for layer in cost.fit.layers:
        did = activity[layer.name]
        synops = did.synops.sum(axis=0) * cost.activity.repeat
        for i, core in enumerate(layer.cores):
            words = {COLUMNS[column]: getattr(core, column) for column in COLUMNS}
            percent = {f"{COLUMNS[column]} %": round(100 * getattr(core, column) / limit, 2)
                       for column, (_, limit) in layer.use.items() if limit}
            yield {"chip": number // cost.fit.board.cores_per_chip,
                   "core": number % cost.fit.board.cores_per_chip, "layer": layer.name,
                   "part": layer.part, "form": layer.form, "neurons on it": int(did.neurons[i]),
                   **words, **percent, "synops": float(synops[i]),
                   "neuron updates": int(did.neurons[i]) * cost.activity.timesteps}
            number += 1


def timestep_rows(cost: Cost) -> Iterator[dict]:
    """Per timestep: synops in all and of the busiest core, and the time it takes at least."""
    synops = np.concatenate([layer.synops for layer in cost.activity.layers], axis=1)
    layers = [layer.name for layer in cost.fit.layers for _ in layer.cores]
    terms = timestep_terms(cost.activity, cost.fit)
    for t, row in enumerate(synops):
        busiest, times = int(row.argmax()), {name: float(us[t]) for name, us in terms.items()}
        yield {"timestep": t, "synops": float(row.sum()), "busiest core": busiest,
               "its layer": layers[busiest], "its synops": float(row[busiest]),
               "at least us": max(times.values()), "waits for": max(times, key=times.get)}


def write_tables(cost: Cost, folder: Path) -> None:
    """Write `TABLES` to a folder."""
    for name, made in zip(TABLES, (core_rows(cost), timestep_rows(cost)), strict=True):
        rows = list(made)
        # Limits may differ from layer to layer: a replayed input has none for its neurons.
        columns = dict.fromkeys(column for row in rows for column in row)
        with replacing(folder / name) as file, open(file, "w", newline="") as handle:
            writer = csv.DictWriter(handle, list(columns), restval="")
            writer.writeheader()
            writer.writerows(rows)
