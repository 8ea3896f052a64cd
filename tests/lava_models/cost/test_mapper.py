"""The mapper: published compiler tables, and what holds for every partition."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hw_configs import load_board, names
from hw_configs.files import UserError
from lava_models.cost.describe import describe, read_description, to_toml
from lava_models.cost.description import LayerDescription, Network
from lava_models.cost.energy import _by_core, _convolution_reach
from lava_models.cost.estimates import load_hardware, place
from lava_models.cost.mapper import fit, other_form, published_differences
from lava_models.cost.validation import published_networks

BOARD = load_board("oheogulch")


def _network(*layers: LayerDescription) -> Network:
    return Network("test", (LayerDescription("in", "input", (64,), on_chip=False), *layers))


# --- published tables -------------------------------------------------------------------------

KNOWN_DIFFERENCES = {
    "MNIST 784-128-64-10": [
        "fc1: Neurons 42, published 50 (-16.0%)", "fc1: Synapses 10976, published 12544 (-12.5%)",
        "fc1: AxonMap 42, published 50 (-16.0%)"],
    "Oxford 200-256-200": [
        "fc1: Neurons 128, published 85 (+50.6%)", "fc1: Synapses 8200, published 5400 (+51.9%)",
        "fc1: AxonMap 128, published 85 (+50.6%)", "fc1: cores 2, published 3 (-33.3%)",
        "fc2: Synapses 8192, published 8064 (+1.6%)", "cores in all 4, published 5"],
    "PilotNet-LIF": [f"{name}: AxonMem {words}, not modelled" for name, words in (
        ("input", 731), ("conv1", 93), ("conv2", 32), ("conv3", 46), ("conv4", 9))],
}


@pytest.mark.parametrize("mapped", published_networks().values(), ids=published_networks())
def test_published_tables(mapped):
    """Every number of the compilers' tables but the differences that are listed here."""
    tables = [layer for layer in mapped.network.layers if layer.published]
    assert tables and mapped.network.source
    assert published_differences(mapped) == KNOWN_DIFFERENCES.get(mapped.network.name, [])


def test_pilotnet_takes_74_cores():
    assert published_networks()["pilotnet-lif"].cores == 74


def test_differences_are_seen():
    mapped = published_networks()["pilotnet-lif"]
    wrong = dataclasses.replace(mapped.network.layers[1], published={"synapses": 90, "cores": 25})
    changed = dataclasses.replace(mapped, network=dataclasses.replace(
        mapped.network, layers=(mapped.network.layers[0], wrong, *mapped.network.layers[2:])))
    assert "conv1: Synapses 81, published 90 (-10.0%)" in published_differences(changed)


# --- what holds for all -----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["shared", "unrolled"])
@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
def test_partition_is_whole_and_within_limits(net_factory, mode, form):
    network = describe(net_factory(), mode, form)
    mapped = fit(network, BOARD)
    for layer in mapped.layers:
        assert sum(core.neurons for core in layer.cores) == network.neurons(layer.name)
        held = np.bincount(layer.core_of, minlength=len(layer.cores))
        assert held.tolist() == [core.neurons for core in layer.cores]
        for used, limit in layer.use.values():
            assert limit is None or used <= limit
    assert mapped.cores == sum(len(layer.cores) for layer in mapped.layers)


def test_splits_cover_large_layers():
    """A map too high for one column, kernels too many for one core, rows too many for one."""
    network = Network("large", (
        LayerDescription("in", "input", (64, 64, 64), on_chip=False),
        LayerDescription("tall", "conv", channels=96, padding=(1, 1), clocked=True),
        LayerDescription("many", "conv", channels=512, stride=(2, 2), padding=(1, 1)),
        LayerDescription("up", "convT", channels=64, stride=(2, 2), padding=(1, 1),
                         output_padding=1)))
    mapped = fit(network, BOARD)
    for layer in mapped.layers:
        assert len(layer.cores) > 1
        held = np.bincount(layer.core_of, minlength=len(layer.cores))
        assert held.tolist() == [core.neurons for core in layer.cores]
    assert mapped.network.shape("up") == (64, 64, 64)


def test_dense_words_by_hand():
    mapped = fit(_network(LayerDescription("a", "dense", (100,), weight_bits=(3,))), BOARD)
    core, = mapped.layers[0].cores
    # 100 targets of 3 + 12 bits and a header of 10: 1,510 bits, 24 words, for each of 64 axons
    assert (core.synapses, core.axon_in, core.axon_map, core.total) == (24 * 64, 64, 100,
                                                                      24 * 64 + 64 + 200 + 1)
    seven = fit(_network(LayerDescription("a", "dense", (100,), weight_bits=(7,))), BOARD)
    eight = fit(_network(LayerDescription("a", "dense", (100,), weight_bits=(8,))), BOARD)
    assert seven.layers[0].cores == eight.layers[0].cores


def test_impossible_layer_is_refused_by_name():
    network = Network("wide", (LayerDescription("in", "input", (20000,), on_chip=False),
                               LayerDescription("out", "dense", (10,))))
    with pytest.raises(UserError, match="wide: out: does not fit: the smallest part takes 2.0 "
                                        "times what a core has of Total"):
        fit(network, BOARD)


def test_reach_of_a_convolution(net_factory):
    """Counted per tap and from the unrolled matrix: the same, in both forms, for conv and convT."""
    for form in ("shared", "unrolled"):
        network = describe(net_factory(), "reconstruct", form)
        mapped = {layer.name: layer for layer in fit(network, BOARD).layers}
        for layer in network.layers:
            if layer.kind in ("conv", "convT"):
                matrix = network._unrolled(layer)
                assert np.array_equal(_convolution_reach(network, layer, mapped[layer.name]),
                                      _by_core(matrix, mapped[layer.name]))


def test_reach_of_a_grouped_dilated_convolution():
    network = Network("grouped", (
        LayerDescription("in", "input", (4, 9, 11), on_chip=False),
        LayerDescription("conv", "conv", channels=6, kernel=(3, 2), stride=(1, 2), padding=(1, 0),
                         dilation=(2, 3), groups=2)))
    mapped, layer = fit(network, BOARD).layers[0], network.layers[1]
    assert network.shape("conv") == (6, 7, 4)
    assert np.array_equal(_convolution_reach(network, layer, mapped),
                          _by_core(network._unrolled(layer), mapped))
    # A list per tap and input channel: 2 groups of 3 channels each on the core.
    assert mapped.cores[0].synapses == 2 * 6 * 2 * math.ceil((3 * 8 + 72) / 64)


def test_smallest_board_and_better_form(net_factory):
    from lava_models.net.hdf5 import read_net
    from lava_models.net.pretrained import PRETRAINED

    network = describe(read_net(PRETRAINED), "reconstruct")
    best, other, form = place(network, load_hardware())
    assert (form, best.board.name, best.fits) == ("shared", "Kapoho Point", True)
    assert best.cores < other.cores
    assert place(network, load_hardware("oheogulch"))[0].fits is False
    assert place(network, load_hardware(form="unrolled"))[2] == "unrolled"
    assert place(describe(net_factory(), "generate"), load_hardware())[0].board.name == "Oheo Gulch"


# --- descriptions -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reconstruct", "generate"])
def test_description_gives_the_same_answer_as_the_file(net_factory, tmp_path, mode):
    network = describe(net_factory(lag=2), mode)
    path = tmp_path / "net.toml"
    path.write_text(to_toml(network))
    again = read_description(path)
    assert again == network
    for form in ("shared", "unrolled"):
        first, second = (fit(other_form(n, form), BOARD) for n in (network, again))
        assert [layer.cores for layer in first.layers] == [layer.cores for layer in second.layers]


@pytest.mark.parametrize("name", names("networks"))
def test_shipped_descriptions(name):
    from importlib import resources
    from pathlib import Path

    path = Path(str(resources.files("hw_configs") / "networks" / f"{name}.toml"))
    assert place(read_description(path), load_hardware("halapoint"))[0].fits


def test_transposed_convolution_without_shared_form():
    network = Network("odd", (
        LayerDescription("in", "input", (4, 5, 5), on_chip=False),
        LayerDescription("up", "convT", channels=3, stride=(2, 2), padding=(1, 1))))
    assert network.shape("up") == (3, 9, 9)
    with pytest.raises(UserError, match="odd: up: .* has no shared-weight form.*unrolled"):
        fit(network, BOARD)
    assert place(network, load_hardware())[1:] == (None, "unrolled")


def test_json_must_be_a_table(tmp_path):
    (tmp_path / "net.json").write_text("[]")
    with pytest.raises(UserError, match="net.json: expected a table with name and layers"):
        read_description(tmp_path / "net.json")


def test_shipped_description_is_the_shipped_network():
    from importlib import resources

    from lava_models.net.hdf5 import read_net
    from lava_models.net.pretrained import PRETRAINED

    shipped = resources.files("hw_configs") / "networks" / "fsvae-mnist.toml"
    network = describe(read_net(PRETRAINED), "reconstruct", "shared", "FSVAE, MNIST")
    assert shipped.read_text("utf-8") == to_toml(network)


IN = 'name = "n"\n[[layers]]\nname = "in"\nkind = "input"\nshape = [8]\non_chip = false\n'


@pytest.mark.parametrize(("text", "message"), [
    ("name = ", "not a readable description"),
    (IN + 'colour = "red"', "layers[0]: colour: unknown key"),
    (IN + '[[layers]]\nname = "in"\nkind = "dense"\nshape = [2]', "in: occurs twice"),
    (IN + '[[layers]]\nname = "a"\nkind = "lstm"\nshape = [2]', "a: kind 'lstm', known are input"),
    (IN + '[[layers]]\nname = "a"\nkind = "dense"', "a: shape [], expected"),
    (IN + '[[layers]]\nname = "a"\nkind = "dense"\nshape = [2]\nweight_bits = [9]',
     "a: weight_bits [9], expected 1 to 8"),
    (IN + '[[layers]]\nname = "a"\nkind = "dense"\nshape = [2]\nsources = ["b"]',
     "a: source 'b' is no layer of the file"),
    (IN + '[[layers]]\nname = "a"\nkind = "dense"\nshape = [2]\nplastic = [true, true]',
     "a: plastic has 2 entries, expected 1 or one per source (1)"),
    (IN + '[[layers]]\nname = "a"\nkind = "conv"\nchannels = 2',
     "a: expected an earlier source of shape [C, H, W]"),
    (IN + '[[layers]]\nname = "a"\nkind = "dense"\nshape = [2]\nform = "round"',
     "a: form 'round', known are shared, unrolled"),
    ('name = "n"\nlayers = []', "no layers"),
    (IN + '[[layers]]\nname = "a"\nkind = "selection"\nlatent = 2\nk = 5\nrandom_bits = 8',
     "a: expected an earlier first source of latent x k = 10 neurons"),
    (IN + '[[layers]]\nname = "a"\nkind = "random_bits"\nlatent = 2\nrandom_bits = 8',
     "a: populations of random bits are called random_bits.cells"),
])
def test_wrong_descriptions(tmp_path, text, message):
    path = tmp_path / "net.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_description(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value)
    assert "\n" not in str(error.value)
