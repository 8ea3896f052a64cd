"""The quantised network without spikes, and where the spiking one breaks even."""

from __future__ import annotations

import pytest

from hw_configs import load_quantised_ann
from lava_models.cost.ann import (
    AnnWork,
    activation_bits,
    ann_energy,
    break_even,
    work_of_net,
    work_of_network,
)
from lava_models.cost.baselines import break_even_text, multiply_accumulates
from lava_models.cost.description import LayerDescription, Network


@pytest.mark.parametrize(("ticks", "bits"), [(1, 1), (3, 2), (4, 3), (7, 3), (8, 4), (16, 5)])
def test_bits_hold_every_count(ticks, bits):
    assert activation_bits(ticks) == bits and ticks < 2**bits


def test_energy_by_hand():
    """1,000 multiply-accumulates of 4 by 8 bits, 100 weights, 50 activations."""
    energy = ann_energy(AnnWork(1000, 100, 50, 4), load_quantised_ann())
    least = 1000 * (0.2 * 4 / 8 + 0.1) + (100 * 8 + 2 * 50 * 4) / 64 * 100
    assert energy.value == energy.low == pytest.approx(least * 1e-12)
    assert energy.high == pytest.approx((least + 1000 * 12 / 64 * 10) * 1e-12)


def test_work_of_a_description():
    network = Network("small", (
        LayerDescription("in", "input", (2, 4, 4), on_chip=False),
        LayerDescription("a", "conv", channels=3, padding=(1, 1)),
        LayerDescription("b", "dense", (5,))))
    taps = 100  # of 3 x 3 on 4 x 4 that meet the map: (3 * 4 - 2)^2
    assert work_of_network(network, 8) == AnnWork(
        2 * 3 * taps + 48 * 5, 2 * 3 * 9 + 48 * 5, 32 + 48 + 5, 4)


def test_work_of_a_file(net_factory):
    net = net_factory()
    macs = multiply_accumulates(net, "generate")
    work = work_of_net(net, "generate", macs)
    assert work.weights == sum(la.weight.size for la in net.decoder)
    assert work.activation_bits == activation_bits(net.ticks)
    more = work_of_net(net, "reconstruct", multiply_accumulates(net, "reconstruct"))
    assert more.macs > work.macs and more.weights > work.weights
    assert more.activations > work.activations


def test_break_even():
    """Neuron updates 1, what goes with the spikes 4: even with 3 at half the spikes."""
    assert break_even(1.0, 4.0, 3.0) == 0.5
    assert break_even(1.0, 4.0, 0.5) == 0.0
    kinds = [{"name": "neurons", "value": 1.0}, {"name": "synapses", "value": 3.0},
             {"name": "messages", "value": 1.0}]
    said = break_even_text(kinds, {"value": 3.0, "low": 3.0, "high": 5.0}, 0.3)
    assert "1.7 times" in said and "0.1500 if that reuses every word" in said
    assert "0.3000 if none" in said
    assert "no rate" in break_even_text(kinds, {"value": 0.1, "low": 0.1, "high": 0.2}, 0.3)
