"""The reference against lava.lib.dl.netx.hdf5.Network itself, over random networks that SLAYER's
own export_hdf5 wrote."""

from __future__ import annotations

import numpy as np
import pytest
from slayer_networks import FAMILIES, STEPS, random_network

from lava_models.graph.netx_compare import compare_messages
from lava_models.graph.netx_graph import run_netx_graph
from lava_models.graph.netx_stock import run_stock
from lava_models.net.netx import NetxOptions, read_netx
from lava_models.reference.netx_reference import Drive, NetxReference, NetxResult


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
    mine = NetxReference(net).run(drive, STEPS, states=[net.layers[-1].name])
    stock = run_stock(path, net, drive, STEPS)
    assert mine.sent.keys() == stock.sent.keys()
    verdict = compare_messages(stock, mine, "stock NetX")
    assert not verdict.differing, f"{family}, seed {seed}, {options}: {verdict}"
    return verdict.spikes


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_slayer_run_as_stock_netx_runs_them(family, tmp_path):
    assert check(family, 1, tmp_path / "random.net") > 20


@pytest.mark.parametrize("weights", [
    [[-8, 0, -8], [-8, -8, 0]], [[300, -300, 1], [17, -2, 5]], [[255, 3, 0], [7, 1, 2]],
    [[-256, -256, -256], [-256, -256, -256]], [[-1, -3, -200], [-2, -5, -7]]])
def test_weights_at_the_edges(weights, tmp_path, netx_writer):
    """What optimize_weight_bits and Lava's Dense make of weights they do not hold."""
    path = netx_writer(tmp_path / "a.net", [{
        "type": "dense", "shape": [2], "weight": np.array(weights), "bias": np.array([4000, 250]),
        "neuron": {"type": "LOIHI", "iDecay": 900, "vDecay": 128, "vThMant": 60}}])
    net = read_netx(path)
    drive = Drive(sent=np.random.default_rng(0).random((STEPS, 1, 3)) < 0.5)
    mine, stock = NetxReference(net).run(drive, STEPS), run_stock(path, net, drive, STEPS)
    assert np.array_equal(mine.sent["layer.0"], stock.sent["layer.0"])
    assert mine.sent["layer.0"].any()


@pytest.mark.parametrize("recurrent", [False, True])
def test_graded_messages_delays_and_large_currents(recurrent, tmp_path, netx_writer):
    """Delay by synapse, weights that lose bits, currents that wrap, voltages that saturate."""
    rng = np.random.default_rng(0)
    neuron = {"type": "CUBA", "iDecay": 40, "vDecay": 3, "vThMant": 131071}
    layer = {"type": "dense", "shape": [4], "weight": rng.integers(-300, 300, (4, 4)),
             "delay": rng.integers(0, 70, (4, 4)), "neuron": neuron}
    if recurrent:
        layer |= {"type": "dense_rec", "weight_rec": rng.integers(-9, 90, (4, 4))}
    last = {"type": "dense", "shape": [3], "weight": rng.integers(-3, 90, (3, 4)),
            "neuron": neuron | {"vThMant": 20}}
    path = netx_writer(tmp_path / "a.net", [layer, last])
    net = read_netx(path, NetxOptions(input_message_bits=16))
    drive = Drive(sent=rng.integers(-90, 130, (120, 1, 4)))
    mine, stock = NetxReference(net).run(drive, 120), run_stock(path, net, drive, 120)
    assert mine.sent["layer.0"].any() and mine.sent["layer.1"].any()
    for name, sent in mine.sent.items():
        assert np.array_equal(sent, stock.sent[name]), name


def test_part_of_a_file(tmp_path):
    """num_layers, skip_layers: a later layer fed with what the ones before it would send."""
    kind, shape = random_network("sdnn_dense", 5, tmp_path / "random.net")
    net = read_netx(tmp_path / "random.net", NetxOptions(num_layers=3, skip_layers=1))
    drive = Drive(sent=np.random.default_rng(0).integers(-99, 99, (STEPS, 1, net.input_size)))
    mine = NetxReference(net).run(drive, STEPS)
    stock = run_stock(tmp_path / "random.net", net, drive, STEPS)
    assert mine.sent.keys() == stock.sent.keys() and len(mine.sent) == 2 or len(net.layers) == 1
    for name, sent in mine.sent.items():
        assert sent.any() and np.array_equal(sent, stock.sent[name]), name


@pytest.mark.parametrize("family", ["delays", "sdnn_conv"])
def test_lava_graphs_of_a_file(family, tmp_path):
    """Both graphs of our own processes, the fused one with three lanes."""
    kind, shape = random_network(family, 3, tmp_path / "random.net")
    net, rng = read_netx(tmp_path / "random.net"), np.random.default_rng(3)
    for graph, lanes in (("stock", 1), ("fused", 3)):
        one = [drive_for(kind, shape, rng) for _ in range(lanes)]
        drive = Drive(*(None if getattr(one[0], key) is None else np.concatenate(
            [getattr(d, key) for d in one], axis=axis) for key, axis in (("sent", 1),
                                                                          ("bias", 0))))
        verdict = compare_messages(run_netx_graph(net, drive, STEPS, graph=graph),
                                   NetxReference(net).run(drive, STEPS), graph)
        assert verdict.equal and verdict.spikes > 20, str(verdict)


def test_maps_into_a_dense_layer(tmp_path, netx_writer):
    """Through a flatten or not, a dense first layer gets a map in the order of its weights."""
    rng = np.random.default_rng(0)
    dense = {"type": "dense", "shape": [5], "weight": rng.integers(-20, 40, (5, 24)), "neuron": {
        "type": "CUBA", "iDecay": 1000, "vDecay": 300, "vThMant": 90}}
    for name, between in (("a.net", []), ("b.net", [{"type": "flatten", "shape": [24]}])):
        path = netx_writer(tmp_path / name, [{"type": "input", "shape": [2, 3, 4]}, *between,
                                             dense])
        net = read_netx(path)
        drive = Drive(sent=rng.random((STEPS, 1, 24)) < 0.2)
        mine = NetxReference(net).run(drive, STEPS, states=[net.layers[0].name])
        verdict = compare_messages(run_stock(path, net, drive, STEPS), mine, "stock NetX")
        assert net.input_shape == (2, 3, 4) and verdict.equal, str(verdict)


def test_the_voltage_of_a_layer_that_never_fires_is_compared(tmp_path, netx_writer):
    """NetX's neuron where a file has none: the output is its voltage."""
    path = netx_writer(tmp_path / "a.net", [{"type": "dense", "shape": [2],
                                             "weight": np.array([[9, -3], [4, 100]])}])
    net, drive = read_netx(path), Drive(sent=np.random.default_rng(0).random((9, 1, 2)) < 0.7)
    mine = NetxReference(net).run(drive, 9, states=["layer.0"])
    stock = run_stock(path, net, drive, 9)
    verdict = compare_messages(stock, mine, "stock NetX")
    assert verdict.equal and stock.states["layer.0.v"].all() and not verdict.spikes
    stock.states["layer.0.v"][0, 0, 1] += 1
    verdict = compare_messages(stock, mine, "stock NetX")
    assert not verdict.equal and "layer.0.v, neuron 1, at the end: stock NetX" in str(verdict)


def test_what_stock_netx_does_not_load_is_said(tmp_path, netx_writer):
    """Read here, but not by stock: it turns every flattened map round, and a row is none."""
    cuba = {"type": "CUBA", "iDecay": 4096, "vDecay": 0, "vThMant": 1}
    path = netx_writer(tmp_path / "a.net", [
        {"type": "input", "shape": [4], "neuron": cuba}, {"type": "flatten", "shape": [4]},
        {"type": "dense", "shape": [2], "weight": np.arange(8).reshape(2, 4), "neuron": cuba}])
    with pytest.raises(RuntimeError, match="stock NetX does not load .*a.net .TransposeShapeErr"):
        run_stock(path, read_netx(path), Drive(bias=np.ones((1, 4), int)), 3)


def test_a_difference_is_named(tmp_path, netx_writer):
    path = netx_writer(tmp_path / "a.net", [{"type": "dense", "shape": [2], "weight": np.ones(4),
                                             "neuron": {"type": "CUBA", "iDecay": 4096,
                                                        "vDecay": 0, "vThMant": 1}}])
    drive = Drive(sent=np.ones((6, 1, 2), bool))
    result = NetxReference(read_netx(path)).run(drive, 6)
    other = {"layer.0": result.sent["layer.0"].copy()}
    other["layer.0"][3, 0, 1] ^= True
    verdict = compare_messages(NetxResult(other, {}), result, "stock NetX")
    assert not verdict.equal and verdict.differing == 1
    assert "layer.0, neuron 1, timestep 4: stock NetX" in str(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 14))
@pytest.mark.parametrize("family", FAMILIES)
def test_more_networks_of_slayer(family, seed, tmp_path):
    check(family, seed, tmp_path / "random.net")
