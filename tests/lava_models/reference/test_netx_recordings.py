"""The reference against the recordings that Intel ships in lava-dl's wheel: zero differences.

Layer by layer, at every recorded timestep; nothing here was made by this project.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from lava_models.net.netx import NetxOptions, read_netx
from lava_models.reference.netx_reference import Drive, NetxReference

WHEEL = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
NETX = WHEEL / "tests/lava/lib/dl/netx"
RECORDED = NETX / "gts"
REFRACTORY = 1 << 7
"""A refractory count of 1, as the chip keeps it."""


def load(name: str) -> np.ndarray:
    return np.load(RECORDED / name)


def rows(values: np.ndarray) -> np.ndarray:
    """(x, y, channel, T) or (n, T), as Lava has it, to (T, 1, n) in the order of the file."""
    axes = range(values.ndim)[::-1]
    return values.transpose(axes).reshape(values.shape[-1], 1, -1)


def run(path: Path, drive: Drive, steps: int, states: bool = True, **options):
    net = read_netx(path, NetxOptions(**options))
    names = [layer.name for layer in net.layers] if states else ()
    return NetxReference(net).run(drive, steps, states=names)


@pytest.fixture(scope="module")
def pilotnet_lif():
    """Image as the input neurons' bias, reset every 16 timesteps, as the recording was made."""
    image = load("pilotnet_lif/image.npy").transpose(2, 1, 0).reshape(1, -1)
    return run(RECORDED / "pilotnet_lif/network.net", Drive(bias=image), 24, reset_interval=16)


def test_pilotnet_lif_input(pilotnet_lif):
    assert np.array_equal(pilotnet_lif.sent["layer.0"], rows(load("pilotnet_lif/input-s.npy")) != 0)


@pytest.mark.parametrize(("i", "layer", "recorded"), [
    *((i, i + 1, f"conv-{i}") for i in range(5)), *((i + 5, i + 7, f"fc-{i}") for i in range(3))])
def test_pilotnet_lif(pilotnet_lif, i, layer, recorded):
    """Spikes, u and v, unshifted, in timesteps 1 to 17 + i: after that the recording ends.

    In the timestep of a spike the chip's register of v holds the refractory count instead.
    """
    steps, name = 17 + i, f"layer.{layer}"
    spikes, u, v = (rows(load(f"pilotnet_lif/{recorded}{of}.npy"))[:steps]
                    for of in ("", "-u", "-v"))
    assert spikes.any() and np.array_equal(pilotnet_lif.sent[name][:steps], spikes)
    assert np.array_equal(pilotnet_lif.states[f"{name}.u"][:steps], u)
    mine = pilotnet_lif.states[f"{name}.v"][:steps]
    assert np.array_equal(np.where(spikes, REFRACTORY, mine), v) and not mine[spikes].any()


def test_pilotnet_lif_without_its_input_layer(pilotnet_lif):
    """The recorded spikes into the first convolution, as one of Intel's own tests feeds it."""
    fed = run(RECORDED / "pilotnet_lif/network.net",
              Drive(sent=rows(load("pilotnet_lif/input-s.npy")) != 0), 16,
              num_layers=5, skip_layers=1, reset_interval=16, reset_offset=1)
    for i in range(4):
        u = rows(load(f"pilotnet_lif/conv-{i}-u.npy"))
        assert np.array_equal(fed.states[f"layer.{i + 1}.u"], u[:16])


def test_pilotnet_sdnn():
    result = run(RECORDED / "pilotnet_sdnn/network.net",
                 Drive(sent=rows(load("pilotnet_sdnn/input.npy"))), 9)
    assert np.array_equal(result.sent["layer.9"], rows(load("pilotnet_sdnn/output.npy")))


@pytest.mark.parametrize(("file", "columns", "recorded"), [
    ("network.net", 100, ("sigma1", "sigma2")),
    ("square_network.net", 33, ("sigma1_square", "sigma2_square", "sigma3_square",
                                "sigma4_square"))])
def test_pilotnet_sdnn_layers(file, columns, recorded):
    """Graded messages into the first convolution; the sums that each layer has added up."""
    sent = rows(load("pilotnet_sdnn/act0.npy")[:columns]).astype(int)
    result = run(RECORDED / f"pilotnet_sdnn/{file}", Drive(sent=sent), 20, skip_layers=1)
    for i, name in enumerate(recorded, start=1):
        sums = rows(load(f"pilotnet_sdnn/{name}.npy"))
        assert sums.any() and np.array_equal(result.states[f"layer.{i}.sigma"], sums), name


def test_tiny():
    """Two convolutions behind input neurons: every layer's spikes, and the first one's current."""
    def of(name: str) -> np.ndarray:
        return rows(load(f"tinynet/{name}.npy")[0].transpose(2, 1, 0, 3))[1:]

    bias = load("tinynet/input_bias.npy").transpose(2, 1, 0).reshape(1, -1).astype(int)
    result = run(NETX / "tiny.net", Drive(bias=bias), 17, reset_interval=17)
    for i, name in enumerate(("input", "layer1", "output")):
        assert np.array_equal(result.sent[f"layer.{i}"][i:i + 15], of(name)), name
    assert np.array_equal(result.states["layer.1.u"][1:16], 64 * of("current"))


def test_dense(tmp_path, netx_writer):
    path = netx_writer(tmp_path / "dense.net", [
        {"type": "dense", "shape": [256], "weight": load("dense/weight.npy"),
         "neuron": {"type": "CUBA", "iDecay": 4096, "vDecay": 415, "vThMant": 6}}])
    result = run(path, Drive(sent=rows(load("dense/in.npy")) != 0), 2000)
    recorded = rows(load("dense/out.npy"))
    assert recorded.any() and np.array_equal(result.sent["layer.0"], recorded != 0)
    assert np.array_equal(result.states["layer.0.u"], 64 * rows(load("dense/current.npy")))


def test_ntidigits():
    """Axonal delays and currents that decay; the recording counts from 0 where Lava does from 1."""
    result = run(RECORDED / "ntidigits/ntidigits.net",
                 Drive(sent=rows(load("ntidigits/input.npy")) != 0), 2999, states=False,
                 num_layers=5)
    recorded = rows(load("ntidigits/output.npy")) != 0
    assert recorded.any() and np.array_equal(result.sent["layer.4"], recorded[1:])
