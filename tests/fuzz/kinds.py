"""Kinds of files that commands read: where one lies, what reads it, how it is damaged.

What reads it is the command itself, up to what would take long: a model.pt goes through export-netx
up to the proof on Lava, a configuration through train-fsvae up to the first step.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import pkgutil
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from conftest import make_gated_net, make_net, make_poisson_net, make_rate_net
from PIL import Image

import export
import hw_configs
import lava_models
import train
from export.translate import default_random_bits, seen_images, translate
from fuzz import damage
from hw_configs import load_chip
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.nir import import_command
from lava_models.commands.run_lava import run_lava_command
from lava_models.commands.test_images import load_images
from lava_models.net.hdf5 import content_sha256, read_net, write_net
from lava_models.net.netx import read_netx
from lava_models.net.netx_write import write_netx
from lava_models.net.nir_export import write_nir
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference
from train import data
from train.checkpoint import load_model
from train.cli import parse, train_command
from train.config import RunConfig, validate
from train.models.build import build_model, check_size
from train.settings import to_dict

NETS = {"model": make_net, "rate": make_rate_net, "poisson": make_poisson_net,
        "gated": make_gated_net}


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    files: tuple[str, ...]
    """In the base folder; a trial damages one of them."""
    command: Callable[[str], int | None]
    """Reads the file of that name in the working folder."""
    ways: tuple[damage.Damage, ...]
    """Of damage, beside bytes and what stands in the file's place."""
    checksum: bool = False
    """Whether a changed byte may never be another value."""
    after: Callable[[Path, random.Random], None] = lambda folder, draw: None
    """What else a forger would do."""


def _hash(*values) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _run_net(name: str) -> int:
    """As run-lava, with the reference in Lava's place; and as energy-report --fit."""
    net = read_net(Path(name))
    mode = net.modes[-1]
    if mode == "generate":
        print(_hash(Reference(net, mode).run_samples(ChipBits.of(net, mode, 0), 0, 1).voltage))
    energy_report_command(["--fit", name, "--mode", mode])
    return 0


def _export(name: str) -> int:
    """As export-netx, up to the proof."""
    model, config, _ = load_model(Path(name))
    made = translate(model, load_chip(), random_bits=default_random_bits(config.model),
                     images=seen_images(config), provenance={})
    write_net(made.net, Path("out.net"))
    print(_hash(*(layer.weight for _, layer in made.net.named_layers())))
    return 0


def _resume(name: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()):  # which says how far it is every few seconds
        train_command(["--run-dir", name.split("/")[0], "--resume", "--epochs", "2"])
    state = torch.load(name, weights_only=True)
    print("weights", _hash(*(v.numpy() for v in state["model"].values())))
    return 0


def _settings(name: str) -> int:
    config = parse(["--config", name]).run
    validate(config)
    check_size(config.model)
    build_model(config.model, torch.Generator().manual_seed(0))
    print(to_dict(config))
    return 0


def _folder(name: str) -> int:
    folder = Path(name).parent
    config = RunConfig(dataset="folder", data_dir=folder)
    print(_hash(data.load_images(config, "train").numpy(), data.load_images(config, "test").numpy(),
                load_images("folder", folder, 1, (1, 8, 8))))
    return 0


def _mnist(name: str) -> int:
    config = RunConfig(dataset="mnist", data_dir=Path("."))
    print(_hash(data.load_images(config, "train").numpy(),
                load_images("mnist", Path("."), 5, (1, 8, 8))))
    return 0


def _netx(name: str) -> int:
    energy_report_command(["--fit", "network.net", "--rate", "0.1"])
    return run_lava_command(["network.net", "--input", "input.npy", "--graph", "reference",
                             "--steps", "6", "--out", "out", "--force"])


def _nir(name: str) -> int:
    code = import_command([name, "--out", "out.net"])
    energy_report_command(["--fit", "out.net"])
    return code


def _report(name: str) -> int:
    """check, compare, another board, pages: whichever refuses first."""
    if energy_report_command(["check", "generate"]):
        print("found by check")
    energy_report_command(["generate", "--compare", "other/report.json", "--different"])
    energy_report_command(["generate", "--hw", "kapohopoint"])
    return energy_report_command(["generate"])


def _sign(folder: Path, draw: random.Random) -> None:
    """Write the hashes of changed files into the report, as a forger would."""
    report = folder / "generate" / "report" / "report.json"
    if draw.random() < 0.3 or not report.is_file():
        return
    record = json.loads(report.read_text())
    for name in ("counts.npz", "images.npy"):
        file = folder / "generate" / name
        if file.is_file() and not file.is_symlink() and file.stat().st_size < 2**30:
            said = hashlib.sha256(file.read_bytes()).hexdigest()
            if name == "counts.npz":
                record["inputs"]["counts_sha256"] = said
            else:
                record["outputs"][name] = said
    report.write_text(json.dumps(record, indent=1))


def _sign_net(folder: Path, draw: random.Random) -> None:
    """Give a changed model.net the hash of what it says now."""
    import h5py

    from lava_models.net import hdf5
    from lava_models.net.fields import Reader, attribute

    if draw.random() < 0.2:
        return
    for file in folder.glob("*.net"):
        try:
            with h5py.File(file, "r+") as opened:
                if "sha256" in opened.attrs:
                    values = hdf5._read(Reader(opened, ""))
                    values.pop(attribute("sha256"), None)
                    opened.attrs["sha256"] = np.bytes_(content_sha256(values))
        except Exception:  # whatever it is now, it is not signed
            continue


def _fit(*options: str) -> Callable[[str], int]:
    return lambda name: energy_report_command(
        ["--rate", "0.1", *(word.replace("FILE", name) for word in options)])


KINDS = {
    "model.net": Kind(tuple(f"{n}.net" for n in NETS), _run_net, (damage.hdf5_values,) * 3, True,
                      _sign_net),
    "model.pt": Kind(("run/model.pt", "esvae/model.pt"), _export,
                     (damage.torch_values,) * 3 + (damage.torch_archive,), True),
    "last.pt (--resume)": Kind(("run/checkpoints/last.pt",), _resume,
                               (damage.torch_values,) * 3 + (damage.torch_archive,), True),
    "prior.pt": Kind(("esvae/prior.pt",), lambda name: _export("esvae/model.pt"),
                     (damage.torch_values, damage.torch_archive), True),
    "config, preset (TOML)": Kind(("config.toml", "mnist.toml"), _settings,
                                  (damage.toml_values,) * 3),
    "hardware (TOML, --hw)": Kind(("board.toml", "chip.toml"), lambda name: _fit(
        "--fit", "mlp.toml", "--hw", "board.toml")(name), (damage.toml_values,) * 3),
    "constants (TOML)": Kind(("constants.toml",), _fit("--fit", "mlp.toml", "--constants", "FILE"),
                             (damage.toml_values,) * 3),
    "description (TOML, --fit)": Kind(("mlp.toml", "net.toml", "pilot.toml"),
                                      _fit("--fit", "FILE"), (damage.toml_values,) * 3),
    "report.json": Kind(("generate/report/report.json",), _report, (damage.json_values,) * 3, True),
    "counts.npz": Kind(("generate/counts.npz",), _report, (damage.npz_values,) * 3, True, _sign),
    "images.npy": Kind(("generate/images.npy",), _report, (damage.npy_values,) * 3, True, _sign),
    "folder of images": Kind(("pictures/03.png", "pictures/09.png", "pictures/05.jpg"), _folder,
                             (damage.picture_values,) * 2),
    "IDX files of MNIST": Kind(tuple(f"MNIST/raw/{name}" for name in (
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte")), _mnist, (damage.idx_values,) * 2),
    "NetX file": Kind(("network.net",), _netx, (damage.hdf5_values,) * 3),
    "NetX input (.npy)": Kind(("input.npy",), _netx, (damage.npy_values,) * 2),
    "NIR file": Kind(("network.nir",), _nir, (damage.hdf5_values,) * 3),
}


# --- the files before anything happens to them ------------------------------------------------


def import_all() -> None:
    """What commands import when they run, so that no trial has to."""
    for name in ("torch.utils.tensorboard", "jsonschema", "jinja2", "rich.progress", "psutil"):
        importlib.import_module(name)
    for package in (export, hw_configs, lava_models, train):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "triton" not in module.name and "adapters" not in module.name:
                importlib.import_module(module.name)


def make_base(folder: Path) -> None:
    """Write a sound file of every kind; forks, as what trains cannot fork well after it."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.chdir(folder)
            _make()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the files could not be made")


def _make() -> None:
    for name, make in NETS.items():
        write_net(make(), Path(f"{name}.net"))
    small = ["--dataset", "digits", "--epochs", "1", "--limit-batches", "1", "--batch-size", "16",
             "--hidden", "4", "8", "--latent", "4", "--ticks", "2", "--device", "cpu",
             "--image-size", "8", "--seed", "3"]
    train_command([*small, "--run-dir", "run", "--k", "2", "--bottleneck", "8", "8"])
    train_command([*small, "--model", "esvae", "--run-dir", "esvae"])
    from train.fit_prior import fit_prior_command

    fit_prior_command(["esvae/model.pt", "--groups", "2", "--steps", "5"])
    shutil.copy("run/config.toml", "config.toml")
    Path("mnist.toml").write_text((resources.files("train") / "presets" / "mnist.toml").read_text())
    described = resources.files("hw_configs")
    Path("chip.toml").write_text((described / "chips" / "loihi2.toml").read_text())
    board = (described / "boards" / "oheogulch.toml").read_text()
    Path("board.toml").write_text(board.replace('chip = "loihi2"', 'chip = "chip.toml"'))
    Path("constants.toml").write_text(
        (described / "energy" / "loihi1-davies2018.toml").read_text())
    for name, source in (("mlp", "mnist-mlp"), ("pilot", "pilotnet-lif")):
        Path(f"{name}.toml").write_text(
            (described / "networks" / f"{source}.toml").read_text())
    energy_report_command(["--fit", "model.net", "--describe", "net.toml"])
    run_lava_command(["model.net", "--samples", "2"])
    shutil.copytree("generate/report", "other")
    _make_images()
    _make_netx()


def _make_images() -> None:
    rng = np.random.default_rng(0)
    for name, count in (("train", 6), ("t10k", 5)):
        raw = Path("MNIST/raw")
        raw.mkdir(parents=True, exist_ok=True)
        header = np.array([0x803, count, 28, 28], ">i4").tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            header + rng.bytes(count * 28 * 28))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            np.array([0x801, count], ">i4").tobytes() + bytes(count))
    Path("pictures").mkdir()
    for i in range(10):
        picture = Image.fromarray(rng.integers(0, 256, (12, 10, 3)).astype(np.uint8))
        picture.save(f"pictures/{i:02}.{'jpg' if i == 5 else 'png'}")


def _make_netx() -> None:
    rng = np.random.default_rng(0)

    def cuba(threshold: int = 30) -> dict:
        return {"type": b"CUBA", "iDecay": 4096, "vDecay": 400, "vThMant": threshold, "refDelay": 1,
                "gradedSpike": False}

    write_netx([
        {"type": "input", "shape": (1, 6, 6)},
        {"type": "conv", "shape": (2, 3, 3), "weight": 2 * rng.integers(-9, 10, (2, 1, 3, 3)),
         "bias": np.array([4, 6]), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1),
         "groups": 1, "neuron": cuba()},
        {"type": "flatten", "shape": (18, 1, 1)},
        {"type": "dense", "shape": (5,), "weight": 2 * rng.integers(-20, 30, (5, 18)),
         "bias": np.arange(5), "neuron": cuba(50)}], Path("network.net"))
    write_nir(read_netx(Path("network.net")), Path("network.nir"))
    np.save("input.npy", rng.integers(0, 2, (6, 6, 1, 6)))
