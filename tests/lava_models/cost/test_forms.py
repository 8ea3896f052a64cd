"""The form of every convolution, and how much memory a fit takes."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from hw_configs import load_board
from lava_models.cost.describe import read_description
from lava_models.cost.description import LayerDescription, Network
from lava_models.cost.energy import activity_at_rate, estimate
from lava_models.cost.estimates import load_hardware, place_described
from lava_models.cost.forms import _least_cores, choose_forms, form_of, with_forms
from lava_models.cost.mapper import fit, other_form

BOARD = load_board("kapohopoint")
NETWORKS = Path(str(resources.files("hw_configs") / "networks"))
THREE = Network("three", (
    LayerDescription("in", "input", (1, 32, 32), on_chip=False),
    LayerDescription("first", "conv", channels=32, stride=(2, 2), padding=(1, 1), clocked=True),
    LayerDescription("second", "conv", channels=64, stride=(2, 2), padding=(1, 1), clocked=True),
    LayerDescription("odd", "convT", channels=3, stride=(2, 2), padding=(1, 1))))


def _forms(network: Network) -> dict[str, str]:
    return {la.name: la.form for la in network.layers if la.kind in ("conv", "convT")}


def test_fewest_cores_layer_by_layer():
    """Of all forms of the layers that have two, tried one by one."""
    best = choose_forms(THREE, BOARD)
    every = [fit(with_forms(THREE, {"first": a, "second": b, "odd": "unrolled"}), BOARD).cores
             for a in ("shared", "unrolled") for b in ("shared", "unrolled")]
    assert best.cores == min(every) < max(every)
    assert _forms(best.network)["odd"] == "unrolled"  # it has no other
    assert form_of(best.network) == "mixed"


@pytest.mark.parametrize("minimise", ["time", "energy"])
def test_least_time_and_energy(minimise):
    hardware = load_hardware("kapohopoint")

    def price(on):
        e = estimate(activity_at_rate(on.network, on, 0.3, 8), on, hardware.constants[0])
        return e.total.value if minimise == "energy" else e.sample_ms.value

    least = price(place_described(THREE, hardware, minimise, 0.3, 8))
    assert least <= price(place_described(THREE, hardware))
    assert least == pytest.approx(min(
        price(fit(with_forms(THREE, {"first": a, "second": b, "odd": "unrolled"}), BOARD))
        for a in ("shared", "unrolled") for b in ("shared", "unrolled")))


def test_least_cores_is_a_lower_bound():
    mapped = {la.name: la for la in fit(other_form(THREE, "unrolled"), BOARD).layers}
    for layer in THREE.layers[1:]:
        assert 1 <= _least_cores(THREE, layer, BOARD) <= len(mapped[layer.name].cores)


def test_only_the_wanted_form_is_tried(monkeypatch):
    """Asked for shared, no synapse of an unrolled form is looked at."""
    def never(*_):
        raise AssertionError("unrolled")

    monkeypatch.setattr("lava_models.cost.matrices.reach_of_rows", never)
    yolo = read_description(NETWORKS / "yolo-kp.toml")
    assert place_described(yolo, load_hardware("vpx", form="shared")).cores == 1022
    assert place_described(yolo, load_hardware("vpx")).cores == 1022  # none could be fewer


FIT = """
import sys, tracemalloc
from pathlib import Path
from lava_models.cost.describe import read_description
from lava_models.cost.estimates import cost_at_rate, load_hardware, place_described
tracemalloc.start()
network, hardware = read_description(Path(sys.argv[1])), load_hardware("vpx")
placed = place_described(network, hardware)
cost_at_rate(placed, 0.1, 1, hardware)
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("name", ["yolo-kp", "fsvae-mnist"])
def test_memory_of_a_fit(name):
    """Cores, energy and time of 2 million neurons in less than 300 MB, numpy's arrays included."""
    ran = subprocess.run([sys.executable, "-c", FIT, str(NETWORKS / f"{name}.toml")],
                         capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 300e6


def test_a_wide_layer_needs_no_matrix():
    """256 to 512 channels at 14 x 14, 231 million synopses: more than numpy may hold here."""
    network = Network("wide", (
        LayerDescription("in", "input", (256, 14, 14), on_chip=False),
        LayerDescription("wide", "conv", channels=512, padding=(1, 1))))
    placed = place_described(network, load_hardware("vpx"))
    activity = activity_at_rate(network, placed, 1.0, 1)
    inner = 9 * 14 * 14 - 4 * 3 * 14 + 4  # taps that meet the map
    assert np.sum(activity.layers[0].synops) == 256 * 512 * inner
