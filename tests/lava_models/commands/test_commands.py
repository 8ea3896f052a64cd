"""run-lava and energy-report from the command line."""

from __future__ import annotations

import dataclasses
import gzip
import json

import numpy as np
import pytest
from PIL import Image

from hw_configs.files import run_command
from lava_models import UserError, write_net
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.run_lava import main, run_lava_command
from lava_models.report.record import read_report
from lava_models.report.render import to_html, to_markdown


@pytest.fixture(scope="module")
def net_path(net_factory, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "model.net"
    write_net(net_factory(), path)
    return path


@pytest.fixture(scope="module")
def generated(net_path):
    assert run_lava_command([str(net_path), "--samples", "3", "--seed", "5"]) == 0
    return net_path.parent / "generate"


@pytest.fixture(scope="module")
def reconstructed(net_path):
    assert run_lava_command([str(net_path), "--mode", "reconstruct", "--samples", "2"]) == 0
    return net_path.parent / "reconstruct"


def test_writes_images_pictures_and_report(generated, reconstructed):
    for folder, samples in ((generated, 3), (reconstructed, 2)):
        images = np.load(folder / "images.npy")
        assert images.shape == (samples, 1, 8, 8)
        assert np.abs(images).max() <= 1
        assert images.std() > 0
        for name in ("images.png", "latents.png"):
            with Image.open(folder / name) as picture:
                assert picture.width > 50
        record = read_report(folder / "report" / "report.json")
        assert record["check"]["equal"] is True
        assert record["target"]["backend"] == "sim"
        assert "not run on hardware" in record["target"]["description"]
        assert record["energy"]["measured_j"]["value"] is None
        assert record["energy"]["energy_per_sample_j"]["basis"] == "modelled"
        assert (folder / "report" / "report.html").read_text() == to_html(record, folder)
        assert (folder / "report" / "report.md").read_text() == to_markdown(record)
        assert not list(folder.rglob(".*"))


def test_pairs_show_input_beside_output(reconstructed):
    """Two samples: input, output, input, output; the inputs are the data set's images."""
    from lava_models.commands.test_images import load_images

    with Image.open(reconstructed / "images.png") as opened:
        picture = np.asarray(opened)
    zoom = picture.shape[1] // (4 * 9 + 1)
    small = picture[::zoom, ::zoom]
    inputs = load_images("digits", "data", 2, (1, 8, 8))
    for i in range(2):
        tile = small[1:9, 1 + 18 * i:9 + 18 * i]
        assert np.array_equal(tile, np.round((inputs[i, 0] + 1) * 127.5))


def test_seed_replays(net_path, generated, tmp_path):
    for seed, same in (("5", True), ("6", False)):
        out = tmp_path / seed
        run_lava_command([str(net_path), "--samples", "3", "--seed", seed, "--out", str(out)])
        equal = np.array_equal(np.load(out / "images.npy"), np.load(generated / "images.npy"))
        assert equal == same


def test_graph_and_lanes_do_not_change_images(net_path, generated, tmp_path):
    for i, arguments in enumerate((["--graph", "stock"], ["--lanes", "1"], ["--lanes", "2"])):
        out = tmp_path / str(i)
        run_lava_command([str(net_path), "--samples", "3", "--seed", "5", *arguments,
                          "--out", str(out)])
        assert np.array_equal(np.load(out / "images.npy"), np.load(generated / "images.npy"))
        record, fused = (read_report(f / "report" / "report.json") for f in (out, generated))
        assert record["layers"] == fused["layers"]
        kinds = [[k["count"] for k in r["energy"]["dynamic_by_kind_j"]] for r in (record, fused)]
        assert kinds[0][:3] == pytest.approx(kinds[1][:3])
        assert record["target"]["graph"] == ("stock" if i == 0 else "fused")


def test_results_are_not_overwritten(net_path, generated):
    before = (generated / "images.npy").read_bytes()
    with pytest.raises(UserError, match="already holds results; replace them with --force"):
        run_lava_command([str(net_path)])
    assert (generated / "images.npy").read_bytes() == before


def test_loihi2_without_the_extension(net_path, generated):
    with pytest.raises(UserError, match="needs Intel's Loihi extension.*not installed; .*"
                                        "--backend sim computes the same spikes"):
        run_lava_command([str(net_path), "--backend", "loihi2"])


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.net"], "nowhere.net: no such file"),
    (["NET", "--samples", "0"], "--samples 0: expected at least 1"),
    (["NET", "--seed", "-1"], "--seed -1: expected 0 or more"),
    (["NET", "--lanes", "0"], "--lanes 0: expected at least 1"),
    (["NET", "--lanes", "2", "--graph", "stock"], "the stock graph runs one sample at a time"),
    (["NET", "--convolutions", "shared"], "is for the stock graph; add --graph stock"),
    (["NET", "--lanes", "90000000", "--samples", "90000000"],
     "--lanes 90000000: needs about .* GiB of memory, .* are available; use fewer lanes"),
    (["NET", "--mode", "reconstruct", "--dataset", "mnits"],
     r"unknown data set 'mnits' \(did you mean 'mnist'\?\)"),
    (["NET", "--mode", "reconstruct", "--dataset", "mnist", "--data-dir", "nowhere"],
     "not there; give the folder that holds MNIST/raw"),
    (["NET", "--mode", "reconstruct", "--samples", "298"],
     "298 images wanted, the test set has 297"),
])
def test_bad_input(net_path, arguments, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        run_lava_command([str(net_path) if a == "NET" else a for a in arguments]
                         + ["--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value)


def _damaged(folder):
    """Data sets without a usable test image, by name and folder."""
    (folder / "empty").mkdir()
    raw = folder / "cut" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(9999))[:-9])
    celeba = folder / "listed" / "celeba"
    celeba.mkdir(parents=True)
    (celeba / "list_eval_partition.txt").write_text("000001.jpg 2\n")
    pictures = folder / "pictures"
    pictures.mkdir()
    for i in range(10):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32), np.uint8)
        Image.fromarray(noise).save(pictures / f"{i}.png")
    whole = (pictures / "9.png").read_bytes()
    (pictures / "9.png").write_bytes(whole[:len(whole) // 2])
    return [("mnist", "nowhere"), ("fashion-mnist", "empty"), ("cifar10", "empty"),
            ("celeba", "empty"), ("celeba", "listed"), ("folder", "nowhere"), ("folder", "empty"),
            ("mnist", "cut"), ("folder", "pictures")]


def test_reconstruct_without_test_images(net_path, net_factory, tmp_path, monkeypatch, capsys):
    """The console script exits with 2 and one line, on either backend, and writes nothing."""
    colour = tmp_path / "colour.net"
    write_net(net_factory(channels=3), colour)
    for dataset, folder in _damaged(tmp_path):
        net = colour if dataset in ("cifar10", "celeba") else net_path
        for backend in ([], ["--backend", "loihi2", "--dry-run"]):
            out = tmp_path / "out"
            monkeypatch.setattr("sys.argv", [
                "run-lava", str(net), "--mode", "reconstruct", "--samples", "1", "--dataset",
                dataset, "--data-dir", str(tmp_path / folder), "--out", str(out), *backend])
            with pytest.raises(SystemExit) as ended:
                main()
            said = capsys.readouterr()
            assert ended.value.code == 2 and not out.exists(), (dataset, folder)
            assert said.err.startswith("error: ") and said.err.count("\n") == 1


def test_wrong_channel_count(net_factory, tmp_path):
    write_net(net_factory(channels=3), tmp_path / "model.net")
    with pytest.raises(UserError, match="digits has 1 channel, the network takes 3"):
        run_lava_command([str(tmp_path / "model.net"), "--mode", "reconstruct"])


@pytest.mark.parametrize("provenance", ["", "no json", "[]"])
def test_file_that_does_not_say_its_data_set(net_factory, tmp_path, provenance):
    net = dataclasses.replace(net_factory(), provenance=provenance)
    write_net(net, tmp_path / "model.net")
    with pytest.raises(UserError, match="name a data set with --dataset"):
        run_lava_command([str(tmp_path / "model.net"), "--mode", "reconstruct"])


def test_network_that_is_not_square(tmp_path):
    from lava_models.commands.test_images import load_images

    with pytest.raises(UserError, match="the network takes 1 x 8 x 10 images"):
        load_images("digits", tmp_path, 1, (1, 8, 10))


def test_unwritable_folder(net_path, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file: is no folder"):
        run_lava_command([str(net_path), "--out", str(tmp_path / "file")])
    with pytest.raises(UserError, match="cannot be written"):
        run_lava_command([str(net_path), "--out", str(tmp_path / "file" / "out")])


def test_misspelt_option_names_the_nearest(net_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_lava_command([str(net_path), "--sample", "3"])
    assert exit_.value.code != 0
    assert "--samples" in capsys.readouterr().err


def test_errors_are_one_line_and_a_code(capsys):
    assert run_command(lambda: run_lava_command(["nowhere.net"])) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: nowhere.net") and err.count("\n") == 1


def test_energy_report_prints_every_mode(net_path, generated, reconstructed, capsys):
    assert energy_report_command([str(net_path.parent)]) == 0
    said = capsys.readouterr().out
    assert said.count("backend") >= 2
    assert "decoder.3" in said and "encoder.0" in said and "total on chip" in said


def test_totals_are_sums_of_parts(generated):
    record = read_report(generated / "report" / "report.json")
    for key in ("neurons", "synapses", "spikes", "synops", "neuron_updates"):
        layers = sum(layer[key] for layer in record["layers"])
        assert layers == sum(part[key] for part in record["parts"])
        assert layers == sum(record["totals"][s][key] for s in ("on_chip", "on_host"))
    for layer in record["layers"]:
        assert sum(layer["spikes_per_timestep"]) == layer["spikes"]
        assert layer["spikes_per_sample"] * record["work"]["samples"] == pytest.approx(
            layer["spikes"])


def _break(record, path, value):
    *keys, last = path
    for key in keys:
        record = record[key]
    if value is None:
        del record[last]
    else:
        record[last] = value


@pytest.mark.parametrize(("path", "value", "message"), [
    (("schema",), "other/9", "schema 'other/9', this release reads"),
    (("work", "samples"), None, "'samples' is a required property"),
    (("layers", 0, "spikes"), 1, "spikes is not the sum over timesteps"),
    (("totals", "on_chip", "synops"), 1, "totals.synops is not the sum of the layers"),
    (("parts", 0, "neurons"), 1, "totals.neurons is not the sum of the parts"),
    (("energy", "measured_j", "value"), 0, "energy.measured_j: .* is not valid under any"),
    (("energy", "energy_per_sample_j", "value"), 1, "energy.energy_per_sample_j.value is 1, its"),
    (("energy", "dynamic_by_part_j", 0, "low"), 1, "energy.dynamic_j.low by energy.dynamic_by"),
    (("energy", "dynamic_by_kind_j", 0, "count"), 1, "energy: the number of synops is 1, its"),
    (("fit", "cores"), 1, "fit.cores is 1, its parts"),
    (("target", "backend"), "gpu", "'gpu' is not one of"),
])
def test_damaged_report(generated, tmp_path, path, value, message):
    record = json.loads((generated / "report" / "report.json").read_text())
    _break(record, path, value)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        energy_report_command([str(file)])


def test_no_report(tmp_path):
    with pytest.raises(UserError, match="no report.json there; run-lava writes one"):
        energy_report_command([str(tmp_path)])
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match="not a readable report"):
        energy_report_command([str(tmp_path)])
