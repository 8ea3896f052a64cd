"""run-lava and energy-report with a NetX file that is no model.net."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from slayer_networks import write_rgb_network

from hw_configs import load_board
from hw_configs.files import UserError
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.run_lava import run_lava_command
from lava_models.cost.describe import read_description
from lava_models.cost.mapper import fit
from lava_models.cost.networks import read_network
from lava_models.loihi.netx_hardware import OfflineNetxGraph
from lava_models.net.netx import NetxOptions, read_netx
from lava_models.reference.netx_reference import Drive, NetxReference

WHEEL = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
PILOTNET = WHEEL / "tests/lava/lib/dl/netx/gts/pilotnet_lif/network.net"
NETWORKS = Path(__file__).parents[3] / "hw_configs" / "networks"
CUBA = {"type": "CUBA", "iDecay": 4096, "vDecay": 300, "vThMant": 40}


@pytest.fixture
def files(tmp_path, netx_writer):
    """A convolution behind input neurons, and 5 images for it."""
    rng = np.random.default_rng(0)
    path = netx_writer(tmp_path / "small.net", [
        {"type": "input", "shape": [1, 6, 8], "neuron": CUBA, "weight": 40, "bias": 2},
        {"type": "conv", "shape": [3, 2, 6], "stride": [2, 1], "padding": [0, 0],
         "dilation": [1, 1], "groups": 1, "weight": rng.integers(-20, 40, (3, 1, 3, 3)),
         "bias": np.array([3, 0, -2]), "neuron": CUBA},
        {"type": "flatten", "shape": [36]},
        {"type": "dense", "shape": [4], "weight": rng.integers(-30, 50, (4, 36)),
         "neuron": CUBA}])
    np.save(tmp_path / "images.npy", rng.random((5, 8, 6, 1)))
    return path, tmp_path / "images.npy"


def arguments(files, *more: str) -> list[str]:
    path, images = files
    return [str(path), "--input", str(images), "--pixels", "--samples", "5", "--reset-interval",
            "16", "--out", str(path.parent / "out"), *more]


def test_samples_in_lanes_and_their_record(files, capsys):
    out = files[0].parent / "out"
    assert run_lava_command(arguments(files, "--lanes", "3")) == 0
    said = capsys.readouterr().out
    assert "equal: " in said and "NOT equal" not in said and "largest neuron" in said
    messages, readout = np.load(out / "outputs.npy"), np.load(out / "readout.npy")
    assert messages.shape == (5, 16, 4) and messages.any()
    assert np.array_equal(readout, messages.sum(axis=1))
    record = json.loads((out / "report" / "report.json").read_text())
    assert record["work"]["mode"] == "netx" and record["check"]["equal"] is True
    assert [layer["name"] for layer in record["layers"]] == ["layer.0", "layer.1", "layer.3"]
    assert record["layers"][2]["spikes"] == messages.sum()
    assert {"raster.png", "output.png"} == {*record["pictures"]}
    assert record["quality"]["output_value_mean"]["value"] == readout.mean()
    largest = record["quality"]["samples_by_largest_output"]
    winners = readout.argmax(axis=1).tolist()
    assert largest["value"] == 5 and f"{winners[0]}: {winners.count(winners[0])}" in largest["what"]
    assert energy_report_command(["check", str(out)]) == 0
    assert "right: " in capsys.readouterr().out
    assert energy_report_command([str(out), "--hw", "halapoint"]) == 0
    assert "Hala Point" in capsys.readouterr().out


def test_a_changed_output_is_found(files, capsys):
    out = files[0].parent / "out"
    run_lava_command(arguments(files, "--graph", "reference"))
    messages = np.load(out / "outputs.npy")
    messages[2, 3, 1] ^= True
    np.save(out / "outputs.npy", messages)
    capsys.readouterr()
    assert energy_report_command(["check", str(out)]) == 1
    said = capsys.readouterr().out
    assert re.search("DIFFERS +outputs.npy: is not what the reference gives", said)


def test_all_graphs_and_stock_netx_give_the_same(files, capsys):
    path, images = files
    np.save(images, np.load(images)[0])
    common = [str(path), "--input", str(images), "--pixels", "--steps", "20", "--out",
              str(path.parent / "out"), "--force"]
    outputs = []
    for graph in ("reference", "fused", "stock"):
        assert run_lava_command([*common, "--graph", graph, *["--prove"] * (graph == "stock")]) == 0
        outputs.append(np.load(path.parent / "out" / "outputs.npy"))
    said = " ".join(capsys.readouterr().out.split())
    assert "against lava.lib.dl.netx.hdf5.Network, every layer, 1 sample: equal" in said
    assert outputs[0].any() and all(np.array_equal(outputs[0], other) for other in outputs[1:])


def test_samples_side_by_side_are_samples_in_a_row(files):
    """From rest in lanes, or one after another on one network that resets: the same windows."""
    net = read_netx(files[0], NetxOptions(reset_interval=16))
    run_lava_command(arguments(files, "--graph", "reference"))
    windows = np.load(files[0].parent / "out" / "outputs.npy")
    pixels = np.load(files[1])[:, :, :, 0].transpose(0, 2, 1).reshape(5, -1)
    biases = np.floor(40 * pixels + 2.5).astype(int)
    twice = NetxReference(net).run(Drive(bias=biases), 16 * 2 + 2).sent["layer.3"]
    assert np.array_equal(twice[2:18].transpose(1, 0, 2), windows)
    assert np.array_equal(twice[18:34].transpose(1, 0, 2), windows)


def test_dry_run_for_a_chip(files, capsys):
    assert run_lava_command(arguments(files, "--backend", "loihi2", "--dry-run", "--hw",
                                      "oheogulch")) == 0
    said = capsys.readouterr().out
    assert "nothing is sent" in said and "1 LIFReset, 1 Conv" in said and "NxToPyAdapter" in said
    assert not (files[0].parent / "out").exists()
    with pytest.raises(UserError, match="--reset-interval"):
        run_lava_command([str(files[0]), "--input", str(files[1]), "--pixels", "--samples", "2",
                          "--reset-interval", "12", "--backend", "loihi2", "--dry-run"])


def test_the_hardware_graph_on_the_cpu(files, tmp_path):
    net = read_netx(files[0], NetxOptions(reset_interval=16, skip_layers=1, reset_offset=1))
    drive = Drive(sent=np.random.default_rng(0).random((20, 1, 48)) < 0.4)
    sent = OfflineNetxGraph(net, drive, 20, tmp_path).build().run(lambda *_: None).sent
    wanted = NetxReference(net).run(drive, 20).sent["layer.3"]
    assert wanted.any() and np.array_equal(sent["layer.3"], wanted)


def test_on_a_double_of_the_chip(extension, files, netx_writer, tmp_path, capsys):
    """Samples in a row with resets, through the adapters; and one sample of a bias."""
    rng, out = np.random.default_rng(1), tmp_path / "chip"
    dense = netx_writer(tmp_path / "dense.net", [
        {"type": "dense", "shape": [6], "weight": rng.integers(-30, 50, (6, 9)), "neuron": CUBA},
        {"type": "dense", "shape": [3], "weight": rng.integers(-30, 50, (3, 6)), "neuron": CUBA}])
    np.save(tmp_path / "spikes.npy", rng.random((4, 9, 16)) < 0.4)
    chip = ["--backend", "loihi2", "--partition", "oheogulch", "--no-profile", "--out", str(out),
            "--force"]
    assert run_lava_command([str(dense), "--input", str(tmp_path / "spikes.npy"), "--samples", "4",
                             "--reset-interval", "16", *chip]) == 0
    assert "the last layer, 0 timesteps late: equal" in " ".join(capsys.readouterr().out.split())
    record = json.loads((out / "report" / "report.json").read_text())
    assert record["target"]["backend"] == "loihi2" and record["check"]["samples_compared"] == 4
    assert np.load(out / "outputs.npy").any()
    with pytest.raises(UserError, match="its input comes with the network"):
        run_lava_command(arguments(files, "--backend", "loihi2"))
    np.save(files[1], np.load(files[1])[0])
    assert run_lava_command([str(files[0]), "--input", str(files[1]), "--pixels", "--steps", "16",
                             "--reset-interval", "16", *chip]) == 0


@pytest.mark.parametrize(("more", "message"), [
    (["--steps", "4"], "give its input as --input"),
    (["--input", "no.npy", "--steps", "4"], "no.npy: no such file"),
    (["--input", "IMAGES"], "expected --steps N, or --samples N with --reset-interval P"),
    (["--input", "IMAGES", "--samples", "2"], "expected the timesteps of a sample"),
    (["--input", "IMAGES", "--samples", "9", "--steps", "4", "--pixels"], "at least 9 samples"),
    (["--input", "IMAGES", "--samples", "2", "--steps", "4"], r"fractions.*or --pixels"),
    (["--input", "IMAGES", "--steps", "4", "--pixels"], r"array of shape \(5, 8, 6, 1\)"),
    (["--input", "IMAGES", "--steps", "4", "--mode", "reconstruct"], "--mode: is for a model.net"),
    (["--input", "IMAGES", "--steps", "4", "--seed", "1"], "--seed: is for a model.net"),
    (["--input", "IMAGES", "--steps", "0"], "--steps 0: expected at least 1"),
    (["--input", "IMAGES", "--steps", "4", "--reset-offset", "1"], "goes with --reset-interval"),
    (["--input", "IMAGES", "--steps", "4", "--spike-exp", "9"], "--spike-exp 9: expected 0"),
    (["--input", "IMAGES", "--samples", "2", "--steps", "4", "--reset-interval", "8"],
     "a sample takes the 8 timesteps"),
])
def test_wrong_options(files, more, message):
    more = [str(files[1]) if word == "IMAGES" else word for word in more]
    with pytest.raises(UserError, match=message) as error:
        run_lava_command([str(files[0]), *more, "--out", str(files[0].parent / "out")])
    assert "\n" not in str(error.value) and not (files[0].parent / "out").exists()


def test_damaged_files_and_pointers(files, tmp_path):
    whole = files[0].read_bytes()
    for name, content, message in (
            ("cut.net", whole[:len(whole) // 2], "not a readable NetX file"),
            ("text.net", b"no", "not a readable NetX file"),
            ("lfs.net", b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer")):
        (tmp_path / name).write_bytes(content)
        for command in (lambda p: run_lava_command([p, "--input", str(files[1]), "--steps", "2"]),
                        lambda p: energy_report_command(["--fit", p])):
            with pytest.raises(UserError, match=message):
                command(str(tmp_path / name))


def test_options_of_netx_beside_a_model_net():
    with pytest.raises(UserError, match="--steps: is for other NetX files"):
        run_lava_command(["--steps", "4"])
    with pytest.raises(UserError, match="--graph reference: is for other NetX files"):
        run_lava_command(["--graph", "reference"])


def test_pilotnet_lif_takes_the_published_cores(capsys):
    """Its file, layer by layer as its description and as the compiler's table."""
    board = load_board("oheogulch")
    mine = fit(read_network(PILOTNET, "generate", "2023-01"), board)
    published = read_description(NETWORKS / "pilotnet-lif.toml")
    described = fit(published, board)
    assert [len(layer.cores) for layer in mine.layers] == [
        layer.published["cores"] for layer in published.layers]
    assert [layer.cores for layer in mine.layers] == [layer.cores for layer in described.layers]
    assert energy_report_command(["--fit", str(PILOTNET), "--compiler", "2023-01",
                                  "--convolutions", "shared"]) == 0
    assert "74 cores" in capsys.readouterr().out


def test_a_description_costs_what_its_file_does(files, tmp_path, capsys):
    said = []
    for network in (files[0], tmp_path / "small.toml"):
        more = ["--describe", str(tmp_path / "small.toml")] * (network == files[0])
        energy_report_command(["--fit", str(network), "--rate", "0.1", "--timesteps", "16", "--hw",
                               "oheogulch", *more])
        said.append(capsys.readouterr().out.split("\ndescription")[0].rstrip())
    assert said[0] == said[1] and "per sample" in said[0]


SLAYER_TOML = """
name = "{name}"
[[layers]]
name = "layer.0"
kind = "input"
shape = [{first}, 32, {last}]
[[layers]]
name = "layer.1"
kind = "conv"
channels = 16
kernel = [3, 5]
stride = [2, 1]
padding = [1, 0]
weight_bits = [{bits[0]}]
[[layers]]
name = "layer.3"
kind = "dense"
shape = [10]
weight_bits = [{bits[1]}]
"""


def test_maps_of_slayer_are_costed_as_channel_y_x(tmp_path, capsys):
    """A network by SLAYER's own export costs what its description, typed here, does; read as
    32 x 32 x 3 the same input would be other cores."""
    path, shown, cores = tmp_path / "slayer.net", [], []
    bits = [_bits(weight) for weight in write_rgb_network(path)]
    for name, first, last in (("right.toml", 3, 32), ("reversed.toml", 32, 3)):
        text = SLAYER_TOML.format(name=path.name, first=first, last=last, bits=bits)
        if name == "reversed.toml":
            text = text.replace("[3, 5]", "[3, 3]")  # five columns do not fit into three
        (tmp_path / name).write_text(text)
    capsys.readouterr()  # what SLAYER says as it is imported
    for network in (path, tmp_path / "right.toml", tmp_path / "reversed.toml"):
        assert energy_report_command(["--fit", str(network), "--rate", "0.1", "--timesteps", "32",
                                      "--hw", "oheogulch", "--compiler", "2023-01",
                                      "--convolutions", "shared"]) == 0
        shown.append(capsys.readouterr().out)
        placed = fit(read_network(network, "generate", "2023-01"), load_board("oheogulch"))
        cores.append([len(layer.cores) for layer in placed.layers])
    assert shown[0] == shown[1] and "per sample" in shown[0]
    assert cores[0] == cores[1] and (cores[0][1], cores[2][1]) == (4, 1)


def _bits(weight: np.ndarray) -> int:
    """Of two's complement that holds every weight once common factors of 2 are out."""
    while not (weight % 2).any():
        weight = weight // 2
    return next(b for b in range(1, 10) if -2**(b - 1) <= weight.min() <= weight.max() < 2**(b - 1))
