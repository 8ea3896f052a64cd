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
from lava_models.cost.estimates import load_hardware, place, place_described
from lava_models.cost.mapper import fit, other_form, published_differences
from lava_models.cost.reach import convolution_reach, convolution_synapses
from lava_models.cost.validation import published_networks

BOARD = load_board("oheogulch")


def _network(*layers: LayerDescription) -> Network:
    return Network("test", (LayerDescription("in", "input", (64,), on_chip=False), *layers))


# --- published tables -------------------------------------------------------------------------

CONVOLUTIONAL = {"pilotnet-lif": 74, "pilotnet-sdnn": 61, "yolo-kp": 1022}


@pytest.mark.parametrize("mapped", published_networks().values(), ids=published_networks())
def test_published_tables(mapped):
    """Every number of the compilers' tables."""
    tables = [layer for layer in mapped.network.layers if layer.published]
    assert tables and mapped.network.source
    assert published_differences(mapped) == []


def test_all_132_numbers_of_convolutions_and_inputs():
    """Of three networks; every column is really compared, one by one."""
    numbers = 0
    for name, cores in CONVOLUTIONAL.items():
        mapped = published_networks()[name]
        assert mapped.cores == cores == mapped.network.published_cores
        for layer in mapped.network.layers:
            if layer.kind == "dense" or not layer.published:
                continue
            for column, value in layer.published.items():
                if column == "neuron_groups":
                    continue
                wrong = dataclasses.replace(layer, published={column: value + 1})
                changed = dataclasses.replace(mapped, network=dataclasses.replace(
                    mapped.network, layers=tuple(wrong if la.name == layer.name else la
                                                 for la in mapped.network.layers)))
                seen = [d for d in published_differences(changed)
                        if d.startswith(f"{layer.name}: ")]
                assert len(seen) == 1
                numbers += 1
    assert numbers == 132


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
    # 100 targets of 3 + 12 bits and a header of 8: 1,508 bits, 24 words, for each of 64 axons
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


def _matrix(network: Network, layer: LayerDescription) -> np.ndarray:
    """Which neurons an input reaches, tap by tap in plain Python: int64 (neurons, inputs)."""
    (c, h, w), (c_in, h_in, w_in) = (network.shape(n) for n in (layer.name,
                                                                network.sources(layer)[0]))
    out = np.zeros((c, h, w, c_in, h_in, w_in), np.int64)
    for y, x, a, b in np.ndindex(*((h, w) if layer.kind == "conv" else (h_in, w_in)),
                                 *layer.kernel):
        far = (y * layer.stride[0] - layer.padding[0] + a * layer.dilation[0],
               x * layer.stride[1] - layer.padding[1] + b * layer.dilation[1])
        to, of = ((y, x), far) if layer.kind == "conv" else (far, (y, x))
        if 0 <= to[0] < h and 0 <= to[1] < w and 0 <= of[0] < h_in and 0 <= of[1] < w_in:
            for group in range(layer.groups):
                outs, ins = (slice(group * n // layer.groups, (group + 1) * n // layer.groups)
                             for n in (c, c_in))
                out[outs, to[0], to[1], ins, of[0], of[1]] += 1
    return out.reshape(c * h * w, -1)


SMALL = Network("small", (
    LayerDescription("in", "input", (3, 9, 7), on_chip=False),
    LayerDescription("a", "conv", channels=6, kernel=(3, 2), stride=(2, 1), padding=(1, 0)),
    LayerDescription("b", "convT", channels=5, stride=(2, 2), padding=(1, 1), output_padding=1),
    LayerDescription("c", "conv", channels=4, kernel=(1, 1)),
    LayerDescription("d", "conv", channels=6, kernel=(3, 2), stride=(1, 2), padding=(1, 0),
                     dilation=(2, 3), groups=2)))


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_reach_of_a_convolution(chunk):
    """Counted per tap and from the matrix, for cores that cut channels, rows and columns."""
    for layer in SMALL.layers[1:]:
        core_of = np.arange(SMALL.neurons(layer.name)) // chunk
        matrix = _matrix(SMALL, layer)
        by_core = np.stack([matrix[core_of == i].sum(axis=0) for i in range(core_of[-1] + 1)])
        channels = SMALL.shape(SMALL.sources(layer)[0])[0] // layer.groups
        mine = np.stack(list(convolution_reach(SMALL, layer, core_of, core_of[-1] + 1)))
        assert np.array_equal(np.repeat(mine, channels, 1).reshape(by_core.shape), by_core)
        assert convolution_synapses(SMALL, layer) == matrix.sum()


def test_unrolled_by_hand():
    """Words, axons and AxonMap of unrolled convolutions, from the matrix."""
    network = other_form(SMALL, "unrolled")
    for layer, placed in zip(network.layers[1:], fit(network, BOARD).layers):
        reached = _matrix(network, layer).sum(axis=0)  # all on one core
        words = -(-(reached * 20 + 8) // 64)
        core, = placed.cores
        assert (core.synapses, core.axon_in) == (words[reached > 0].sum(),
                                                 np.count_nonzero(reached))
        assert core.axon_map == core.neurons == network.neurons(layer.name)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_two_state_words_are_2047_a_core(kind):
    def cores(neurons: int) -> list[int]:
        layer = LayerDescription("a", kind, (neurons,) if kind == "dense" else (), ("in",), (1,),
                                 state_words=2, channels=1, kernel=(1, 1))
        pixels = neurons if kind == "conv" else 1
        network = Network("two", (
            LayerDescription("in", "input", (1, pixels, 1), on_chip=False), layer))
        return fit(network, BOARD).layers[0].neurons.tolist()

    assert cores(2047) == [2047]
    assert len(cores(2048)) > 1 and sum(cores(2048)) == 2048


def test_sparse_culls_zeros():
    dense = fit(_network(LayerDescription("a", "dense", (100,))), BOARD).layers[0]
    half = fit(_network(LayerDescription("a", "dense", (100,), density=0.5)), BOARD).layers[0]
    none = fit(_network(LayerDescription("a", "dense", (100,), density=0.001)), BOARD).layers[0]
    assert (dense.form, half.form) == ("dense", "sparse")
    # 100 or 50 targets of 20 bits and a header of 8, for 64 axons; at least a word
    assert [la.cores[0].synapses for la in (dense, half, none)] == [64 * 32, 64 * 16, 64]


def test_grouped_dilated_convolution_by_hand():
    """Shared kernels, a list per tap, input channel, and part and group of the channels."""
    network = Network("grouped", (
        LayerDescription("in", "input", (4, 9, 11), on_chip=False),
        LayerDescription("conv", "conv", channels=24, kernel=(3, 2), stride=(1, 2), padding=(1, 0),
                         dilation=(2, 3), groups=2)))
    assert network.shape("conv") == (24, 7, 4)
    core, = fit(network, BOARD).layers[0].cores
    # Parts of 16 and 8 channels, groups of 12: lists of 12, 4 and 8 for each of 6 taps x 2 inputs.
    assert core.synapses == 6 * 2 * sum(math.ceil((n * 8 + 8) / 64) for n in (12, 4, 8))
    assert (core.axon_in, core.neuron_groups) == (2, 2)


@pytest.mark.parametrize("groups", [4, 4096])
def test_groups_are_sent_only_to_their_cores(groups):
    """AxonMem of 4 cores of 1,024 channels each: a core sends to a quarter of the next map's."""
    network = Network("depth", (
        LayerDescription("in", "input", (1, 3, 1), on_chip=False),
        LayerDescription("a", "conv", channels=4096, kernel=(1, 1)),
        LayerDescription("b", "conv", channels=4096, kernel=(1, 1), groups=groups)))
    a, b = fit(network, BOARD).layers
    assert [core.axon_mem for core in a.cores] == [math.ceil(3 * (len(b.cores) // 4) / 4)] * 4


def test_smallest_board_and_better_form(net_factory):
    from lava_models.net.hdf5 import read_net
    from lava_models.net.pretrained import PRETRAINED

    network = describe(read_net(PRETRAINED), "reconstruct")
    best, other, form = place(network, load_hardware())
    assert (form, best.board.name, best.fits) == ("shared", "Oheo Gulch", True)
    assert best.cores < other.cores
    assert place(network, load_hardware(form="unrolled"))[0].board.name == "Kapoho Point"
    assert place(network, load_hardware("oheogulch", form="unrolled"))[0].fits is False
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
    assert place_described(read_description(path), load_hardware("halapoint")).fits


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
    ("name = ", "not valid TOML"),
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
