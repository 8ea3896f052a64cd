"""--backend loihi2 with a double of Intel's extension: not run on hardware, here or anywhere.

The hardware graph runs on the CPU and equals the reference; published series give the published
watts; whatever goes wrong ends in one line and leaves the run folder as it was.
"""

from __future__ import annotations

import dataclasses
import os
import time

import loihi_double
import numpy as np
import pytest
from loihi_double import profiler

from hw_configs import load_board
from lava_models import ChipBits, encode_images
from lava_models.extension import NAMES, load, require_all
from lava_models.files import UserError
from lava_models.fit import fit
from lava_models.hdf5 import write_net
from lava_models.loihi import (
    Profilers,
    check_for_chip,
    compare_with_expected,
    expect,
    measured_section,
    run_on_chip,
    use_board,
)
from lava_models.network import describe
from lava_models.report import read_report
from lava_models.run_lava import run_lava_command
from lava_models.validation import measured_run


@pytest.fixture
def extension(monkeypatch):
    loihi_double.install(monkeypatch)


@pytest.fixture(scope="module")
def net_path(net_factory, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "model.net"
    write_net(net_factory(), path)
    return path


def _images(net, samples):
    rng = np.random.default_rng(3)
    return encode_images(net, rng.uniform(-1, 1, (samples, *net.image_shape)).astype(np.float32))


# --- the graph --------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "lag", "convolutions"), [
    ("generate", 1, "unrolled"), ("reconstruct", 1, "unrolled"), ("reconstruct", 2, "shared"),
    ("generate", 4, "shared")])
def test_hardware_graph_equals_the_reference(extension, net_factory, mode, lag, convolutions):
    net = net_factory(lag=lag)
    bits = ChipBits.of(net, mode, 4)
    images = _images(net, 3) if mode == "reconstruct" else None
    run = run_on_chip(net, mode, bits, 3, images, convolutions=convolutions)
    expected = expect(net, mode, bits, 0, 3, images)
    equal, verdict = compare_with_expected(run, expected, net, mode)
    assert equal and "equal" in verdict and "timesteps late" not in verdict
    assert np.array_equal(run.voltage, expected.voltage) and expected.z.any()
    config, = loihi_double.HwConfig.started
    assert config.select_sub_proc_model and config.loggers == []
    assert loihi_double.CompilerOptions.show_resource_count


@pytest.mark.parametrize("mode", ["generate", "reconstruct"])
def test_late_adapters(monkeypatch, net_factory, mode):
    """Adapters that take two timesteps: equal with --input-delay 2, and the verdict says so."""
    loihi_double.install(monkeypatch, delay=2)
    net = net_factory()
    bits = ChipBits.of(net, mode, 1)
    images = _images(net, 3) if mode == "reconstruct" else None
    run = run_on_chip(net, mode, bits, 3, images, delay=2)
    equal, verdict = compare_with_expected(run, expect(net, mode, bits, run.first, 3, images), net,
                                           mode)
    assert equal and "z 2 timesteps late" in verdict
    if mode == "reconstruct":
        wrong = run_on_chip(net, mode, bits, 3, images)
        equal, verdict = compare_with_expected(wrong, expect(net, mode, bits, 0, 3, images), net,
                                               mode)
        assert not equal and "selection, neuron" in verdict and "timestep" in verdict


def test_held_image(extension, net_factory):
    """One image for all samples, delivered with the bias: the same spikes as if it were sent."""
    net = net_factory()
    bits, images = ChipBits.of(net, "reconstruct", 2), np.repeat(_images(net, 1), 4, axis=0)
    run = run_on_chip(net, "reconstruct", bits, 4, images, held=True)
    expected = expect(net, "reconstruct", bits, 0, 4, images)
    assert compare_with_expected(run, expected, net, "reconstruct")[0]
    assert np.array_equal(run.voltage, expected.voltage)


def test_a_difference_is_found(extension, net_factory):
    net = net_factory()
    bits = ChipBits.of(net, "generate", 4)
    run = run_on_chip(net, "generate", bits, 2)
    expected = expect(net, "generate", bits, 0, 2, None)
    voltage = run.voltage.copy()
    voltage[1, 7] += 1
    equal, verdict = compare_with_expected(dataclasses.replace(run, voltage=voltage), expected, net,
                                           "generate")
    assert not equal and "1 readout voltages differ, first decoder.3, neuron 7" in verdict
    z = run.z.copy()
    at = np.argwhere(z)[len(np.argwhere(z)) // 2]
    z[tuple(at)] = False
    equal, verdict = compare_with_expected(dataclasses.replace(run, z=z), expected, net, "generate")
    assert not equal and f"selection, neuron {at[1]}, timestep {at[0] + 1}: chip 0" in verdict


def test_expected_counts_are_a_run_s(net_factory):
    """Counts from the reference equal counts from Lava."""
    from lava_models.graph import run_graph

    for mode, lag in (("reconstruct", 1), ("generate", 4)):
        net = net_factory(lag=lag)
        bits = ChipBits.of(net, mode, 9)
        images = _images(net, 5) if mode == "reconstruct" else None
        run = run_graph(net, mode, bits, 5, images, lanes=2)
        expected = expect(net, mode, bits, 0, 5, images)
        assert run.counts.keys() == expected.counts.keys()
        for name, counts in run.counts.items():
            assert np.array_equal(counts, expected.counts[name]), name


# --- the command ------------------------------------------------------------------------------


def test_command(extension, net_path, tmp_path, capsys):
    profiler.recorded["avg_time_per_step"] = 100.0
    out = tmp_path / "chip"
    assert run_lava_command([str(net_path), "--backend", "loihi2", "--partition", "oheogulch",
                             "--samples", "3", "--power-timesteps", "80", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "PARTITION=oheogulch" in said and "LOIHI_GEN=N3B3" in said and "equal" in said
    record = read_report(out / "report" / "report.json")
    assert record["target"]["backend"] == "loihi2" and record["check"]["equal"] is True
    assert record["work"]["samples"] == 5  # of 16 timesteps: 80 for the power meter
    measured = record["measured"]
    assert measured["power_dynamic_w"]["value"] == pytest.approx(0.447156)
    assert measured["power_dynamic_w"]["n"] == 100
    assert record["energy"]["measured_j"] == measured["energy_per_sample_j"]
    assert record["time"]["measured_timestep_us"]["value"] == 100.0
    assert "modelled / measured" in (out / "report" / "report.md").read_text()
    for name in ("images.png", "latents.png", "images.npy", "counts.npz", "report/report.html"):
        assert (out / name).is_file()
    assert [type(x).__name__ for x in loihi_double.HwConfig.started[0].loggers] == [
        "Loihi2Power", "Loihi2ExecutionTime", "Loihi2Activity", "Loihi2Memory"]
    # The same file, seed and samples on the simulator: the same images and counts.
    sim = tmp_path / "sim"
    run_lava_command([str(net_path), "--samples", "5", "--out", str(sim)])
    assert np.array_equal(np.load(sim / "images.npy"), np.load(out / "images.npy"))
    assert read_report(sim / "report" / "report.json")["layers"] == record["layers"]


def test_command_reconstruct_held(extension, net_path, tmp_path):
    out = tmp_path / "held"
    assert run_lava_command([str(net_path), "--backend", "loihi2", "--mode", "reconstruct",
                             "--hold", "--samples", "3", "--no-profile", "--board",
                             "ncl-ext-og-01", "--out", str(out)]) == 0
    record = read_report(out / "report" / "report.json")
    assert record["measured"] == {} and record["energy"]["measured_j"]["value"] is None
    assert "one image held" in record["target"]["description"]
    images = next(layer for layer in record["layers"] if layer["name"] == "images")
    assert images["spikes"] == 0
    assert os.environ["BOARD"] == "ncl-ext-og-01"


@pytest.mark.parametrize("mode", ["generate", "reconstruct"])
def test_dry_run_needs_no_extension(net_path, tmp_path, capsys, mode):
    before = sorted(tmp_path.iterdir())
    assert run_lava_command([str(net_path), "--backend", "loihi2", "--dry-run", "--mode", mode,
                             "--samples", "2", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for words in ("nothing is sent", "total", "LIFReset", "image_read", "expected per sample"):
        assert words in said
    assert ("PyToNxAdapter" in said) == (mode == "reconstruct") and "NxToPyAdapter" in said
    assert sorted(tmp_path.iterdir()) == before


# --- board ------------------------------------------------------------------------------------


def test_environment_is_respected(extension, monkeypatch):
    monkeypatch.setenv("PARTITION", "oheogulch")
    assert use_board(None, None, None, "N3C1") == {
        "SLURM": "1", "PARTITION": "oheogulch", "LOIHI_GEN": "N3C1"}
    monkeypatch.setenv("NXSDKHOST", "10.0.0.7")
    assert use_board(None, None, None, "N3B3")["NXSDKHOST"] == "10.0.0.7"
    assert "NXSDKHOST" in use_board(None, None, "10.0.0.7", "N3B3")


@pytest.mark.parametrize(("options", "message"), [
    (["--partition", "moon"], "no such system: .*partition moon is not found"),
    (["--board", "og-9"], "no such system: .*board og-9"),
    (["--host", "10.9.9.9"], "no such system: .*ping 10.9.9.9"),
    (["--host", "10.0.0.7", "--board", "x"], "--host: reaches a board without SLURM"),
    (["--partition", "p", "--board", "x"], "--board: names one board"),
    (["--wait", "0"], "expected more than 0"),
    (["--hold"], "--hold: is for --mode reconstruct"),
    (["--lanes", "2"], "a chip runs one sample at a time"),
    (["--hw", "mars"], "hw_configs/boards/mars.toml: no such"),
])
def test_wrong_board_or_option(extension, net_path, tmp_path, options, message):
    with pytest.raises(UserError, match=message) as error:
        run_lava_command([str(net_path), "--backend", "loihi2", "--out", str(tmp_path / "o"),
                          *options])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "o" / "report").exists()


def test_options_of_the_chip_need_the_chip(net_path):
    with pytest.raises(UserError, match="--dry-run: goes with --backend loihi2"):
        run_lava_command([str(net_path), "--dry-run"])


# --- checks before anything is compiled -------------------------------------------------------


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


# --- what can go wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("entry", NAMES, ids=lambda entry: entry.name)
def test_missing_name(extension, monkeypatch, entry):
    import sys

    require_all()
    monkeypatch.delattr(sys.modules[entry.module], entry.name)
    with pytest.raises(UserError, match=f"{entry.module}.{entry.name}: is not in the installed"):
        require_all()
    monkeypatch.setitem(sys.modules, entry.module, None)
    with pytest.raises(UserError, match=f"{entry.name}: cannot be imported"):
        load(entry.name)
    assert entry.source


def test_changed_signature(extension, monkeypatch):
    class Loihi2Power:
        def __init__(self, steps):
            pass

    monkeypatch.setattr(profiler, "Loihi2Power", Loihi2Power)
    with pytest.raises(UserError, match="Loihi2Power: takes other arguments .*expected num_steps"):
        require_all()


def _command(net_path, out, *more):
    return run_lava_command([str(net_path), "--backend", "loihi2", "--partition", "oheogulch",
                             "--samples", "2", "--power-timesteps", "16", "--out", str(out), *more])


@pytest.fixture
def earlier(extension, net_path, tmp_path):
    """A folder with results, and what is in it."""
    out = tmp_path / "out"
    assert _command(net_path, out) == 0
    return out, {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def _intact(out, before):
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_lost_connection(earlier, net_path, monkeypatch):
    from lava_models import graph

    def lost(runtime):
        raise ConnectionResetError("the board closed the connection")

    monkeypatch.setattr(graph, "_wait_for", lost)
    with pytest.raises(UserError, match="connection to the board was lost .*closed the connection"):
        _command(net_path, earlier[0], "--force")
    _intact(*earlier)


def test_compiler_that_gives_up(earlier, net_path, monkeypatch):
    from lava_models.loihi import _ChipGraph

    def refuse(self):
        raise AssertionError("Partitioning could\nnot converge")

    monkeypatch.setattr(_ChipGraph, "_config", refuse)
    with pytest.raises(UserError, match="compiling or starting failed .AssertionError: "
                                        "Partitioning could not converge.; nothing was run"):
        _command(net_path, earlier[0], "--force")
    _intact(*earlier)


def test_process_that_fails(earlier, net_path, monkeypatch):
    """Inside the graph: the adapter refuses a spike. No process is left behind."""
    import multiprocessing

    from loihi_double.adapters import spike

    def fail(self):
        raise ValueError("broken adapter")

    monkeypatch.setattr(spike.PyNxToPy, "run_spk", fail)
    with pytest.raises(UserError, match="the run failed .*broken adapter.*; nothing was written"):
        _command(net_path, earlier[0], "--force")
    assert not multiprocessing.active_children()
    _intact(*earlier)


def test_job_that_never_starts(earlier, net_path, monkeypatch):
    from lava_models.loihi import _ChipGraph

    monkeypatch.setattr(_ChipGraph, "_config", lambda self: time.sleep(10_000))
    with pytest.raises(UserError, match="no board answered within 1 s"):
        _command(net_path, earlier[0], "--force", "--wait", "1")
    _intact(*earlier)


def test_ctrl_c(earlier, net_path, monkeypatch):
    from lava_models import graph

    def interrupted(runtime):
        raise KeyboardInterrupt

    monkeypatch.setattr(graph, "_wait_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _command(net_path, earlier[0], "--force")
    _intact(*earlier)


@pytest.mark.parametrize(("series", "message"), [
    ({"total_power": np.full(4, 0.5)}, "power meter gave 4 readings in .* at least 10; run longer"),
    ({"total_power": np.full(40, np.nan)}, "Loihi2Power.total_power is empty or not finite"),
    ({"syn_ops": None}, "Loihi2Activity has no series 'syn_ops'|not finite"),
    ({"avg_time_per_step": []}, "Loihi2ExecutionTime.avg_time_per_step is empty"),
])
def test_series_that_say_nothing(earlier, net_path, series, message):
    profiler.recorded.update(series)
    with pytest.raises(UserError, match=message):
        _command(net_path, earlier[0], "--force")
    _intact(*earlier)


# --- measurement ------------------------------------------------------------------------------


def test_published_series_give_the_published_numbers(extension):
    """PilotNet-LIF on Oheo Gulch: 0.447 W dynamic, 0.232 W static, 1.66 mJ per inference."""
    run = measured_run()
    measured = measured_section(Profilers.make(10000), run["timesteps"],
                                run["timesteps_per_sample"], load_board("oheogulch"), 1)
    assert measured["power_dynamic_w"]["value"] == pytest.approx(0.447, abs=5e-4)
    assert measured["power_static_w"]["value"] == pytest.approx(0.232, abs=5e-4)
    assert measured["energy_per_sample_j"]["value"] == pytest.approx(1.66e-3, abs=5e-6)
    assert measured["energy_dynamic_per_sample_j"]["value"] == pytest.approx(1.0935e-3, abs=5e-7)
    assert measured["power_vddm_w"]["value"] == pytest.approx(0.422127)
    assert measured["timestep_us"] == {"value": 152.8, "basis": "measured", "spread": 0.0,
                                       "n": 10000, "what": "10000 timesteps on Oheo Gulch"}
    parts = measured["energy_static_per_sample_j"], measured["energy_dynamic_per_sample_j"]
    assert measured["energy_per_sample_j"]["value"] == pytest.approx(
        sum(part["value"] for part in parts))


def test_idle_chips_are_subtracted(extension):
    measured = measured_section(Profilers.make(100), 100, 16, load_board("kapohopoint"), 2)
    assert measured["power_static_w"]["value"] == pytest.approx(0.232078 * 2 / 8)
    assert measured["power_dynamic_w"]["value"] == pytest.approx(0.447156)
    assert "6 of 8 chips idle and subtracted" in measured["power_static_w"]["what"]


@pytest.mark.parametrize("total", [0.275709, 0.285])
def test_noise_is_no_result(extension, total):
    """PilotNet-SDNN's published run: total below static. No number, but why."""
    profiler.recorded.update(total_power=np.full(50, total),
                             static_total_power=np.full(50, 0.281775))
    measured = measured_section(Profilers.make(2000), 2000, 16, load_board("oheogulch"), 1)
    for name in ("power_dynamic_w", "energy_per_sample_j", "energy_dynamic_per_sample_j"):
        assert measured[name]["value"] is None
        assert "within the meter's noise of 10 mW" in measured[name]["why"]
    assert measured["power_static_w"]["value"] == pytest.approx(0.281775)
