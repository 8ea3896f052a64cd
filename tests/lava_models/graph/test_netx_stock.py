"""The reference against lava.lib.dl.netx.hdf5.Network itself, over random networks that SLAYER's
own export_hdf5 wrote."""

from __future__ import annotations

import numpy as np
import pytest
from slayer_networks import FAMILIES, STEPS, random_network

from lava_models.graph.netx_stock import run_stock
from lava_models.net.netx import NetxOptions, read_netx
from lava_models.reference.netx_reference import Drive, NetxReference


def drive_for(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Drive:
    """A random input of a network that takes spikes, a bias or what a Delta gets."""
    size = int(np.prod(shape))
    if kind == "bias":
        return Drive(bias=rng.integers(-20, 90, (1, size)))
    if kind == "delta":
        return Drive(sent=np.cumsum(rng.integers(-6, 7, (STEPS, 1, size)), axis=0))
    return Drive(sent=rng.random((STEPS, 1, size)) < 0.3)


def check(family: str, seed: int, path) -> int:
    """Compare every message of every layer; how many there were."""
    kind, shape = random_network(family, seed, path)
    rng = np.random.default_rng(seed)
    options = {}
    if rng.integers(2) and not family.startswith("sdnn"):
        options = {"reset_interval": int(rng.integers(5, 11)), "reset_offset": int(
            rng.integers(0, 3))}
    if kind == "delta":
        options = {"spike_exp": int(rng.choice([6, 4, 0]))}
    net = read_netx(path, NetxOptions(**options))
    drive = drive_for(kind, shape, rng)
    mine = NetxReference(net).run(drive, STEPS).sent
    stock = run_stock(path, net, drive, STEPS).sent
    assert mine.keys() == stock.keys()
    for name in mine:
        wrong = np.argwhere(mine[name] != stock[name])
        assert not len(wrong), f"{family}, seed {seed}, {options}: {name} at {wrong[0]}"
    return sum(int(np.count_nonzero(sent)) for sent in mine.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_slayer_run_as_stock_netx_runs_them(family, tmp_path):
    assert check(family, 1, tmp_path / "random.net") > 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 14))
@pytest.mark.parametrize("family", FAMILIES)
def test_more_networks_of_slayer(family, seed, tmp_path):
    check(family, seed, tmp_path / "random.net")
