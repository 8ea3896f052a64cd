"""model.net: round trip, and one clear line for everything that is wrong with a file."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from lava_models import Lif, UserError, read_net, write_net
from lava_models.net.layers import fan_in_bound, membrane_bound
from lava_models.net.synapse import neuron_bias, unroll


def test_round_trip(net_factory, tmp_path):
    net = net_factory(lag=2)
    write_net(net, tmp_path / "model.net")
    back = read_net(tmp_path / "model.net")
    for field in dataclasses.fields(net):
        a, b = getattr(net, field.name), getattr(back, field.name)
        if field.name not in ("encoder", "posterior", "prior", "decoder"):
            assert a == b
            continue
        for x, y in zip(a, b, strict=True):
            assert type(x) is type(y)
            assert x.neuron == y.neuron
            assert np.array_equal(x.weight, y.weight)
            assert np.array_equal(x.bias, y.bias)
            assert x.shape == y.shape


def test_encoder_is_linked_for_netx(net_factory, tmp_path):
    write_net(net_factory(), tmp_path / "model.net")
    with h5py.File(tmp_path / "model.net") as file:
        assert file["layer"] == file["encoder/layer"]
        types = [bytes(file[f"layer/{i}/type"][0]).decode() for i in range(len(file["layer"]))]
        assert types == ["input", "conv", "conv", "flatten", "dense"]


def test_bound_holds_and_is_reached(net_factory):
    """The bound of a layer is the largest sum that any 0/1 input gives, found by construction."""
    for _, layer in net_factory().named_layers("posterior", "decoder"):
        matrix, bias = unroll(layer).toarray().astype(np.int64), neuron_bias(layer)
        high = (np.maximum(matrix, 0).sum(1) + bias).max()
        low = (np.minimum(matrix, 0).sum(1) + bias).min()
        reached = max(high, -low)
        bound = fan_in_bound(layer, 1).max()
        assert bound >= reached
        if layer.type == "dense":
            assert bound == reached
    assert membrane_bound(layer, 1, 1) == bound * 64


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"no.net: no such file; export-netx writes one"):
        read_net(tmp_path / "no.net")


def test_text_file(tmp_path):
    (tmp_path / "x.net").write_text("hello")
    with pytest.raises(UserError, match="not a readable HDF5 file"):
        read_net(tmp_path / "x.net")


def test_truncated(net_factory, tmp_path):
    file = tmp_path / "model.net"
    write_net(net_factory(), file)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(UserError, match="not a readable HDF5 file"):
        read_net(file)


def test_flipped_byte_of_a_weight(net_factory, tmp_path):
    """Checksums: a damaged weight is an error, not another network."""
    file = tmp_path / "model.net"
    write_net(net_factory(), file)
    with h5py.File(file) as opened:
        at = opened["prior/layer/2/weight"].id.get_chunk_info(0).byte_offset
    data = bytearray(file.read_bytes())
    data[at + 20] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match="not a readable HDF5 file"):
        read_net(file)


def test_foreign_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.net", "w") as file:
        file["layer/0/type"] = b"dense"
    with pytest.raises(UserError, match="an HDF5 file, but not a fsvae-netx one"):
        read_net(tmp_path / "x.net")


def test_other_version(net_factory, tmp_path):
    write_net(net_factory(), tmp_path / "model.net")
    with h5py.File(tmp_path / "model.net", "a") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(UserError, match="format version 99, this release reads 1"):
        read_net(tmp_path / "model.net")


def _delete(name):
    def damage(file):
        del file[name]
    return damage


def _set(name, value):
    def damage(file):
        del file[name]
        file[name] = value
    return damage


def _attribute(name, value):
    def damage(file):
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value
    return damage


def _odd_weight(file):
    file["prior/layer/1/weight"][0, 0] = 3


@pytest.mark.parametrize(("damage", "message"), [
    (_delete("posterior/layer/0/weight"), "/posterior/layer/0/weight is missing"),
    (_delete("decoder/layer"), "/decoder/layer is missing"),
    (_delete("prior/layer/2/neuron/vDecay"), "/prior/layer/2/neuron/vDecay is missing"),
    (_attribute("ticks", None), "attribute 'ticks' is missing"),
    (_attribute("input_scale", float("nan")), "'input_scale' is nan, expected finite"),
    (_attribute("output_scale", float("inf")), "'output_scale' is inf, expected finite"),
    (_attribute("k", 1), "k = 1: expected 2 to 64"),
    (_attribute("ticks", "many"), "attribute 'ticks' holds text, expected integers"),
    (_attribute("image_shape", 3), r"attribute 'image_shape' has shape \(\), expected \(3\)"),
    (_attribute("latent", 5), r"encoder: ends in 6 neurons, expected 5|posterior.0"),
    (_odd_weight, r"prior.1 \(dense\): 1 odd weights in a mixed-sign layer"),
    (_set("prior/layer/1/neuron/vThMant", 2**17), "vThMant 131072, expected 1 to 131071"),
    (_set("prior/layer/1/neuron/vDecay", 4096), "vDecay 4096, expected 0 to 4095"),
    (_set("prior/layer/1/neuron/type", b"SDNN"), "neuron/type is 'SDNN', known are CUBA, GLIF"),
    (_set("encoder/layer/1/type", np.array([b"pool"])), "type is 'pool', known are input"),
    (_set("encoder/layer/1/weight", np.zeros((4, 1, 3, 3))), "holds float64, expected integers"),
    (_set("prior/layer/1/weight", np.zeros((0, 10), np.int16)), "weight has shape"),
    (_set("decoder/layer/1/inputShape", [5, 2, 2]), r"expected \(6, height, width\)"),
    (_set("decoder/layer/2/neuron/spiking", False), "must spike; only the last decoder layer"),
])
def test_damaged_file(net_factory, tmp_path, damage, message):
    path = tmp_path / "model.net"
    write_net(net_factory(), path)
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(UserError, match=message) as error:
        read_net(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_port_overflow_is_refused(net_factory, replace_layer):
    net = net_factory()
    big = np.full((24, 300), 254, np.int32)
    with pytest.raises(UserError, match="takes 300 inputs, gets 12"):
        dataclasses.replace(net, **replace_layer(net, "posterior", 2, weight=big))
    huge = replace_layer(net, "posterior", 2, bias=np.full(24, 8000, np.int32))
    with pytest.raises(UserError, match="biases must be even and at most 4094"):
        dataclasses.replace(net, **huge)


def test_membrane_overflow_is_refused(net_factory, replace_layer):
    net = net_factory(ticks=256)
    slow = replace_layer(net, "decoder", 3, neuron=Lif(0, 131071, False),
                         bias=np.array([1000], np.int32))
    with pytest.raises(UserError, match="the membrane reaches"):
        dataclasses.replace(net, **slow)


def test_failed_write_leaves_the_old_file(net_factory, tmp_path, monkeypatch):
    path = tmp_path / "model.net"
    path.write_text("mine")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="No space left on device; nothing was changed there"):
        write_net(net_factory(), path)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["model.net"]
