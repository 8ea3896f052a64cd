"""Gated neurons: the reference, the GLIF process and the file; what a chip's LIF cannot express."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lava_models import ChipBits, Dense, Glif, UserError, encode_images, read_net, write_net
from lava_models.cost.estimates import GATED, cost_of_run, energy_section, load_hardware
from lava_models.graph.compare import compare_with_reference
from lava_models.graph.lava_graph import run_graph
from lava_models.loihi.board import check_for_chip
from lava_models.loihi.proof import expect
from lava_models.net.layers import SPIKE, lif_obstacles, membrane_bound
from lava_models.net.schedule import dilate_decay
from lava_models.reference.simulator import LayerCell


def _cut(product: int) -> int:
    """/ 4096, towards zero."""
    return product // 4096 if product >= 0 else -(-product // 4096)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_reference_is_the_definition_in_plain_integers(gated_net_factory, dilation):
    layer = gated_net_factory(ticks=6).posterior[1]
    neuron, rng = layer.neuron, np.random.default_rng(2)
    cell = LayerCell(layer, dilation)
    for _ in range(2):  # twice: nothing is left of the sample before
        cell.start(1)
        v, fired = [0] * 12, [False] * 12
        total = 0
        for tick in range(6):
            x = rng.random(10) < 0.6
            a = layer.weight @ x + layer.bias
            for c in range(12):
                for _ in range(dilation):
                    v[c] = _cut(v[c] * (4096 - dilate_decay(int(neuron.decay[c]), dilation)))
                v[c] += _cut(64 * int(a[c]) * int(neuron.gain[tick, c])) - int(neuron.leak[c])
                v[c] -= int(neuron.subtract[c]) * fired[c]
                fired[c] = v[c] > neuron.threshold[c]
                if fired[c]:
                    v[c] = _cut(v[c] * (4096 - int(neuron.reset[c])))
            assert cell.step(x[:, None])[:, 0].tolist() == fired
            assert cell.v[:, 0].tolist() == v
            total += sum(fired)
        assert 10 < total < 60


@pytest.mark.parametrize(("mode", "lag"), [("reconstruct", 1), ("generate", 4)])
def test_lava_equals_the_reference_back_to_back(gated_net_factory, mode, lag):
    net = gated_net_factory(lag=lag, ticks=6, seed=lag)
    images = None
    if mode == "reconstruct":
        images = encode_images(net, np.random.default_rng(1).uniform(-1, 1, (3, 1, 8, 8)))
    bits = ChipBits.of(net, mode, 3)
    for graph, lanes in (("stock", 1), ("fused", 2)):
        run = run_graph(net, mode, bits, 3, images, graph=graph, lanes=lanes)
        verdict = compare_with_reference(run, net, mode, bits, images)
        assert verdict.equal, str(verdict)
        assert all(run.raster(name).any() for name in run.spikes)


def test_round_trip(gated_net_factory, tmp_path):
    net = gated_net_factory()
    write_net(net, tmp_path / "model.net")
    for (_, a), (_, b) in zip(net.named_layers(), read_net(tmp_path / "model.net").named_layers(),
                              strict=True):
        assert type(a.neuron) is type(b.neuron)
        for f in dataclasses.fields(a.neuron):
            assert np.array_equal(getattr(a.neuron, f.name), getattr(b.neuron, f.name))


def test_bound_holds_for_the_worst_input():
    """Weights of one sign and inputs that always come: the largest membrane there is."""
    def make(threshold: int) -> Dense:
        neuron = Glif(*(np.array([value], np.int32) for value in (400, threshold, 4096, 90, 50)),
                      np.array([[4096], [1000], [4096], [4096]], np.int32))
        return Dense(np.full((1, 5), 20, np.int32), np.array([10], np.int32), neuron)

    cell = LayerCell(make(2**23 - 1), 1)
    cell.start(1)
    for _ in range(4):
        cell.step(np.ones((5, 1), bool))
    bound = membrane_bound(make(1), SPIKE, 4)
    assert 0.5 * bound < cell.v[0, 0] <= bound


@pytest.mark.parametrize("field, value, said", [
    ("gain", np.full((4, 4), 5000, np.int32), "neuron/gain 5000...5000, expected 0 to 4096"),
    ("gain", np.zeros((3, 4), np.int32), r"neuron/gain has shape \(3, 4\), expected \(4, 4\)"),
    ("threshold", np.zeros(4, np.int32), "neuron/threshold 0...0, expected 1"),
    ("reset", np.zeros(1, np.int32), r"neuron/reset has shape \(1,\)"),
    ("leak", np.full(4, 2**22, np.int32), "the membrane reaches"),
])
def test_what_does_not_fit_is_refused(gated_net_factory, replace_layer, field, value, said):
    net = gated_net_factory()
    neuron = dataclasses.replace(net.encoder[0].neuron, **{field: value})
    with pytest.raises(UserError, match=r"encoder.0 \(conv\): .*" + said):
        dataclasses.replace(net, **replace_layer(net, "encoder", 0, neuron=neuron))


def test_a_chip_is_refused_with_the_layer_and_what_stands_in_the_way(gated_net_factory):
    with pytest.raises(UserError, match=r"encoder.0: gated .* decay per channel .*soft reset gamma "
                                        r".*v_re.*conductance c_t .*--chip-safe"):
        check_for_chip(gated_net_factory(), "generate", None)


def test_obstacles_one_at_a_time():
    lif = {"decay": np.full(3, 3000), "reset": np.full(3, 4096), "subtract": np.zeros(3),
           "gain": np.tile([4096, 2000, 3000], (4, 1))}
    assert lif_obstacles(**lif) == []  # a gain that is the same at all ticks is in the weights
    for name, value, said in (
            ("decay", np.array([3000, 3000, 3001]), "decay per channel (0.732 to 0.733)"),
            ("reset", np.array([4096, 4095, 4096]), "soft reset gamma (1.000 to 1.000)"),
            ("subtract", np.array([0, 0, 1]), "v_re"),
            ("gain", np.array([[4096, 1, 1], [4095, 1, 1]]), "conductance c_t")):
        found = lif_obstacles(**{**lif, name: value})
        assert len(found) == 1 and found[0].startswith(said)


def test_cost_gives_them_more_state_and_says_that_it_is_a_guess(gated_net_factory, net_factory):
    costs = []
    for net in (net_factory(), gated_net_factory()):
        counts = expect(net, "generate", ChipBits.of(net, "generate", 0), 0, 2, None).counts
        costs.append(cost_of_run(net, "generate", 2, counts, None, load_hardware()))
    plain, gated = costs
    assert energy_section(gated)["assumptions"][-1] == GATED
    assert GATED not in energy_section(plain)["assumptions"]
    for a, b in zip(plain.fit.layers, gated.fit.layers, strict=True):
        words = 3 if a.part in ("prior", "decoder") else 1
        assert [words * core.neurons for core in a.cores] == [core.neurons for core in b.cores]
