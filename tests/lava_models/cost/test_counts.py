"""Counts against a slow count by hand, and the identities a cost report rests on."""

from __future__ import annotations

import numpy as np
import pytest

from lava_models import ChipBits, Reference, encode_images
from lava_models.cost.counts import count_run, pixels_used
from lava_models.graph.compare import reference_lane
from lava_models.net.program import build_program
from lava_models.net.synapse import neuron_bias, split_bias, unroll


def fold(rasters, program, samples):
    """Spikes per timestep of the period and neuron, from rasters of a run of one lane."""
    folded, schedule = {}, program.schedule
    for name, raster in rasters.items():
        start = program[name].phase - 1
        window = raster[start:start + schedule.period * samples]
        full = np.zeros((schedule.period * samples, raster.shape[1]), int)
        full[:len(window)] = window  # what is missing are silent timesteps after the last wave
        folded[name] = full.reshape(samples, schedule.period, -1).sum(axis=0)
    return folded


def _count(net, mode, samples, seed=0):
    rng = np.random.default_rng(5)
    images = encode_images(net, rng.uniform(-1, 1, (samples, 1, 8, 8)))
    images = images if mode == "reconstruct" else None
    bits = ChipBits.of(net, mode, seed)
    result = Reference(net, mode).run(bits.samples(0, samples), images)
    lane = reference_lane(Reference(net, mode), bits, 0, samples, images)
    spikes = fold(lane.rasters, build_program(net, mode), samples)
    counts = count_run(net, mode, samples, spikes, pixels_used(images))
    return {c.name: c for c in counts}, result, images, spikes


@pytest.mark.parametrize("lag", [1, 4])
def test_synops_by_hand(net_factory, lag):
    net = net_factory(lag=lag)
    counts, result, images, _ = _count(net, "reconstruct", 3)
    layers = dict(net.named_layers())

    def by_hand(name, signal):
        fan_out = (unroll(layers[name]).toarray() != 0).sum(axis=0)
        events = ((signal.reshape(-1, len(fan_out)) != 0) * fan_out).sum()
        per_map = int(np.prod(layers[name].shape[1:], dtype=int))
        pieces = sum(np.count_nonzero(p) for p, _ in split_bias(layers[name].bias)) * per_map
        return events + pieces * 3 * net.ticks

    frames = np.repeat(images[:, None], net.ticks, axis=1)
    assert counts["encoder.0"].synops.sum() == by_hand("encoder.0", frames)
    assert counts["encoder.1"].synops.sum() == by_hand("encoder.1", result.spikes["encoder.0"])
    assert counts["decoder.3"].synops.sum() == by_hand("decoder.3", result.spikes["decoder.2"])
    z = result.spikes["selection"]
    fed = np.concatenate([np.zeros_like(z[:, :lag]), z[:, :net.ticks - lag]], axis=1)
    both = np.concatenate([result.spikes["encoder.2"], fed], axis=2)
    assert counts["posterior.0"].synops.sum() == by_hand("posterior.0", both)


def test_totals_scale_with_samples(net_factory):
    """Neuron updates, clock spikes and synapses are exactly proportional or constant."""
    net = net_factory()
    two, *_ = _count(net, "generate", 2)
    four, *_ = _count(net, "generate", 4)
    for name in two:
        assert 2 * two[name].neuron_updates == four[name].neuron_updates
        assert two[name].synapses == four[name].synapses
    assert 2 * two["clock"].spikes.sum() == four["clock"].spikes.sum()


def test_no_spikes_no_synops(net_factory):
    net = net_factory()
    counts, _, _, spikes = _count(net, "generate", 2)
    silent = {name: np.zeros_like(n) for name, n in spikes.items()}
    quiet = {c.name: c for c in count_run(net, "generate", 2, silent, None)}
    layer = dict(net.named_layers())["decoder.1"]
    biases = sum(np.count_nonzero(p) for p, _ in split_bias(neuron_bias(layer)))
    assert quiet["decoder.1"].synops.sum() == 2 * net.ticks * biases
    assert quiet["decoder.1"].synops.sum() < counts["decoder.1"].synops.sum()


def test_the_generator_is_a_part_of_its_own(net_factory):
    """Its neurons and synops by hand: 3 N + 2 n neurons; a cell's spike meets 3 synapses on `any`,
    3 on `turn` and those of the bits that read it."""
    net = net_factory()
    counts, _, _, spikes = _count(net, "generate", 2)
    mine = [c for c in counts.values() if c.part == "random bits"]
    ring = ChipBits.of(net, "generate", 0).ring
    n, cells = ring.bits, ring.cells
    assert sum(c.neurons for c in mine) == 3 * cells + 2 * n
    assert all(c.on_chip for c in mine)
    readers = np.bincount(ring.pairs.ravel(), minlength=cells)
    fired = spikes["random_bits.cells"].sum(axis=0)
    assert counts["random_bits.rule"].synops.sum() == 6 * fired.sum()
    assert counts["random_bits.bits"].synops.sum() == 2 * (fired * readers).sum()
    assert counts["random_bits.cells"].synops.sum() == spikes["random_bits.rule"].sum()
