"""CSV of cores and timesteps: their sums are the report's numbers."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from lava_models import ChipBits
from lava_models.cost.estimates import cost_of_run, load_hardware
from lava_models.cost.tables import TABLES, write_tables
from lava_models.graph.lava_graph import run_graph


def test_sums_are_the_reports(net_factory, tmp_path):
    net = net_factory()
    run = run_graph(net, "generate", ChipBits.of(net, "generate", 0), 2, lanes=2)
    cost = cost_of_run(net, "generate", 2, run.counts, None, load_hardware())
    write_tables(cost, tmp_path)
    cores, steps = (list(csv.DictReader((tmp_path / name).read_text().splitlines()))
                    for name in TABLES)
    assert len(cores) == cost.fit.cores and len(steps) == cost.activity.timesteps
    synops = sum(layer.synops.sum() for layer in cost.activity.layers)
    for rows in (cores, steps):
        assert sum(float(row["synops"]) for row in rows) == pytest.approx(synops)
    neurons = sum(layer.neurons.sum() for layer in cost.activity.layers)
    assert sum(int(row["neuron updates"]) for row in cores) == neurons * len(steps)
    assert [row["layer"] for row in cores] == [
        layer.name for layer in cost.fit.layers for _ in layer.cores]
    assert np.mean([float(row["at least us"]) for row in steps]) == pytest.approx(
        cost.estimates[0].timestep_us.value)
    for row in steps:
        busy = cores[int(row["busiest core"])]
        assert busy["layer"] == row["its layer"] and float(row["its synops"]) >= 0
    for row, core in zip(cores, (c for layer in cost.fit.layers for c in layer.cores)):
        assert int(row["Total"]) == core.total
        assert float(row["Synapses %"]) == pytest.approx(100 * core.synapses / 16000, abs=0.01)
