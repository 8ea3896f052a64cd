"""Counts against a slow count by hand, and the identities a cost report rests on."""

from __future__ import annotations

import numpy as np
import pytest

from lava_models import HostBits, encode_images, schedule_for
from lava_models.compare import rasters, reference_run
from lava_models.counts import count_run
from lava_models.reference import layer_order
from lava_models.synapse import neuron_bias, split_bias, unroll


def _count(net, mode, samples, seed=0):
    rng = np.random.default_rng(5)
    images = encode_images(net, rng.uniform(-1, 1, (samples, 1, 8, 8)))
    images = images if mode == "reconstruct" else None
    bits = HostBits(seed, net.ticks, net.latent, net.random_bits)
    schedule = schedule_for(net, mode)
    steps = schedule.run_length(layer_order(net, mode)[-1], samples)
    result = reference_run(net, mode, bits, samples, images)
    counts = count_run(net, mode, samples, dict(rasters(result, schedule, steps)), bits, images)
    return {c.name: c for c in counts}, result, images


@pytest.mark.parametrize("lag", [1, 4])
def test_synops_by_hand(net_factory, lag):
    net = net_factory(lag=lag)
    counts, result, images = _count(net, "reconstruct", 3)
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
    two, _, _ = _count(net, "generate", 2)
    four, _, _ = _count(net, "generate", 4)
    for name in two:
        assert 2 * two[name].neuron_updates == four[name].neuron_updates
        assert two[name].synapses == four[name].synapses
    assert 2 * two["clock"].spikes.sum() == four["clock"].spikes.sum()


def test_no_spikes_no_synops(net_factory):
    net = net_factory()
    counts, result, images = _count(net, "generate", 2)
    schedule = schedule_for(net, "generate")
    steps = schedule.run_length("decoder.3", 2)
    silent = {n: np.zeros_like(r) for n, r in rasters(result, schedule, steps)}
    bits = HostBits(0, net.ticks, net.latent, net.random_bits)
    quiet = {c.name: c for c in count_run(net, "generate", 2, silent, bits, None)}
    layer = dict(net.named_layers())["decoder.1"]
    biases = sum(np.count_nonzero(p) for p, _ in split_bias(neuron_bias(layer)))
    assert quiet["decoder.1"].synops.sum() == 2 * net.ticks * biases
    assert quiet["decoder.1"].synops.sum() < counts["decoder.1"].synops.sum()
