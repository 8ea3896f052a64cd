"""Rate latents on the chip: relays, gates and latches in Lava, the law of the draw, the file."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from hw_configs import load_board
from lava_models import ChipBits, Lif, Reference, UserError, encode_images, read_net, write_net
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.run_lava import run_lava_command
from lava_models.cost.counts import count_run, pixels_used
from lava_models.cost.describe import describe, read_description, to_toml
from lava_models.cost.mapper import fit
from lava_models.graph.compare import compare_with_reference
from lava_models.graph.lava_graph import run_graph
from lava_models.loihi.hardware_graph import planned_processes
from lava_models.net.latents import Clipped
from lava_models.net.netfile import RateLatents
from lava_models.net.program import build_program, schedule_for
from lava_models.net.ring import POPULATIONS
from lava_models.report.record import read_report

LEVEL = 1e-3
SAMPLES = 7


def _images(net, samples):
    return encode_images(net, np.random.default_rng(1).uniform(-1, 1, (samples, 1, 8, 8)))


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
@pytest.mark.parametrize("ticks", [
    4, *(pytest.param(t, marks=pytest.mark.slow) for t in (2, 3, 8))])
def test_lava_equals_the_reference_back_to_back(rate_net_factory, mode, ticks):
    net = rate_net_factory(ticks=ticks, seed=ticks)
    images = _images(net, SAMPLES) if mode == "reconstruct" else None
    bits = ChipBits.of(net, mode, 3)
    assert schedule_for(net, mode).period == ticks  # nothing is fed back: a tick is a timestep
    runs = [run_graph(net, mode, bits, SAMPLES, images, graph=graph, lanes=lanes)
            for graph, lanes in (("stock", 1), ("fused", 1), ("fused", 3))]
    stored = {"gates", "latches", *(f"relays.{i}" for i in range(ticks))}
    if mode == "generate":
        stored = {f"{name}.{i}" for name in ("gates", "latches", "prior") for i in range(3)}
    for run in runs:
        verdict = compare_with_reference(run, net, mode, bits, images)
        assert verdict.equal, str(verdict)
        assert {*POPULATIONS, *stored, "selection"} < set(run.spikes)
        for name in run.spikes:
            assert run.raster(name).any(), f"{name} is silent: the comparison would show nothing"
        assert np.array_equal(run.voltage, runs[0].voltage) and run.voltage.any()
        for name, spikes in runs[0].counts.items():
            assert np.array_equal(run.counts[name], spikes), name


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
def test_counts_and_description(rate_net_factory, tmp_path, mode):
    """Synops do not depend on lanes and are those of the description, whose mapper holds it."""
    net = rate_net_factory(ticks=4)
    images = _images(net, 5) if mode == "reconstruct" else None
    bits = ChipBits.of(net, mode, 1)
    tables = [count_run(net, mode, 5, run_graph(net, mode, bits, 5, images, lanes=lanes).counts,
                        pixels_used(images)) for lanes in (1, 2)]
    for a, b in zip(*tables, strict=True):
        assert np.array_equal(a.spikes, b.spikes) and np.array_equal(a.synops, b.synops), a.name
    rows = {row.name: row for row in tables[0]}
    candidates = 3 * 7 if mode == "generate" else 4 * net.latent
    latches, gates = rows["latches"], rows["gates"]
    assert (gates.neurons, latches.neurons) == (candidates, candidates)
    assert latches.spikes.sum() == 4 * gates.spikes.sum(), "held for T timesteps"
    assert latches.synapses == 3 * candidates
    if mode == "reconstruct":
        relays = rows["relays"]
        assert relays.neurons == relays.synapses == candidates
        assert relays.spikes.sum() == 4 * rows["encoder.2"].spikes.sum()
        assert gates.spikes.sum() == rows["encoder.2"].spikes.sum()
    network, program = describe(net, mode), build_program(net, mode)
    (tmp_path / "net.toml").write_text(to_toml(network))
    again = read_description(tmp_path / "net.toml")
    assert again.layers == network.layers
    for layer in again.layers:
        if layer.kind == "one_to_one":
            wired = {c.source: int(c.fan_out.sum()) for c in program.connections
                     if program[c.target].compiled == layer.name}
            assert sum(s.pattern.nnz for s in again.synapses(layer)) >= sum(wired.values())
    board = load_board("oheogulch")
    placed = fit(network, board)
    assert placed.fits and placed.cores == fit(again, board).cores


def test_file_keeps_it(rate_net_factory, tmp_path):
    for bits in (7, 0):
        net = rate_net_factory(prior_bits=bits)
        write_net(net, tmp_path / "model.net")
        read = read_net(tmp_path / "model.net")
        assert read.rate == net.rate and (read.lag, read.k) == (0, 4)
        assert [np.array_equal(a.weight, b.weight) for a, b in
                zip(read.prior, net.prior, strict=True)] == [True] * len(net.prior)
        assert read.modes == (("reconstruct", "generate") if bits else ("reconstruct",))


def test_without_a_prior_nothing_is_generated(rate_net_factory):
    with pytest.raises(UserError, match="--mode generate: the file has no prior.*fit-prior"):
        build_program(rate_net_factory(prior_bits=0), "generate")


@pytest.mark.parametrize(("change", "says"), [
    ({"k": 3}, "rate latents have lag 0 and k = ticks = 4"),
    ({"lag": 1}, "rate latents have lag 0"),
    ({"rate": RateLatents(0, 0)}, "rate/prior_bits = 0: expected at least 1 with a prior"),
    ({"rate": RateLatents(7, 100)}, "rate/prior_unit = 100: expected a multiple of"),
    ({"rate": RateLatents(7, 32704)}, "prior.3: its sums and the random bits' reach"),
    ({"rate": RateLatents(6, 256)}, "prior.0 .dense.: takes 7 inputs, gets 6"),
])
def test_refused(rate_net_factory, change, says):
    with pytest.raises(UserError, match=says):
        dataclasses.replace(rate_net_factory(), **change)


def test_a_prior_with_memory_is_refused(rate_net_factory, replace_layer):
    net = rate_net_factory()
    with pytest.raises(UserError, match="prior.0 .dense.: a prior of rates .* vDecay 4095"):
        dataclasses.replace(net, **replace_layer(net, "prior", 0, neuron=Lif(3072, 8)))


@pytest.mark.parametrize(("ticks", "worst"), [(4, 0), (8, 0), (5, 1 / 128)])
def test_law_of_the_draw(rate_net_factory, ticks, worst):
    """z of 6 000 reconstructions of one image: each tick Bernoulli(n/T), ticks independent given
    n; level .001 over all channels. Exact for T a power of two, else within `worst`."""
    net = rate_net_factory(ticks=ticks)
    assert float(net.selection.worst_error) <= worst and (worst or not net.selection.worst_error)
    samples = 6000
    images = np.repeat(_images(net, 1), samples, axis=0)
    spikes = Reference(net, "reconstruct").run_samples(
        ChipBits.of(net, "reconstruct", 2), 0, samples, images).spikes
    n = spikes["encoder.2"][0].sum(axis=0)
    assert 0 < n.sum() < ticks * net.latent
    z = spikes["selection"]
    for channel in range(net.latent):
        p, counts = n[channel] / ticks, z[:, :, channel].sum(axis=1)
        if n[channel] in (0, ticks) and not worst:
            assert (counts == n[channel]).all()
            continue
        expected = samples * stats.binom.pmf(np.arange(ticks + 1), ticks, p)
        seen = np.bincount(counts, minlength=ticks + 1)
        keep = expected >= 5
        pooled, against = (np.append(v[keep], v[~keep].sum()) for v in (seen, expected))
        if against[-1] < 1e-9:
            pooled, against = pooled[:-1], against[:-1]
        if len(against) > 1 and not worst:
            assert stats.chisquare(pooled, against * pooled.sum() / against.sum()
                                   ).pvalue > LEVEL / net.latent
        sigma = (p * (1 - p) / (samples * ticks)) ** 0.5
        assert abs(counts.mean() / ticks - p) < 4.5 * sigma + worst


def test_sums_are_chances_cut_to_0_and_1():
    """Over all values of the bits, a sum q gives z in round(2^b q / unit) of them."""
    rule = Clipped(5, 320)
    bits = np.array(list(itertools.product((0, 1), repeat=5)), np.uint8)[:, None]
    for q, wanted in ((-1000, 0), (0, 0), (4, 0), (6, 1), (160, 16), (319, 32), (9999, 32)):
        assert rule.select(np.full((1, 32), q), bits).sum() == wanted, q
    with pytest.raises(ValueError, match="a multiple of 2\\^bits"):
        Clipped(5, 100)


def test_bits_of_the_prior_are_nobody_else_s(rate_net_factory):
    """They are the ring's last, and change from sample to sample; the draws' are the others."""
    net = rate_net_factory()
    bits = ChipBits.of(net, "generate", 4)
    held = bits.held(0, 400)
    assert held.shape == (400, 3, 7) and np.array_equal(bits.held(3, 2), held[3:5])
    assert abs(held.mean() - 0.5) < 4 * 0.5 / held.size ** 0.5
    program = build_program(net, "generate")
    reads = {c.target: {int(i) for m, _ in c.synapses.parts() for i in m.tocoo().col}
             for c in program.connections if c.source == "random_bits.bits"}
    assert not any(reads[f"gates.{i}"] & reads["selection"] for i in range(3))
    # With more stages than ticks, those that read at one timestep read different bits.
    program = build_program(rate_net_factory(ticks=2), "generate")
    reads = {c.target: {int(i) for m, _ in c.synapses.parts() for i in m.tocoo().col}
             for c in program.connections if c.source == "random_bits.bits"}
    assert not reads["gates.0"] & reads["gates.2"] and reads["gates.0"] == reads["gates.1"]


def test_stock_processes_only(rate_net_factory):
    """What a compiler gets: LIF, LIFReset and Sparse, the store included."""
    net = rate_net_factory()
    for mode in net.modes:
        graded = _images(net, 1) if mode == "reconstruct" else None
        rows = planned_processes(net, mode, ChipBits.of(net, mode, 0), graded, "unrolled", False)
        store = {name: (kinds, neurons) for name, kinds, neurons in rows}["store"]
        assert store[1] == (2 * 3 * 7 if mode == "generate" else 3 * 4 * net.latent)
        kinds = {kind.split()[1] for _, what, _ in rows if " " in what for kind in what.split(", ")}
        assert kinds <= {"LIF", "LIFReset", "Sparse"}


def test_run_lava_and_its_report(rate_net_factory, tmp_path):
    """The command end to end: proof, counts, report; the recheck finds the same."""
    net = rate_net_factory()
    write_net(net, tmp_path / "model.net")
    assert run_lava_command([str(tmp_path / "model.net"), "--samples", "3"]) == 0
    record = read_report(tmp_path / "generate" / "report" / "report.json")
    assert record["quality"] is None or record["work"]["samples"] == 3
    assert energy_report_command(["check", str(tmp_path / "generate")]) == 0
    write_net(rate_net_factory(prior_bits=0), tmp_path / "model.net")
    with pytest.raises(UserError, match="has no prior"):
        run_lava_command([str(tmp_path / "model.net"), "--samples", "3", "--out",
                          str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()
