"""The network that comes with the package: runs without a file being named, and is what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lava_models import Reference, read_net
from lava_models.commands.run_lava import run_lava_command
from lava_models.commands.test_images import load_images
from lava_models.net.pretrained import FOLDER, NETWORKS, PRETRAINED
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import decode_images, encode_images


@pytest.fixture(scope="module")
def net():
    return read_net(PRETRAINED)


@pytest.mark.parametrize("name", NETWORKS)
def test_size_and_origin(name):
    assert NETWORKS[name].stat().st_size < 8 * 2**20
    origin = json.loads(read_net(NETWORKS[name]).provenance)
    assert origin["dataset"] == {"fashion": "fashion-mnist"}.get(name.split("-")[0], "mnist")
    assert not origin["trained"]["dirty"] and not origin["exported"]["dirty"]
    assert " /" not in origin["trained"]["command"] + origin["exported"]["command"]
    card = (FOLDER / "README.md").read_text()
    for word in ("epochs", "seed", "Retrain", "not run on hardware", f"# {name}.net"):
        assert word in card


def test_runs_when_no_file_is_named(tmp_path, capsys):
    assert run_lava_command(["--samples", "2", "--out", str(tmp_path / "out")]) == 0
    assert "equal" in capsys.readouterr().out
    images = np.load(tmp_path / "out" / "images.npy")
    assert images.shape == (2, 1, 32, 32) and images.std() > 0.2


@pytest.mark.parametrize("name", [
    "mnist", pytest.param("fashion-rate", marks=pytest.mark.slow)])
def test_runs_by_name(name, tmp_path, monkeypatch, capsys):
    """Where no file of that name lies; results go to a folder of that name."""
    monkeypatch.chdir(tmp_path)
    assert run_lava_command([name, "--samples", "2"]) == 0
    assert "equal" in capsys.readouterr().out
    images = np.load(tmp_path / "runs" / f"pretrained-{name}" / "generate" / "images.npy")
    assert images.shape == (2, 1, 32, 32) and images.std() > 0.2


@pytest.mark.parametrize(("name", "dataset", "stated"), [
    ("mnist-rate", "mnist", 0.0173), ("fashion-rate", "fashion-mnist", 0.0239)])
def test_rates_reconstruct_as_the_card_says(name, dataset, stated, shared_data):
    """On 200 test images, by the integer reference."""
    net = read_net(NETWORKS[name])
    images = load_images(dataset, shared_data, 200, net.image_shape)
    result = Reference(net, "reconstruct").run_samples(
        ChipBits.of(net, "reconstruct", 0), 0, 200, encode_images(net, images), watch=())
    error = np.mean((decode_images(net, result.voltage) - images) ** 2)
    assert error == pytest.approx(stated, rel=0.15)
    assert f"{stated:.4f}" in (FOLDER / "README.md").read_text()


def test_reconstructs_as_the_card_says(net, shared_data):
    """On 500 test digits, by the integer reference."""
    images = load_images("mnist", shared_data, 500, net.image_shape)
    bits = ChipBits.of(net, "reconstruct", 0).samples(0, 500)
    result = Reference(net, "reconstruct").run(bits, encode_images(net, images), watch=())
    error = np.mean((decode_images(net, result.voltage) - images) ** 2)
    record = json.loads(PRETRAINED.with_name("scores.json").read_text())
    stated = next(r["reconstruction"] for r in record["rows"] if r["form"] == "chip")
    assert error == pytest.approx(stated, rel=0.1)
