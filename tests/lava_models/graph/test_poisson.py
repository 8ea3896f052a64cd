"""Poisson latents on the chip: counts, equality of Lava and reference, file, chip, report."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from lava_models import ChipBits, Reference, UserError, encode_images, read_net, write_net
from lava_models.commands.run_lava import run_lava_command
from lava_models.cost.counts import count_run, pixels_used
from lava_models.cost.describe import describe, read_description, to_toml
from lava_models.cost.mapper import fit
from lava_models.graph.compare import compare_with_reference
from lava_models.graph.lava_graph import run_graph
from lava_models.net.latents import HostBits, Thinning
from lava_models.net.program import schedule_for
from lava_models.reference.host_encoder import host_rates
from lava_models.report.record import read_report

LEVEL = 1e-3


def _images(samples: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, 1, 8, 8))


def test_a_chance_is_exact_over_all_bits():
    thinning = Thinning(6)
    bits = np.array(list(itertools.product((0, 1), repeat=6)), np.uint8)[:, None]  # (64, 1, b)
    for q in (0, 1, 17, 63):
        assert thinning.select(np.full((1, 64), q, np.int32), bits).sum() == q


def test_chances_are_rounded_and_cut():
    q = Thinning(10).chances(np.array([0.0, 1e-4, 1.0, 3.999, 5.0]), 4)
    assert q.tolist() == [0, 0, 256, 1023, 1023]
    with pytest.raises(ValueError, match="4 to 15"):
        Thinning(16)


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
def test_lava_equals_the_reference_back_to_back(poisson_net_factory, mode):
    net = poisson_net_factory(ticks=4)
    images = encode_images(net, _images(7)) if mode == "reconstruct" else None
    bits = ChipBits.of(net, mode, 3)
    assert schedule_for(net, mode).period == 4  # nothing is fed back: a tick is a timestep
    runs = [run_graph(net, mode, bits, 7, images, graph=graph, lanes=lanes)
            for graph, lanes in (("stock", 1), ("fused", 1), ("fused", 3))]
    for run in runs:
        verdict = compare_with_reference(run, net, mode, bits, images)
        assert verdict.equal and verdict.spikes > 500, str(verdict)
        assert np.array_equal(run.voltage, runs[0].voltage) and run.voltage.any()
        for name, spikes in runs[0].counts.items():
            assert np.array_equal(run.counts[name], spikes), name


@pytest.mark.parametrize("source", ["chip", "host"])
def test_counts_are_poisson(poisson_net_factory, source):
    """Counts of 20 000 generated samples: dispersion and chi-square per unit, Bonferroni, at the
    level above. Rates are small against T, as those of trained networks: 8 ticks lose nothing."""
    net = poisson_net_factory(ticks=8, random_bits=12)
    rates = np.array([0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3])
    prior = net.selection.chances(rates, 8)
    net = dataclasses.replace(net, poisson=dataclasses.replace(net.poisson, prior=prior))
    bits = (ChipBits.of(net, "generate", 5) if source == "chip"
            else HostBits(5, 8, net.latent, 12))
    reference, counts = Reference(net, "generate"), []
    for first in range(0, 20000, 1000):
        z = reference.run(bits.samples(first, 1000)).spikes["selection"]
        counts.append(z.sum(axis=1))
    counts = np.concatenate(counts)
    p_values = []
    for unit, rate in enumerate(prior / 2**12 * 8):
        most = int(stats.poisson.isf(10 / len(counts), rate))  # at least 10 expected in each
        seen = np.bincount(counts[:, unit].clip(max=most + 1), minlength=most + 2)
        p = stats.poisson.pmf(np.arange(most + 1), rate)
        expected = len(counts) * np.append(p, 1 - p.sum())
        if expected[-1] < 5:  # join the tail
            seen, expected = (np.append(v[:-2], v[-2:].sum()) for v in (seen, expected))
        p_values.append(stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue)
    assert min(p_values) > LEVEL / len(p_values), p_values
    # Units are independent of each other: no correlation beyond chance.
    z = np.corrcoef(counts.T)[np.triu_indices(net.latent, 1)] * len(counts) ** 0.5
    assert stats.norm.sf(np.abs(z).max()) * 2 * len(z) > LEVEL


def test_reconstruction_draws_from_what_the_host_says(poisson_net_factory):
    """Mean counts of one image against its rates; a normal interval at the level above."""
    net = poisson_net_factory(ticks=16, random_bits=14)
    image = np.repeat(_images(1), 3000, axis=0)
    rates = host_rates(net, image[:1])[0].clip(max=16)
    z = Reference(net, "reconstruct").run(
        ChipBits.of(net, "reconstruct", 1).samples(0, 3000),
        encode_images(net, image)).spikes["selection"]
    mean = z.sum(axis=1).mean(axis=0)
    spread = np.sqrt(rates * (1 - rates / 16) / 3000)
    rounding = 16 / 2**15
    assert (np.abs(mean - rates) < stats.norm.isf(LEVEL / 18) * spread + rounding).all()


def test_round_trip(poisson_net_factory, tmp_path):
    net = poisson_net_factory()
    write_net(net, tmp_path / "model.net")
    back = read_net(tmp_path / "model.net")
    images = _images(5)
    assert np.array_equal(encode_images(net, images), encode_images(back, images))
    assert np.array_equal(net.poisson.prior, back.poisson.prior)
    assert np.array_equal(net.output_offset, back.output_offset)
    assert np.array_equal(net.decoder[0].weight, back.decoder[0].weight)


@pytest.mark.parametrize("change, said", [
    ({"lag": 1}, "lag = 1, k = 0: Poisson latents have neither"),
    ({"random_bits": 16}, "random_bits = 16: expected 4 to 15"),
    ({"output_offset": None}, "host/offset: expected 64 finite numbers"),
    ({"latent": 8}, "host/prior has shape"),
])
def test_what_does_not_fit_is_refused(poisson_net_factory, change, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(poisson_net_factory(), **change)


def test_a_damaged_host_part_is_one_line(poisson_net_factory, tmp_path):
    import h5py

    write_net(poisson_net_factory(), tmp_path / "model.net")
    for key, value, said in (("host/encoder/1/bias", np.zeros(3, np.float32),
                              r"has shape \(3,\), expected \(out = 9\)"),
                             ("host/prior", np.full(9, 2000), "host/prior 2000...2000"),
                             ("host/log_prior", None, "log_prior is missing")):
        copy = tmp_path / "copy.net"
        copy.write_bytes((tmp_path / "model.net").read_bytes())
        with h5py.File(copy, "a") as file:
            del file[key]
            if value is not None:
                file[key] = value
        with pytest.raises(UserError, match=said):
            read_net(copy)


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
def test_counted_and_described_alike(poisson_net_factory, tmp_path, mode):
    """Neurons and synapses that are counted are those of the description that the mapper places."""
    from hw_configs import load_board

    net = poisson_net_factory()
    images = encode_images(net, _images(4)) if mode == "reconstruct" else None
    run = run_graph(net, mode, ChipBits.of(net, mode, 0), 4, images)
    counts = {c.name: c for c in count_run(net, mode, 4, run.counts, pixels_used(images))}
    network = describe(net, mode)
    placed = fit(network, load_board("oheogulch"))
    assert placed.fits
    for layer in network.layers:
        assert counts[layer.name].neurons == network.neurons(layer.name), layer.name
    assert counts["decoder.0"].synops.sum() == (
        run.counts["selection"].sum(axis=0) @ (net.decoder[0].weight != 0).sum(axis=0))
    (tmp_path / "net.toml").write_text(to_toml(network))
    assert fit(read_description(tmp_path / "net.toml"), load_board("oheogulch")).cores == (
        placed.cores)


@pytest.mark.parametrize("mode", [["--mode", "generate"], ["--mode", "reconstruct"],
                                  ["--mode", "reconstruct", "--hold"]], ids=" ".join)
def test_on_a_chip(extension, poisson_net_factory, tmp_path, capsys, mode):
    """With a double of the extension, not on hardware."""
    write_net(poisson_net_factory(), tmp_path / "model.net")
    assert run_lava_command([str(tmp_path / "model.net"), "--backend", "loihi2", "--partition",
                             "oheogulch", "--samples", "3", "--no-profile", *mode]) == 0
    assert "equal" in capsys.readouterr().out


def test_report(poisson_net_factory, tmp_path, capsys):
    path = tmp_path / "model.net"
    net = poisson_net_factory()
    write_net(dataclasses.replace(net, provenance='{"dataset": "mnist"}'), path)
    assert run_lava_command([str(path), "--samples", "4"]) == 0
    assert "nothing is fed back" in capsys.readouterr().out
    record = read_report(tmp_path / "generate" / "report" / "report.json")
    assert "scale and offset" in record["not_counted"][0]
    shipped = record["baselines"][-1]
    assert "FSVAE that comes with the package" in shipped["name"] and "synops" in shipped["what"]
    write_net(net, path)
    assert run_lava_command([str(path), "--samples", "4", "--mode", "reconstruct"]) == 0
    record = read_report(tmp_path / "reconstruct" / "report" / "report.json")
    assert "exponential" in record["not_counted"][0]
    assert "FSVAE" not in record["baselines"][-1]["name"]
