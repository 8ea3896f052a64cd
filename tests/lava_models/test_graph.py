"""The Lava graph of stock processes equals the reference, spike for spike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lava_models import HostBits, encode_images, schedule_for
from lava_models.compare import compare, rasters, reference_run
from lava_models.counts import count_run
from lava_models.graph import run_graph, samples_begun

SAMPLES = 5


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
@pytest.mark.parametrize("lag", [1, 2, 4])
def test_equal_back_to_back(net_factory, mode, lag):
    """Every population at every timestep, drain included; then the counts, from both."""
    net = net_factory(lag=lag, seed=lag)
    images = None
    if mode == "reconstruct":
        images = encode_images(net, np.random.default_rng(1).uniform(-1, 1, (SAMPLES, 1, 8, 8)))
    bits = HostBits(3, net.ticks, net.latent, net.random_bits)
    run = run_graph(net, mode, bits, SAMPLES, images)
    reference = reference_run(net, mode, bits, samples_begun(net, mode, run.steps), images)
    schedule = schedule_for(net, mode)
    verdict = compare(run, reference, schedule)
    assert verdict.equal, str(verdict)
    assert verdict.steps == run.steps == schedule.run_length("decoder.3", SAMPLES)
    for name, spikes in reference.spikes.items():
        assert spikes.any(), f"{name} is silent: the comparison would show nothing"

    lava = count_run(net, mode, SAMPLES, {n: run.raster(n) for n in run.spikes}, bits, images)
    ours = count_run(net, mode, SAMPLES, dict(rasters(reference, schedule, run.steps)), bits,
                     images)
    for a, b in zip(lava, ours, strict=True):
        assert np.array_equal(a.spikes, b.spikes)
        assert np.array_equal(a.synops, b.synops)

    # The comparison sees a single wrong spike and a single wrong voltage.
    run.voltage[0, 0] += 1
    assert "readout voltage of sample 0, pixel 0" in str(compare(run, reference, schedule))
    run.voltage[0, 0] -= 1
    flipped = dict(run.spikes)
    flipped["selection"] = flipped["selection"].copy()
    flipped["selection"][7, 0] ^= 0x80
    wrong = compare(dataclasses.replace(run, spikes=flipped), reference, schedule)
    assert (wrong.differing, wrong.equal) == (1, False)
    assert "selection, neuron 0, timestep 8" in str(wrong)


def test_two_colour_channels_and_inexact_k(net_factory):
    net = net_factory(channels=3, k=5, random_bits=8, ticks=3)
    images = encode_images(net, np.random.default_rng(1).uniform(-1, 1, (2, 3, 8, 8)))
    bits = HostBits(3, net.ticks, net.latent, net.random_bits)
    run = run_graph(net, "reconstruct", bits, 2, images)
    reference = reference_run(net, "reconstruct", bits,
                              samples_begun(net, "reconstruct", run.steps), images)
    assert compare(run, reference, schedule_for(net, "reconstruct")).equal
