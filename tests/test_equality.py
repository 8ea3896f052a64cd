"""A few of `make equality`'s random networks; all kinds come, stock graphs among them."""

from __future__ import annotations

import random

import pytest
from equality import equality, random_net

from lava_models.net.hdf5 import write_net


def test_networks_are_of_all_kinds_and_fit_the_registers(tmp_path):
    kinds = set()
    for i in range(60):
        kind, net = random_net(random.Random(i))
        kinds.add(kind)
        write_net(net, tmp_path / "model.net")  # which checks nothing: they are checked as made
    assert kinds == {"one of k", "gated", "rate", "rate without prior", "Poisson"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_value_differs():
    tally = equality(seed=1, seconds=10**6, most=7)
    assert not tally.differing, "\n".join(tally.differing)
    assert tally.values["fused"] > 10**6 and tally.values["stock"] and tally.spikes > 10**4
