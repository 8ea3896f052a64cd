"""energy-report check: whatever is changed in a record or in a file beside it is found.

The pages are made again from every changed record, as someone would who wants it believed.
"""

from __future__ import annotations

import copy
import json
import re
import shutil

import loihi_double
import numpy as np
import pytest

from hw_configs.reading import sha256_of
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.run_lava import run_lava_command
from lava_models.net.hdf5 import write_net
from lava_models.report.record import write_report


@pytest.fixture(scope="module")
def run(net_factory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_net(net_factory(), folder / "model.net")
    assert run_lava_command([str(folder / "model.net"), "--samples", "3", "--seed", "5"]) == 0
    assert run_lava_command([str(folder / "model.net"), "--samples", "2", "--mode",
                             "reconstruct"]) == 0
    return folder


@pytest.fixture
def copied(run, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def _rewrite(folder, change) -> None:
    """Change a record and make its pages again."""
    record = json.loads((folder / "report" / "report.json").read_text())
    change(record)
    write_report(record, folder / "report")


def _scale(value, factor):
    """Every number below `value`, but for whole ones."""
    if isinstance(value, dict):
        return {k: v if k == "count" else _scale(v, factor) for k, v in value.items()}
    if isinstance(value, list):
        return [_scale(v, factor) for v in value]
    return value * factor if isinstance(value, float) else value


def _not_equal(record):
    record["check"]["equal"] = False


def _not_compared(record):
    record["check"] |= {"equal": None, "verdict": "not compared", "samples_compared": 0}


def _proven_though_idle(record):
    """A part that never fired, and a yes all the same."""
    for entry in record["check"]["populations"]:
        if entry["part"] == "prior":
            entry["spikes"] = 0


def _more_spikes_said(record):
    check = record["check"]
    check["verdict"] = re.sub(r"equal: \d+ spikes", "equal: 99999 spikes", check["verdict"])
    assert "99999" in check["verdict"]


def _population_left_out(record):
    del record["check"]["populations"][0]


def _less_compared(record):
    entry = next(p for p in record["check"]["populations"] if p["part"] == "prior")
    entry["values"] //= 2


def _fewer_samples_compared(record):
    record["check"]["samples_compared"] -= 1


def _halved_energy(record):
    record["energy"] = _scale(record["energy"], 0.5)


def _halved_time(record):
    for key in ("chip_timestep_us", "chip_sample_ms"):
        record["time"][key] = _scale(record["time"][key], 0.5)


def _better_images(record):
    record["quality"]["reconstruction_mse"] |= {"value": 0.001}


def _fewer_cores(record):
    layer = record["fit"]["layers"][0]
    layer["cores"] += 1
    record["fit"]["cores"] += 1


def _another_board(record):
    record["fit"]["board"] = "My own"


def _other_constants(record):
    record["energy"]["constants"] = "/etc/hostname.toml"


def _another_seed(record):
    record["run"]["seed"] += 1


def _more_samples(record):
    record["work"]["samples"] *= 10**9


def _doubled(record):
    """Every count, the sums with them; not what is per sample."""
    tables = [*record["layers"], *record["parts"], *(record["totals"][s] for s in ("on_chip",
                                                                                  "on_host"))]
    for table in tables:
        for key in ("spikes", "synops", "neuron_updates"):
            table[key] *= 2
        for key in ("spikes_per_timestep", "synops_per_timestep"):
            if key in table:
                table[key] = [2 * n for n in table[key]]


def _another_schedule(record):
    record["work"]["latency_timesteps"] -= 1


def _cheaper_ann(record):
    record["baselines"][0]["multiply_accumulates"] *= 2


def test_unchanged(copied, capsys):
    """Every item is named, with what it was recomputed from."""
    _rewrite(copied / "generate", lambda record: None)
    assert energy_report_command(["check", str(copied)]) == 0
    said = capsys.readouterr().out
    assert "DIFFERS" not in said and said.count("not rechecked  ") == 2
    for item in ("verdict", "verdict's counts", "network", "counts.npz", "images.png",
                 "report.html", "counts", "cores", "seed and samples", "energy", "time", "images",
                 "spikes", "reconstruction error"):
        assert said.count(f"  same           {item}: ") == 2
    assert said.count("  same           test images: ") == 1


@pytest.mark.parametrize(("mode", "change", "item"), [
    ("generate", _not_equal, "verdict: the record itself says no"),
    ("generate", _not_compared, "verdict: Lava and the reference: not compared"),
    ("generate", _proven_though_idle, "verdict's counts: check.equal is True, recomputed False"),
    ("generate", _more_spikes_said, "verdict's counts: check.verdict is 3 samples"),
    ("generate", _population_left_out, "verdict's counts: check.populations: "),
    ("generate", _less_compared, "was not compared at each of"),
    ("generate", _fewer_samples_compared, "verdict's counts: check.samples_compared is 2"),
    ("generate", _halved_energy, "energy: energy."),
    ("reconstruct", _halved_time, "time: time.chip_timestep_us"),
    ("reconstruct", _better_images, "reconstruction error: quality.reconstruction_mse.value is "
                                    "0.001"),
    ("generate", _fewer_cores, "cores: fit.cores"),
    ("generate", _another_board, "was modelled for 'My own', which is no board"),
    ("generate", _other_constants, "was modelled by '/etc/hostname.toml', no constants that"),
    ("generate", _another_seed, "seed and samples: seed 6, 3 samples: random_bits.cells"),
    ("reconstruct", _another_seed, "seed and samples: seed 1, 2 samples: random_bits.cells"),
    ("generate", _more_samples, "number of images: images.npy holds"),
    ("generate", _doubled, "counts: layers[0]."),
    ("reconstruct", _another_schedule, "timesteps: work.latency_timesteps"),
    ("generate", _cheaper_ann, "beside it: baselines[0].multiply_accumulates"),
])
def test_changed_record(copied, capsys, mode, change, item):
    _rewrite(copied / mode, change)
    assert energy_report_command(["check", str(copied / mode)]) == 1
    said = capsys.readouterr().out
    wrong = [line for line in said.splitlines() if line.startswith("  DIFFERS")]
    assert any(item in line for line in wrong), said
    assert not any("report.md" in line or "report.html" in line for line in wrong)


def _change_pixel(folder):
    images = np.load(folder / "images.npy")
    images[1, 0, 3, 4] += 0.01
    np.save(folder / "images.npy", images)


@pytest.mark.parametrize("mode", ["generate", "reconstruct"])
@pytest.mark.parametrize("hashed", [False, True])
def test_changed_pixel(copied, capsys, mode, hashed):
    """With its hash put right as well, the reference's image is another."""
    _change_pixel(copied / mode)
    if hashed:
        _rewrite(copied / mode, lambda record: record["outputs"].update(
            {"images.npy": sha256_of(copied / mode / "images.npy")}))
    assert energy_report_command(["check", str(copied / mode)]) == 1
    said = capsys.readouterr().out
    assert "images.npy: sample 1 is not what the reference gives" in said
    assert ("images.npy is not the file of this run (SHA-256" in said) != hashed


@pytest.mark.parametrize("name", ["images.png", "latents.png", "report/report.md",
                                  "report/report.html", "counts.npz"])
@pytest.mark.parametrize("gone", [False, True])
def test_changed_file(copied, capsys, name, gone):
    file = copied / "generate" / name
    file.unlink() if gone else file.write_bytes(file.read_bytes() + b" ")
    assert energy_report_command(["check", str(copied / "generate")]) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if "  DIFFERS" in line]
    assert any(file.name in line for line in wrong)
    assert any("not there" in line for line in wrong) == gone


def test_counts_and_record_doubled_together(copied, capsys):
    """Hash, sums and energy in order: the random bits and the reference know better."""
    folder = copied / "generate"
    with np.load(folder / "counts.npz") as file:
        np.savez_compressed(folder / "counts.npz", **{k: 2 * file[k] for k in file.files})
    _rewrite(folder, lambda record: record["inputs"].update(
        {"counts_sha256": sha256_of(folder / "counts.npz")}))
    assert energy_report_command(["check", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "seed and samples: seed 5, 3 samples: random_bits.cells would have other" in said
    assert "spikes: the reference has other spikes in prior.0" in said
    assert "times at one timestep of 3 samples" in said


def test_counts_of_another_network(copied, capsys):
    folder = copied / "generate"
    np.savez_compressed(folder / "counts.npz", nothing=np.zeros(3))
    _rewrite(folder, lambda record: record["inputs"].update(
        {"counts_sha256": sha256_of(folder / "counts.npz")}))
    assert energy_report_command(["check", str(folder)]) == 1
    assert "counts: counts.npz is not of this network and mode" in capsys.readouterr().out


def test_network_changed_or_gone(copied, run, capsys):
    record = json.loads((copied / "generate" / "report" / "report.json").read_text())
    record["inputs"]["net"] = str(copied / "model.net")
    write_report(record, copied / "generate" / "report")
    with open(copied / "model.net", "ab") as file:
        file.write(b"x")
    assert energy_report_command(["check", str(copied / "generate")]) == 1
    assert "network: " in (said := capsys.readouterr().out) and "SHA-256 differs" in said
    (copied / "model.net").unlink()
    assert energy_report_command(["check", str(copied / "generate")]) == 1
    assert "cannot be recomputed without the network" in capsys.readouterr().out


def test_what_cannot_be_rechecked_is_said(copied, capsys):
    """Test images that are not here: no failure, and no silence. Others than the run's: a failure.
    """
    def elsewhere(record):
        record["inputs"]["dataset"] = "mnist"

    _rewrite(copied / "reconstruct", elsewhere)
    assert energy_report_command(["check", str(copied / "reconstruct"), "--data-dir",
                                  str(copied)]) == 0
    said = capsys.readouterr().out
    assert "not rechecked  reconstruction error: needs the test images" in said
    assert "4 not rechecked" in said

    def others(record):
        record["inputs"] |= {"dataset": "digits", "images_sha256": "0" * 64}

    _rewrite(copied / "reconstruct", others)
    assert energy_report_command(["check", str(copied / "reconstruct")]) == 1
    assert "DIFFERS        test images: those here are not" in capsys.readouterr().out


def test_report_for_another_board(copied, capsys):
    folder = copied / "generate"
    energy_report_command([str(folder), "--hw", "nahuku", "--constants", "loihi1-sanafe"])
    report = folder / "report" / "for-nahuku-32" / "report.json"
    assert energy_report_command(["check", str(report)]) == 0
    record = json.loads(report.read_text())
    halved = copy.deepcopy(record)
    _halved_energy(halved)
    write_report(halved, report.parent, folder)
    assert energy_report_command(["check", str(report)]) == 1
    assert "estimated again for Nahuku 32" in capsys.readouterr().out


def test_long_run_is_sampled(copied, net_factory, capsys):
    """More samples than the reference runs again: all random bits, the first images."""
    out = copied / "long"
    assert run_lava_command([str(copied / "model.net"), "--samples", "66", "--out", str(out)]) == 0
    assert energy_report_command(["check", str(out)]) == 0
    said = capsys.readouterr().out
    assert "the reference again, 64 of 66 samples" in said and "not rechecked  spikes" in said


def test_poisson(poisson_net_factory, tmp_path):
    write_net(poisson_net_factory(), tmp_path / "model.net")
    for mode in ("generate", "reconstruct"):
        run_lava_command([str(tmp_path / "model.net"), "--samples", "3", "--mode", mode])
    assert energy_report_command(["check", str(tmp_path)]) == 0
    _change_pixel(tmp_path / "reconstruct")
    assert energy_report_command(["check", str(tmp_path)]) == 1


@pytest.mark.parametrize(("options", "delay"), [
    pytest.param(["--mode", "generate"], 0, marks=pytest.mark.slow, id="generate"),
    pytest.param(["--mode", "reconstruct", "--hold"], 0, id="held"),
    pytest.param(["--mode", "reconstruct", "--input-delay", "2"], 2, marks=pytest.mark.slow,
                 id="delayed")])
def test_of_a_chip(run, tmp_path, monkeypatch, capsys, options, delay):
    """Held images, and a first sample that is not the stream's first, are known to the record."""
    loihi_double.install(monkeypatch, delay=delay)
    out = tmp_path / "chip"
    assert run_lava_command([str(run / "model.net"), "--backend", "loihi2", "--partition",
                             "oheogulch", "--samples", "2", "--power-timesteps", "16", "--out",
                             str(out), *options]) == 0
    capsys.readouterr()
    assert energy_report_command(["check", str(out)]) == 0
    said = capsys.readouterr().out
    assert "not rechecked  measurements" in said
    assert "same           spikes: the reference again, all 2 samples" in said
