"""The chip's graph with a double of Intel's extension: not run on hardware, here or anywhere.

It runs on the CPU and equals the reference spike for spike.
"""

from __future__ import annotations

import dataclasses

import loihi_double
import numpy as np
import pytest

from hw_configs import load_board
from hw_configs.files import UserError
from lava_models import ChipBits, encode_images
from lava_models.cost.describe import describe
from lava_models.cost.mapper import fit
from lava_models.loihi.board import check_for_chip, use_board
from lava_models.loihi.hardware_graph import OfflineGraph, run_on_chip
from lava_models.loihi.proof import compare_with_expected, expect


def _images(net, samples):
    rng = np.random.default_rng(3)
    return encode_images(net, rng.uniform(-1, 1, (samples, *net.image_shape)).astype(np.float32))


@pytest.mark.parametrize(("mode", "lag", "convolutions"), [
    ("generate", 1, "unrolled"), ("reconstruct", 2, "shared"), ("generate", 4, "shared"),
    pytest.param("reconstruct", 1, "unrolled", marks=pytest.mark.slow)])
def test_hardware_graph_equals_the_reference(extension, net_factory, mode, lag, convolutions):
    net = net_factory(lag=lag)
    bits = ChipBits.of(net, mode, 4)
    images = _images(net, 3) if mode == "reconstruct" else None
    run = run_on_chip(net, mode, bits, 3, images, convolutions=convolutions)
    expected = expect(net, mode, bits, 0, 3, images)
    verdict, late = compare_with_expected(run, expected, net, mode)
    assert verdict.equal and not late, str(verdict)
    assert [(p.name, p.values) for p in verdict.populations] == [
        ("selection", verdict.steps * expected.z.shape[-1]), ("decoder.3", run.voltage.size)]
    assert np.array_equal(run.voltage, expected.voltage) and expected.z.any()
    config, = loihi_double.HwConfig.started
    assert config.select_sub_proc_model and config.loggers == []
    assert loihi_double.CompilerOptions.show_resource_count


@pytest.mark.parametrize("mode", [
    "generate", pytest.param("reconstruct", marks=pytest.mark.slow)])
def test_late_adapters(monkeypatch, net_factory, mode):
    """Adapters that take two timesteps: equal with --input-delay 2, and the verdict says so."""
    loihi_double.install(monkeypatch, delay=2)
    net = net_factory()
    bits = ChipBits.of(net, mode, 1)
    images = _images(net, 3) if mode == "reconstruct" else None
    run = run_on_chip(net, mode, bits, 3, images, delay=2)
    verdict, late = compare_with_expected(
        run, expect(net, mode, bits, run.first, 3, images), net, mode)
    assert verdict.equal and late == 2
    if mode == "reconstruct":
        wrong = run_on_chip(net, mode, bits, 3, images)
        verdict, _ = compare_with_expected(wrong, expect(net, mode, bits, 0, 3, images), net, mode)
        assert not verdict.equal and "selection, neuron" in verdict.first


def test_held_image(extension, net_factory):
    """One image for all samples, delivered with the bias: the same spikes as if it were sent."""
    net = net_factory()
    bits, images = ChipBits.of(net, "reconstruct", 2), np.repeat(_images(net, 1), 4, axis=0)
    run = run_on_chip(net, "reconstruct", bits, 4, images, held=True)
    expected = expect(net, "reconstruct", bits, 0, 4, images)
    assert compare_with_expected(run, expected, net, "reconstruct")[0].equal
    assert np.array_equal(run.voltage, expected.voltage)


def test_a_difference_is_found(extension, net_factory):
    net = net_factory()
    bits = ChipBits.of(net, "generate", 4)
    run = run_on_chip(net, "generate", bits, 2)
    expected = expect(net, "generate", bits, 0, 2, None)
    voltage = run.voltage.copy()
    voltage[1, 7] += 1
    verdict, _ = compare_with_expected(dataclasses.replace(run, voltage=voltage), expected, net,
                                       "generate")
    assert not verdict.equal and verdict.differing == 1
    assert verdict.first.startswith("decoder.3, neuron 7")
    z = run.z.copy()
    at = np.argwhere(z)[len(np.argwhere(z)) // 2]
    z[tuple(at)] = False
    verdict, _ = compare_with_expected(dataclasses.replace(run, z=z), expected, net, "generate")
    assert not verdict.equal
    assert verdict.first.startswith(f"selection, neuron {at[1]}, timestep {at[0] + 1}: chip 0")


@pytest.mark.parametrize(("samples", "ticks"), [(1, 1), (2, 4)])
def test_z_that_is_not_the_reference_s_is_seen_in_short_runs(extension, net_factory, samples,
                                                             ticks):
    """All ones, all zeros, or never arrived: no delay that is tried makes it equal."""
    net = net_factory(ticks=ticks, lag=4)
    bits = ChipBits.of(net, "generate", 4)
    run = run_on_chip(net, "generate", bits, samples)
    expected = expect(net, "generate", bits, 0, samples, None)
    assert compare_with_expected(run, expected, net, "generate")[0].equal
    for z in (np.ones_like(run.z), np.zeros_like(run.z)):
        verdict, _ = compare_with_expected(dataclasses.replace(run, z=z), expected, net, "generate")
        assert not verdict.equal
        assert verdict.populations[0].values == verdict.steps * expected.z.shape[-1]
    with pytest.raises(ValueError, match="z was recorded for"):
        compare_with_expected(dataclasses.replace(run, z=run.z[:-9]), expected, net, "generate")


def test_expected_counts_are_a_run_s(net_factory):
    """Counts from the reference equal counts from Lava."""
    from lava_models.graph.lava_graph import run_graph

    for mode, lag in (("reconstruct", 1), ("generate", 4)):
        net = net_factory(lag=lag)
        bits = ChipBits.of(net, mode, 9)
        images = _images(net, 5) if mode == "reconstruct" else None
        run = run_graph(net, mode, bits, 5, images, lanes=2)
        expected = expect(net, mode, bits, 0, 5, images)
        assert run.counts.keys() == expected.counts.keys()
        for name, counts in run.counts.items():
            assert np.array_equal(counts, expected.counts[name]), name


@pytest.mark.parametrize("mode", ["generate", "reconstruct"])
def test_same_graph_without_the_extension(net_factory, tmp_path, mode):
    """The adapters' models for the CPU, chosen by run configuration: the same z and images."""
    net = net_factory()
    bits = ChipBits.of(net, mode, 4)
    images = _images(net, 3) if mode == "reconstruct" else None
    graph = OfflineGraph(net, mode, 3, "unrolled", tmp_path, None, 0, [])
    run = graph.build(bits, images).run(lambda done, total: None)
    expected = expect(net, mode, bits, 0, 3, images)
    assert np.array_equal(run.voltage, expected.voltage)
    assert np.array_equal(run.by_tick(graph.program.draws[0], graph.schedule), expected.z)


# --- board --------------------------------------------------------------------------------------


def test_environment_is_respected(extension, monkeypatch):
    monkeypatch.setenv("PARTITION", "oheogulch")
    assert use_board(None, None, None, "N3C1") == {
        "SLURM": "1", "PARTITION": "oheogulch", "LOIHI_GEN": "N3C1"}
    monkeypatch.setenv("NXSDKHOST", "10.0.0.7")
    assert use_board(None, None, None, "N3B3")["NXSDKHOST"] == "10.0.0.7"
    assert "NXSDKHOST" in use_board(None, None, "10.0.0.7", "N3B3")


# --- checks before anything is compiled ---------------------------------------------------------


def test_period_must_be_a_power_of_two(net_factory):
    net = net_factory(ticks=5)
    placed = fit(describe(net, "generate"), load_board("oheogulch"))
    with pytest.raises(UserError, match=r"a sample takes 20 timesteps \(T = 5 ticks x D = 4\).*"
                                        r"power of two; train with --ticks 4 or 8"):
        check_for_chip(net, "generate", placed)


def test_network_must_fit_the_board(net_factory):
    net, board = net_factory(), load_board("oheogulch")
    small = dataclasses.replace(board, neurocores=dataclasses.replace(board.chip.neurocores,
                                                                      value=3))
    with pytest.raises(UserError, match="takes .* cores = .* chips, Oheo Gulch has 1 of 3; most"):
        check_for_chip(net, "generate", fit(describe(net, "generate"), small))
