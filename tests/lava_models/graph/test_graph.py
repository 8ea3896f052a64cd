"""The Lava graphs equal the reference, spike for spike: stock, fused, any number of lanes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import make_net

from lava_models import ChipBits, Lif, Reference, encode_images
from lava_models.cost.counts import count_run, pixels_used
from lava_models.graph.compare import compare, compare_with_reference, reference_lane
from lava_models.graph.lava_graph import run_graph
from lava_models.net.latents import Selection
from lava_models.net.program import build_program
from lava_models.net.ring import POPULATIONS
from lava_models.reference.neurons import LifNeurons
from lava_models.reference.sums import Sums

SAMPLES = 5


def _images(net, samples):
    c, h, w = net.image_shape
    return encode_images(net, np.random.default_rng(1).uniform(-1, 1, (samples, c, h, w)))


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
@pytest.mark.parametrize("lag", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_equal_back_to_back(net_factory, mode, lag):
    """Every population at every timestep, drain included, in the stock graph and in the fused one
    with one lane and with several; same images, same counts."""
    net = net_factory(lag=lag, seed=lag, ticks=6)  # z feeds back whatever the lag
    images = _images(net, SAMPLES) if mode == "reconstruct" else None
    bits = ChipBits.of(net, mode, 3)
    runs = [run_graph(net, mode, bits, SAMPLES, images, graph=graph, lanes=lanes)
            for graph, lanes in (("stock", 1), ("fused", 1), ("fused", 3))]
    for run in runs:
        verdict = compare_with_reference(run, net, mode, bits, images)
        assert verdict.equal, str(verdict)
        assert verdict.steps == run.steps
        assert run.steps == bits.schedule.run_length(bits.schedule.phases["decoder.3"],
                                                     run.samples_per_lane)
        assert set(POPULATIONS) < set(run.spikes)
        for name in run.spikes:
            assert run.raster(name).any(), f"{name} is silent: the comparison would show nothing"
    stock = runs[0]
    for run in runs[1:]:
        assert np.array_equal(run.voltage, stock.voltage)
        for name, spikes in stock.counts.items():
            assert np.array_equal(run.counts[name], spikes), name

    reference = Reference(net, mode)
    lane = reference_lane(reference, bits, 0, SAMPLES, images)
    _see_single_errors(stock, lane, reference.program)


def _see_single_errors(run, lane, program):
    """The comparison sees a single wrong spike and a single wrong voltage."""
    run.voltage[0, 0] += 1
    assert "readout voltage of sample 0, pixel 0" in str(compare(run, [lane], program))
    run.voltage[0, 0] -= 1
    for name in ("selection", "random_bits.rule"):
        flipped = dict(run.spikes)
        flipped[name] = flipped[name].copy()
        flipped[name][7, 0] ^= 0x80
        wrong = compare(dataclasses.replace(run, spikes=flipped), [lane], program)
        assert (wrong.differing, wrong.equal) == (1, False)
        assert f"{name}, neuron 0, timestep 8" in str(wrong)


@pytest.fixture(scope="module")
def fused_run():
    net = make_net(ticks=6)
    bits = ChipBits.of(net, "generate", 3)
    return net, bits, run_graph(net, "generate", bits, 2)


@pytest.mark.parametrize("sabotaged", ["leak", "reset", "threshold", "sums", "selection"])
def test_an_error_of_the_reference_is_not_shared_by_the_fused_graph(fused_run, monkeypatch,
                                                                    sabotaged):
    net, bits, run = fused_run
    assert compare_with_reference(run, net, "generate", bits, None).equal
    step, select, call = LifNeurons.step, Selection.select, Sums.__call__

    def wrong_step(self, sums):
        if sabotaged == "leak":
            self.keep = 1.0
        elif sabotaged == "threshold":
            self.threshold += 64
        before = self.v.copy()
        fired = step(self, sums)
        if sabotaged == "reset" and self.spiking:
            self.v = np.where(fired, before, self.v)
        return fired

    if sabotaged == "selection":
        monkeypatch.setattr(Selection, "select", lambda self, zeta, bits: ~select(self, zeta, bits))
    elif sabotaged == "sums":
        monkeypatch.setattr(Sums, "__call__", lambda self, signal: call(self, signal) + 64)
    else:
        monkeypatch.setattr(LifNeurons, "step", wrong_step)
    verdict = compare_with_reference(run, net, "generate", bits, None)
    assert not verdict.equal and verdict.differing and "NOT equal" in str(verdict)


@pytest.mark.parametrize(("threshold", "word"), [(130000, "silent"), (1, "saturated")])
def test_nothing_is_equal_where_nothing_could_differ(net_factory, replace_layer, threshold, word):
    """A part whose layers never fire, or always do, is no proof, though every value is the same."""
    net = net_factory()
    for i, layer in enumerate(net.prior):
        bias = np.full_like(layer.bias, 0 if word == "silent" else 4000)
        net = dataclasses.replace(net, **replace_layer(
            net, "prior", i, bias=bias, neuron=Lif(3072, threshold)))
    bits = ChipBits.of(net, "generate", 3)
    run = run_graph(net, "generate", bits, 2)
    verdict = compare_with_reference(run, net, "generate", bits, None)
    assert verdict.differing == 0 and verdict.values > 1000
    assert verdict.idle_parts[0] == "prior" and not verdict.equal
    assert "decoder.3" not in verdict.saturated  # the readout does not fire
    names = ", ".join(f"prior.{i}" for i in range(len(net.prior)))
    assert "NOT proven" in str(verdict) and f"{word}: {names}" in str(verdict)


def test_one_silent_layer_is_named(net_factory, replace_layer):
    net = net_factory()
    net = dataclasses.replace(net, **replace_layer(
        net, "prior", 0, bias=np.zeros_like(net.prior[0].bias), neuron=Lif(3072, 130000)))
    bits = ChipBits.of(net, "generate", 3)
    run = run_graph(net, "generate", bits, 2)
    verdict = compare_with_reference(run, net, "generate", bits, None)
    assert verdict.equal and str(verdict).endswith("; silent: prior.0")
    first = verdict.populations[[p.name for p in verdict.populations].index("prior.0")]
    assert (first.spikes, first.differing) == (0, 0) and first.values > 0


@pytest.mark.parametrize("graph", ["stock", "fused"])
@pytest.mark.parametrize(("k", "random_bits"), [
    pytest.param(5, 8, marks=pytest.mark.slow), (13, 12)])
def test_colour_and_inexact_k(net_factory, graph, k, random_bits):
    """T = 3 makes an odd number of ticks; k = 13 with 12 bits needs rounded, split weights."""
    net = net_factory(channels=3, k=k, random_bits=random_bits, ticks=3)
    images = _images(net, 2)
    bits = ChipBits.of(net, "reconstruct", 3)
    run = run_graph(net, "reconstruct", bits, 2, images, graph=graph)
    verdict = compare_with_reference(run, net, "reconstruct", bits, images)
    assert verdict.equal, str(verdict)


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
def test_shared_convolutions(net_factory, mode):
    """Lava's Conv with shared weights, transposed ones in sub-pixel form: the same spikes."""
    net = net_factory(channels=3)
    images = _images(net, 2) if mode == "reconstruct" else None
    bits = ChipBits.of(net, mode, 3)
    run = run_graph(net, mode, bits, 2, images, graph="stock", convolutions="shared")
    verdict = compare_with_reference(run, net, mode, bits, images)
    assert verdict.equal, str(verdict)


def test_odd_period_in_lanes(net_factory):
    """D = 1 and T = 3: lanes start at even and at odd timesteps of the run."""
    net = net_factory(lag=4, ticks=3)
    bits = ChipBits.of(net, "generate", 1)
    one, four = (run_graph(net, "generate", bits, 7, lanes=lanes) for lanes in (1, 4))
    assert np.array_equal(one.voltage, four.voltage)
    assert all(np.array_equal(one.counts[name], four.counts[name]) for name in one.counts)


def test_recording_less_changes_nothing_else(net_factory):
    net = net_factory()
    bits = ChipBits.of(net, "generate", 1)
    full = run_graph(net, "generate", bits, 6, lanes=2)
    some = run_graph(net, "generate", bits, 6, lanes=2, record=1)
    assert np.array_equal(full.voltage, some.voltage)
    for name, spikes in full.counts.items():
        assert np.array_equal(some.counts[name], spikes)
        assert np.array_equal(full.raster(name)[:, :len(some.spikes[name])], some.raster(name))
    assert (some.recorded, full.recorded) == (1, 3)
    assert compare_with_reference(some, net, "generate", bits, None).equal


@pytest.mark.parametrize("lanes", [1, 2])
def test_recording_that_ends_within_a_run(net_factory, lanes):
    """While the last recorded sample drains, the layers before it have the next image already."""
    net = net_factory()
    images, bits = _images(net, 6), ChipBits.of(net, "reconstruct", 2)
    run = run_graph(net, "reconstruct", bits, 6, images, lanes=lanes, record=2)
    assert compare_with_reference(run, net, "reconstruct", bits, images).equal
    assert not compare_with_reference(run, net, "reconstruct", bits, images[::-1]).equal


@pytest.mark.parametrize("lanes", [
    3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5))])
def test_latents_by_tick(net_factory, lanes):
    """What the picture of the latents shows: the samples of all lanes, in order."""
    net = net_factory()
    bits = ChipBits.of(net, "generate", 2)
    run = run_graph(net, "generate", bits, 5, lanes=lanes)
    wanted = Reference(net, "generate").run(bits.samples(0, 5)).spikes["selection"]
    drawn = build_program(net, "generate").draws[0]
    assert np.array_equal(run.by_tick(drawn, bits.schedule), wanted)


def test_another_seed_other_images(net_factory):
    net = net_factory()
    a, b = (run_graph(net, "generate", ChipBits.of(net, "generate", seed), 2) for seed in (0, 1))
    assert not np.array_equal(a.voltage, b.voltage)


def test_generation_needs_no_input(net_factory):
    """Nothing but the processes of the chip and those that watch it; the host feeds nothing."""
    from lava.magma.core.process.process import AbstractProcess

    import lava_models.graph.lava_graph as graph

    net = net_factory()
    built: list[AbstractProcess] = []
    original = AbstractProcess.__init__

    def note(self, *args, **kwargs):
        built.append(self)
        original(self, *args, **kwargs)

    AbstractProcess.__init__ = note
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graph.Graph, "run", lambda self, on_step: self)
            run_graph(net, "generate", ChipBits.of(net, "generate", 0), 1, graph="stock")
    finally:
        AbstractProcess.__init__ = original
    kinds = {type(process).__name__ for process in built}
    assert kinds == {"Clock", "RandomBits", "LatentSelection", "SpikingLayer", "SpikeProbe",
                     "StateProbe"}


def test_counts_do_not_depend_on_lanes(net_factory):
    net = net_factory()
    images = _images(net, 5)
    bits = ChipBits.of(net, "reconstruct", 1)
    tables = []
    for lanes in (1, 2, 5):
        run = run_graph(net, "reconstruct", bits, 5, images, lanes=lanes)
        tables.append(count_run(net, "reconstruct", 5, run.counts, pixels_used(images)))
    for table in tables[1:]:
        for a, b in zip(tables[0], table, strict=True):
            assert (a.name, a.neuron_updates) == (b.name, b.neuron_updates)
            assert np.array_equal(a.spikes, b.spikes)
            assert np.array_equal(a.synops, b.synops)
