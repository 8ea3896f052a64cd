"""run-lava --backend loihi2 with a double of Intel's extension: not run on hardware.

Whatever goes wrong ends in one line and leaves the run folder as it was.
"""

from __future__ import annotations

import os
import shutil
import time

import loihi_double
import numpy as np
import pytest
from loihi_double import profiler

from hw_configs.files import UserError
from lava_models.commands.run_lava import run_lava_command
from lava_models.graph import runtime
from lava_models.loihi.extension import NAMES, load, require_all
from lava_models.loihi.hardware_graph import ChipGraph
from lava_models.net.hdf5 import write_net
from lava_models.report.record import read_report


@pytest.fixture(scope="module")
def net_path(net_factory, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "model.net"
    write_net(net_factory(), path)
    return path


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
    assert record["measured"] == {}
    assert record["energy"]["measured_j"]["why"] == "the chip's run was not profiled"
    page = (out / "report" / "report.md").read_text()
    assert "not run on hardware" not in page and "CPU simulator" not in page
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


@pytest.mark.parametrize(("options", "form"), [
    ([], "shared"), (["--convolutions", "unrolled", "--hw", "kapohopoint"], "unrolled")])
def test_form_of_the_convolutions_is_the_mapper_s_unless_asked_for(capsys, options, form):
    """So that the network that comes with the package fits a board of one chip."""
    arguments = ["--backend", "loihi2", "--dry-run", "--samples", "1", "--hw", "oheogulch",
                 *options]
    assert run_lava_command(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"stock processes, {form} convolutions" in said and "fits" in said


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
    (["--hw", "nahuku"], "holds Loihi 1 chips; --backend loihi2 needs a board of Loihi 2"),
    (["--hw", "nahuku", "--dry-run"], "holds Loihi 1 chips"),
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


# --- the extension ------------------------------------------------------------------------------


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


# --- what can go wrong --------------------------------------------------------------------------


def _command(net_path, out, *more):
    return run_lava_command([str(net_path), "--backend", "loihi2", "--partition", "oheogulch",
                             "--samples", "2", "--power-timesteps", "16", "--out", str(out), *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Where the first run of the module is kept for the other tests."""
    return tmp_path_factory.mktemp("finished") / "out"


@pytest.fixture
def earlier(extension, net_path, tmp_path, finished):
    """A folder with results, and what is in it."""
    out = tmp_path / "out"
    if not finished.exists():
        assert _command(net_path, finished) == 0
    shutil.copytree(finished, out)
    return out, {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def _intact(out, before):
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_lost_connection(earlier, net_path, monkeypatch):
    def lost(runtime):
        raise ConnectionResetError("the board closed the connection")

    monkeypatch.setattr(runtime, "wait_for", lost)
    with pytest.raises(UserError, match="connection to the board was lost .*closed the connection"):
        _command(net_path, earlier[0], "--force")
    _intact(*earlier)


def test_compiler_that_gives_up(earlier, net_path, monkeypatch):
    def refuse(self):
        raise AssertionError("Partitioning could\nnot converge")

    monkeypatch.setattr(ChipGraph, "_config", refuse)
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
    monkeypatch.setattr(ChipGraph, "_config", lambda self: time.sleep(10_000))
    with pytest.raises(UserError, match="no board answered within 1 s"):
        _command(net_path, earlier[0], "--force", "--wait", "1")
    _intact(*earlier)


def test_ctrl_c(earlier, net_path, monkeypatch):
    def interrupted(runtime):
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime, "wait_for", interrupted)
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
