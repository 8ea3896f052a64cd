"""Rate latents on the chip: relays, gates and latches in Lava, the law of the draw, the file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from lava_models import ChipBits, Reference, UserError, encode_images, read_net, write_net
from lava_models.cost.counts import count_run, pixels_used
from lava_models.cost.describe import describe, read_description, to_toml
from lava_models.cost.mapper import fit
from lava_models.graph.compare import compare_with_reference
from lava_models.graph.lava_graph import run_graph
from lava_models.net.program import build_program, schedule_for
from lava_models.net.ring import POPULATIONS

LEVEL = 1e-3
SAMPLES = 7


def _images(net, samples):
    return encode_images(net, np.random.default_rng(1).uniform(-1, 1, (samples, 1, 8, 8)))


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
@pytest.mark.parametrize("ticks", [2, 3, 4, 8])
def test_lava_equals_the_reference_back_to_back(rate_net_factory, mode, ticks):
    net = rate_net_factory(ticks=ticks, seed=ticks)
    images = _images(net, SAMPLES) if mode == "reconstruct" else None
    bits = ChipBits.of(net, mode, 3)
    assert schedule_for(net, mode).period == ticks  # nothing is fed back: a tick is a timestep
    runs = [run_graph(net, mode, bits, SAMPLES, images, graph=graph, lanes=lanes)
            for graph, lanes in (("stock", 1), ("fused", 1), ("fused", 3))]
    stored = {"gates", "latches"} | ({f"relays.{i}" for i in range(ticks)} if images is not None
                                     else {"prior.0"})
    for run in runs:
        verdict = compare_with_reference(run, net, mode, bits, images)
        assert verdict.equal, str(verdict)
        assert {*POPULATIONS, *stored, "selection"} < set(run.spikes)
        for name in run.spikes:
            assert run.raster(name).any(), f"{name} is silent: the comparison would show nothing"
        assert np.array_equal(run.voltage, runs[0].voltage) and run.voltage.any()
        for name, spikes in runs[0].counts.items():
            assert np.array_equal(run.counts[name], spikes), name
