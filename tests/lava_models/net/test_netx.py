"""Any NetX file: read as stock NetX reads it, or refused by layer, type and field."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from slayer_networks import write_resonators

from hw_configs.files import UserError
from lava_models.net.netx import NetxOptions, is_netx, read_netx
from lava_models.net.netx_input import read_input
from lava_models.net.netx_layers import (
    ConvSynapses,
    Cuba,
    Reset,
    SigmaDelta,
    bits_of,
    scaled_down,
    stock_weights,
)
from lava_models.net.netx_program import build_netx_program

CUBA = {"type": "CUBA", "iDecay": 4096, "vDecay": 128, "vThMant": 80}
INPUT = {"type": "input", "shape": [2, 9, 20]}
CONV = {"type": "conv", "shape": [6, 4, 19], "stride": [2, 1], "padding": [0, 0],
        "dilation": [1, 2], "groups": 2, "weight": np.ones((6, 1, 3, 1, 1)), "neuron": CUBA,
        "bias": np.arange(6.0)}
CONV["shape"] = [6, 4, 20]
FLATTEN = {"type": "flatten", "shape": [480]}
DENSE = {"type": "dense", "shape": [5, 1, 1], "weight": np.tile([2.0, -4.0, 6.0], (5, 160)),
         "neuron": CUBA}


def test_maps_are_channel_y_x(tmp_path, netx_writer):
    net = read_netx(netx_writer(tmp_path / "a.net", [INPUT, CONV, FLATTEN, DENSE]))
    conv, dense = net.layers
    assert net.input_shape == (2, 9, 20) and not net.enters_neurons
    assert conv.shape == (6, 4, 20) and conv.synapses.stride == (2, 1)
    assert conv.synapses.dilation == (1, 2) and conv.synapses.groups == 2
    assert conv.bias.reshape(6, -1).tolist() == [[c] * 80 for c in range(6)]
    assert dense.shape == (5,) and dense.synapses.weight.shape == (5, 480)
    assert [layer.name for layer in net.layers] == ["layer.1", "layer.3"]


def test_convolution_by_hand():
    """Fan-out and the unrolled matrix of a convolution with everything rectangular and grouped."""
    rng = np.random.default_rng(0)
    conv = ConvSynapses(rng.integers(-2, 3, (4, 2, 3, 2)).astype(np.int32), 3, (4, 7, 9), (2, 3),
                        (1, 0), (2, 3), 2)
    x = rng.integers(0, 5, conv.input_shape)
    c, h, w = conv.shape
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    wanted = np.zeros(conv.shape, int)
    for o, i, j, k, a, b in np.ndindex(c, h, w, 2, 3, 2):
        wanted[o, i, j] += conv.weight[o, k, a, b] * padded[o // 2 * 2 + k, 2 * i + 2 * a,
                                                            3 * j + 3 * b]
    matrix = conv.matrix()
    assert np.array_equal(matrix @ x.ravel(), wanted.ravel())
    assert np.array_equal(np.diff(matrix.tocsc().indptr), conv.fan_out())


def test_missing_neuron_is_netx_default(tmp_path, netx_writer):
    dense = {k: v for k, v in DENSE.items() if k != "neuron"} | {"weight": np.ones(10)}
    net = read_netx(netx_writer(tmp_path / "a.net", [dense]), NetxOptions(reset_interval=8))
    layer = net.layers[0]
    assert layer.neuron == Cuba(0, 4096, 1 << 17, Reset(8, 1))
    assert layer.synapses.weight.shape == (5, 2)  # one axis of weights is a matrix row by row


def test_resets_come_a_timestep_later_per_layer(tmp_path, netx_writer):
    path = netx_writer(tmp_path / "a.net", [INPUT | {"neuron": CUBA}, CONV, FLATTEN, DENSE])
    net = read_netx(path, NetxOptions(reset_interval=4, reset_offset=2))
    assert [layer.neuron.reset.offset for layer in net.layers] == [3, 0, 1]
    program = build_netx_program(net, 4, waves=True)
    assert [p.phase for p in program.waves] == [3, 4, 5]
    with pytest.raises(UserError, match="5 timesteps per sample, but the network resets every 4"):
        build_netx_program(net, 5, waves=True)


def test_skipped_and_left_out_layers(tmp_path, netx_writer):
    path = netx_writer(tmp_path / "a.net", [INPUT | {"neuron": {"type": "SDNN", "vThMant": 1}},
                                            CONV, FLATTEN, DENSE, {"type": "average"}])
    with pytest.raises(UserError, match=r"/layer/4 \(average\): type: .*--num-layers 4"):
        read_netx(path)
    net = read_netx(path, NetxOptions(num_layers=2, skip_layers=1))
    assert net.input_shape == (2, 9, 20) and [la.type for la in net.layers] == ["conv"]
    assert net.layers[0].synapses.graded  # what is left out would send graded messages
    assert read_netx(path, NetxOptions(num_layers=4)).layers[0].graded


def test_a_file_without_an_input_layer(tmp_path, netx_writer):
    path = netx_writer(tmp_path / "a.net", [CONV])
    with pytest.raises(UserError, match="give --input-shape X Y CHANNELS"):
        read_netx(path)
    assert read_netx(path, NetxOptions(input_shape=(20, 9, 2))).input_shape == (2, 9, 20)


@pytest.mark.parametrize(("layers", "message"), [
    ([{"type": "pool"}], r"/layer/0 \(pool\): type: 'pool'; stock NetX loads input, conv"),
    ([INPUT, CONV | {"shape": [6, 20, 4]}], r"/layer/1 \(conv\): shape: \(6, 20, 4\), but"),
    ([INPUT, CONV | {"groups": 3}], r"/layer/1 \(conv\): groups: 3 with weights"),
    ([INPUT, CONV, DENSE], r"/layer/2 \(dense\): type: gets a map of shape"),
    ([INPUT, CONV | {"neuron": CUBA | {"type": "ALIF"}}], r"neuron/type: 'ALIF'; supported"),
    ([INPUT, CONV | {"neuron": CUBA | {"iDecay": 5000}}], r"neuron/iDecay: 5000, expected 0"),
    ([INPUT, CONV | {"neuron": {"type": "CUBA"}}], r"neuron/iDecay: is missing"),
    ([INPUT, CONV | {"bias": np.ones(5)}], r"bias: has shape \(5,\), expected \(6,\)"),
    ([DENSE | {"weight": np.zeros((5, 3))}], "weight: all weights are 0"),
    ([DENSE | {"weight": np.full((5, 3), 300)}], "weight: weights 300...300 need more than 8"),
    ([DENSE | {"delay": np.ones(4)}], r"delay: has shape \(4,\), expected one per output \(5\)"),
    ([DENSE | {"weight/real": np.ones((5, 3)), "weight/imag": np.ones((5, 3))}],
     "weight/imag: complex weights"),
    ([DENSE | {"weight": np.array([[np.nan]])}], "weight: holds numbers that are not finite"),
    ([DENSE | {"neuron": {"type": "RF_PHASE"}}], r"0 \(dense\): neuron/type: 'RF_PHASE'; "),
    ([DENSE | {"neuron": CUBA | {"vDecay": 12.5}}], "neuron/vDecay: 12.5, expected a whole"),
    ([INPUT, CONV | {"stride": [1.5, 1]}], r"stride: \[1.5, 1.0\], expected whole numbers"),
    ([INPUT | {"shape": [2, 9, 0]}, CONV], r"/layer/0 \(input\): shape: \[2, 9, 0\], expected"),
    ([DENSE, DENSE], r"/layer/1 \(dense\): weight: has shape \(5, 480\), expected \(5, 5\)"),
    ([INPUT], "no layer with neurons among the 1 read"),
])
def test_what_cannot_be_expressed_is_refused_by_name(tmp_path, netx_writer, layers, message):
    layers = [{k: v for k, v in layer.items() if not (k == "weight" and "weight/imag" in layer)}
              for layer in layers]
    with pytest.raises(UserError, match=message) as error:
        read_netx(netx_writer(tmp_path / "a.net", layers))
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path):
    pointer = tmp_path / "a.net"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")
    assert is_netx(pointer)
    with pytest.raises(UserError, match="a git-lfs pointer, not the network itself"):
        read_netx(pointer)
    with pytest.raises(UserError, match="no such file"):
        read_netx(tmp_path / "b.net")
    (tmp_path / "c.net").write_bytes(b"no")
    with pytest.raises(UserError, match="not a readable NetX file"):
        read_netx(tmp_path / "c.net")
    with h5py.File(tmp_path / "d.net", "w") as file:
        file["layer/1/type"] = b"dense"
    with pytest.raises(UserError, match="/layer/0 is missing"):
        read_netx(tmp_path / "d.net")


def test_what_stock_netx_ignores_is_said(tmp_path, netx_writer):
    odd = CONV | {"delay": np.ones(6), "neuron": CUBA | {"refDelay": 2, "gradedSpike": True}}
    notes = read_netx(netx_writer(tmp_path / "a.net", [INPUT, odd])).notes
    assert [note.split(": ")[1] for note in notes] == ["delay", "neuron/gradedSpike",
                                                       "neuron/refDelay"]


def test_neurons_that_are_not_reset_are_named(tmp_path, netx_writer):
    sdnn = {"type": "SDNN", "vThMant": 3, "messageBits": 16}
    path = netx_writer(tmp_path / "a.net", [DENSE | {"neuron": sdnn}])
    assert [note.split(": ")[1:] for note in read_netx(path, NetxOptions(reset_interval=8)).notes
            ] == [["neuron/messageBits", "not taken notice of, and stock NetX does not load it"],
                  ["neuron/type", "SDNN; sigma-delta neurons are not reset"]]


@pytest.mark.parametrize("family", ["rf", "rf_iz"])
def test_resonate_and_fire_of_slayer_is_refused_by_name(tmp_path, family):
    write_resonators(family, tmp_path / "rf.net")
    with pytest.raises(UserError, match=r"/layer/0 \((input|dense)\): (weight/imag|neuron/type): "
                       ) as error:
        read_netx(tmp_path / "rf.net")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("weights", "stored", "exponent", "bits"), [
    ([[1, -1], [2, -3]], [[64, -64], [128, -192]], 6, 3),
    ([[255, 3]], [[255, 3]], 0, 8),
    ([[-8, 6]], [[-256, 192]], 5, 3),
    ([[-8, 0]], [[-128, 0]], 5, 1),  # NetX finds both signs, Lava one: half of it is lost
    ([[300, -300]], [[254, -256]], 0, 8),
])
def test_weights_as_stock_leaves_them(weights, stored, exponent, bits):
    """The first line was measured on lava-nc 0.10.0; graph/test_netx_stock.py runs them all."""
    made = stock_weights(np.array(weights))
    assert made[0].tolist() == stored and made[1:] == (exponent, bits)
    weight, shift = scaled_down(made[0], exponent)
    assert shift in (0, exponent)
    assert np.array_equal(weight << (exponent - shift), made[0])


@pytest.mark.parametrize(("weights", "bits"), [
    ([0], 1), ([1], 1), ([-8, 6], 3), ([-8, 8], 2), ([-4, 4, 1], 4), ([255], 8), ([-256, 2], 8)])
def test_bits_of_weights(weights, bits):
    assert bits_of(np.array(weights)) == bits


def test_input_layouts(tmp_path, netx_writer):
    """(x, y, channel, timestep) as Lava has it, to timesteps of (channel, y, x)."""
    net = read_netx(netx_writer(tmp_path / "a.net", [INPUT, CONV]))
    frames = np.random.default_rng(0).random((20, 9, 2, 3)) < 0.5
    np.save(tmp_path / "x.npy", frames)
    one = read_input(tmp_path / "x.npy", net, None, 3, False)
    assert np.array_equal(one.sent(0, 1, 3)[:, 0],
                          frames.transpose(3, 2, 1, 0).reshape(3, -1))
    np.save(tmp_path / "x.npy", np.stack([frames[..., 0], frames[..., 1]]))
    two = read_input(tmp_path / "x.npy", net, 2, 4, False)
    assert two.samples == 2
    assert np.array_equal(two.sent(1, 1, 4)[3, 0], frames[..., 1].T.ravel())
    np.save(tmp_path / "x.npy", frames.transpose(1, 0, 2, 3))
    with pytest.raises(UserError, match=r"shape \(9, 20, 2, 3\); a.net takes \(20, 9, 2\)"):
        read_input(tmp_path / "x.npy", net, None, 3, False)
    np.save(tmp_path / "x.npy", frames)
    with pytest.raises(UserError, match="x.npy: 3 timesteps, a sample takes 4; give all of them"):
        read_input(tmp_path / "x.npy", net, None, 4, False)


@pytest.mark.parametrize(("values", "samples", "message"), [
    (np.zeros((0, 9)), 2, r"shape \(0, 9\); a.net takes \(at least 2 samples, 9\)"),
    (np.zeros((9, 0)), None, "x.npy: 0 timesteps, a sample takes 4"),
    (np.array(3.0), None, r"shape \(\); a.net takes \(9,\)"),
    (np.full(9, np.iinfo(np.int64).min), None, "reaches 9223372036854775808, a message has 24"),
    (np.full(9, np.inf), None, "holds fractions"),
    (np.full(9, "a"), None, "holds <U1, expected numbers"),
])
def test_arrays_that_are_no_input(tmp_path, netx_writer, values, samples, message):
    net = read_netx(netx_writer(tmp_path / "a.net", [DENSE | {"weight": np.ones((5, 9))}]))
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(UserError, match=message) as error:
        read_input(tmp_path / "x.npy", net, samples, 4, False)
    assert "\n" not in str(error.value)
    np.savez(tmp_path / "x.npz", values)
    with pytest.raises(UserError, match="x.npz: holds several arrays"):
        read_input(tmp_path / "x.npz", net, samples, 4, False)


def test_pixels_become_biases(tmp_path, netx_writer):
    path = netx_writer(tmp_path / "a.net", [INPUT | {"neuron": CUBA, "weight": 36, "bias": -3},
                                            CONV])
    net, pixels = read_netx(path), np.random.default_rng(0).random((20, 9, 2))
    np.save(tmp_path / "x.npy", pixels)
    given = read_input(tmp_path / "x.npy", net, None, 3, True)
    assert np.array_equal(given.bias(0, 1)[0], np.floor(36 * pixels - 2.5).T.ravel())
    with pytest.raises(UserError, match=r"holds fractions, expected whole numbers \(or --pixels"):
        read_input(tmp_path / "x.npy", net, None, 3, False)


def test_sdnn_takes_spike_exp(tmp_path, netx_writer):
    sdnn = {"type": "SDNN", "vThMant": 3, "activation": b"relu"}
    net = read_netx(netx_writer(tmp_path / "a.net", [INPUT | {"neuron": sdnn},
                                                     CONV | {"neuron": sdnn}]),
                    NetxOptions(spike_exp=2))
    assert net.layers[1].neuron == SigmaDelta(3, 2)
    with pytest.raises(UserError, match="neuron/activation: 'sigmoid'"):
        read_netx(netx_writer(tmp_path / "b.net", [
            INPUT | {"neuron": sdnn}, CONV | {"neuron": sdnn | {"activation": b"sigmoid"}}]))
