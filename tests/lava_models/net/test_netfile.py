"""model.net: round trip, and one clear line for everything that is wrong with a file."""

from __future__ import annotations

import dataclasses
import time

import h5py
import numpy as np
import pytest

from lava_models import Dense, Lif, UserError, read_net, write_net
from lava_models.net.layers import SPIKE, fan_in_bound, graded, membrane_bound
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
        bound = fan_in_bound(layer, SPIKE).max()
        assert bound >= reached
        if layer.type == "dense":
            assert bound == reached
    assert membrane_bound(layer, SPIKE, 1) == bound * 64


def test_signed_pixels_are_bounded_whatever_their_scale():
    """Pixels of -1, 0 and 1 are no spikes: a kernel of both signs sums twice as far."""
    weight = np.array([[254] * 128 + [-254] * 128], np.int32)
    layer = Dense(weight, np.zeros(1, np.int32), Lif(4095, 100))
    signed = int((weight @ np.sign(weight[0]))[0])
    assert fan_in_bound(layer, graded(1)).max() == signed == 65024
    assert fan_in_bound(layer, SPIKE).max() == 32512


def test_a_file_with_pixels_of_one_step_is_held_to_the_signed_bound(net_factory, replace_layer,
                                                                    tmp_path):
    net = net_factory()
    weight = np.full((4, 32, 3, 3), 200, np.int32)
    weight[:, ::2] = -200
    net = dataclasses.replace(net, image_shape=(32, 8, 8), input_scale=1.4, **replace_layer(
        net, "encoder", 0, weight=weight, input_shape=(32, 8, 8)))
    with pytest.raises(UserError, match=r"encoder.0 \(conv\): synaptic sums reach 576"):
        write_net(net, tmp_path / "model.net")


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


def _first(name, number):
    """One number of an array changed, in a type that holds it."""
    def damage(file):
        values = file[name][()].astype(np.int64)
        values.flat[0] = number
        del file[name]
        file[name] = values
    return damage


def _hard(name, other):
    def damage(file):
        del file[name]
        file[name] = file[other]
    return damage


def _declare(name, shape, **more):
    """A dataset that says it is so large and holds nothing."""
    def damage(file):
        del file[name]
        file.create_dataset(name, shape, np.int16, **more)
    return damage


def _virtual(file):
    layout = h5py.VirtualLayout((10,), np.int16)
    layout[:] = h5py.VirtualSource("other.net", "bias", (10,))
    del file["prior/layer/0/bias"]
    file.create_virtual_dataset("prior/layer/0/bias", layout)


def _no_flatten(file):
    del file["encoder/layer/3"]
    file.move("encoder/layer/4", "encoder/layer/3")


def _add(name, value):
    def damage(file):
        file[name] = value
    return damage


def _note(file):
    file["prior/layer/0/bias"].attrs["unit"] = "mV"


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
    # what was read as another number
    (_first("prior/layer/1/weight", 2**32 + 2), "4294967298, expected -32768 to 32767"),
    (_first("prior/layer/1/bias", 2**32 + 2), "4294967298, expected -32768 to 32767"),
    (_set("prior/layer/1/neuron/vDecay", 2**32 + 3072), "vDecay is 4294970368, expected"),
    (_set("prior/layer/1/neuron/vDecay", 3072.9), "vDecay holds float64, expected integers"),
    (_attribute("ticks", 4.9), "'ticks' holds float64, expected integers"),
    (_attribute("ticks", 2**32 + 4), "'ticks' is 4294967300, expected 1 to 2147483647"),
    (_set("decoder/layer/3/neuron/spiking", 2), "spiking holds int64, expected true or false"),
    # what was not read
    (_add("prior/layer/1/delay", np.ones(12)), "/prior/layer/1/delay is unknown; known are type"),
    (_add("prior/layer/1/weight_rec", np.ones((12, 12))), "/weight_rec is unknown; known are"),
    (_add("prior/layer/1/neuron/delay", 1), "/prior/layer/1/neuron/delay is unknown; known are"),
    (_set("prior/layer/1/neuron/refDelay", 2), "refDelay is 2, expected 1;"),
    (_set("prior/layer/1/neuron/gradedSpike", True), "gradedSpike does not fit .*True, exp"),
    (_set("prior/layer/1/neuron/iDecay", 0), "iDecay is 0, expected 4096;"),
    (_set("encoder/layer/1/groups", 2), "groups is 2, expected 1;"),
    (_set("encoder/layer/1/kernelSize", [5, 5]),
     r"/encoder/layer/1/kernelSize does not fit the rest of the file: \[5, 5\], expected \[3, 3\]"),
    (_set("encoder/layer/1/stride", [2, 1]), r"stride does not fit.*\[2, 1\], expected \[2, 2\]"),
    (_set("prior/layer/1/inFeatures", 11), "inFeatures does not fit .*11, expected 10"),
    (_set("encoder/layer/0/shape", [1, 4, 16]), "/encoder/layer/0/shape does not fit the rest"),
    (_no_flatten, "/encoder/layer/3/.* does not fit the rest of the file"),
    (_add("notes", 1), "/notes is unknown; known are encoder, posterior, prior, decoder, layer"),
    (_add("prior/layer/x\ny", 1), r"/prior/layer/'x\\ny' is unknown; known are 0, 1, 2"),
    (_attribute("comment", "x"), "attribute 'comment' is unknown; known are format"),
    (_note, "/prior/layer/0/bias has attributes, expected none"),
    # links
    (_hard("layer", "posterior/layer"), "/layer is another group than /encoder/layer"),
    (_set("layer", h5py.SoftLink("/encoder/layer")), "/layer is a link to elsewhere"),
    (_set("prior/layer", h5py.ExternalLink("other.net", "/prior/layer")),
     "/prior/layer is a link to elsewhere, expected a group"),
    (_hard("prior/layer/1/bias", "encoder/layer/1/bias"),
     "/prior/layer/1/bias is the same dataset as /encoder/layer/1/bias"),
    (_hard("prior/layer/1/neuron", "prior/layer/2/neuron"), "is the same group as /prior/layer/1"),
    (_declare("prior/layer/0/bias", (10,), external=[("/etc/passwd", 0, 20)]), "in another file"),
    (_virtual, "/prior/layer/0/bias lies in another file"),
    # what ended in a traceback, or took all memory or time
    (_set("encoder/layer/1/stride", [0, 0]), "stride is 0...0, expected 1 to 2147483647"),
    (_set("encoder/layer/1/stride", 2), r"stride has shape \(\), expected \(2\)"),
    (_set("decoder/layer/1/stride", [10**9, 10**9]), "stride 1000000000, expected 1 to the kernel"),
    (_set("encoder/layer/1/padding", [3, 3]), "padding 3, expected 0 to 2, less than the kernel"),
    (_set("decoder/layer/1/outputPadding", [2, 2]), "outputPadding 2, expected 0 to 1, less than"),
    (_set("prior/layer/1/neuron/vDecay", np.full(12, 3072)), r"vDecay has shape \(12,\), expected"),
    (_set("prior/layer/1/neuron/vDecay", np.nan), "vDecay holds float64, expected integers"),
    (_set("prior/layer/1", 3), "/prior/layer/1 is a dataset, expected a group"),
    (_set("prior/layer/1/type", h5py.Empty("S5")), "/prior/layer/1/type is empty, expected text"),
    (_set("prior/layer/1/type", np.array([b""])), "/prior/layer/1/type is '', known are"),
    (_set("prior/layer/1/type", np.array([b"\xff"])), "/prior/layer/1/type is no text in UTF-8"),
    (_set("prior/layer/1/weight", np.zeros(3, [("a", "i4")])), "expected integers"),
    (_hard("prior/layer/1/weight", "prior/layer/2/neuron"),
     "/prior/layer/1/weight is a group, expected a dataset"),
    (_attribute("format_version", [1, 1]), r"'format_version' has shape \(2,\), expected \(\)"),
    (_declare("prior/layer/1/weight", (10**6, 10**6), chunks=(64, 64)),
     "declares 2000000000000 bytes; a file may hold 536870912"),
    (_declare("prior/layer/1/weight", (12, 10), maxshape=(None, None), chunks=(2**14, 2**14)),
     "declares 536870912 bytes; a file may hold"),
    (_declare("prior/layer/1/weight", (12, 10), compression="lzf"), "a filter other than gzip"),
    (_attribute("lag", 100), "lag = 100: expected a divisor of the 4 timesteps"),
    (_attribute("lag", 3), "lag = 3: expected a divisor of the 4 timesteps that z takes through"),
    (_attribute("input_scale", 32768.0), "input_scale = 32768.0: the 16-bit port takes 32767"),
])
def test_damaged_file(net_factory, tmp_path, damage, message):
    path = tmp_path / "model.net"
    write_net(net_factory(), path)
    with h5py.File(path, "a") as file:
        damage(file)
        del file.attrs["sha256"]  # which would refuse all of them
    with pytest.raises(UserError, match=message) as error:
        read_net(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_chances_in_place_of_integers(poisson_net_factory, tmp_path):
    path = tmp_path / "model.net"
    write_net(poisson_net_factory(), path)
    with h5py.File(path, "a") as file:
        chances = file["host/prior"][()] / 1024
        del file["host/prior"]
        file["host/prior"] = chances
    with pytest.raises(UserError, match="/host/prior holds float64, expected integers"):
        read_net(path)


def test_a_valid_change_is_not_what_was_written(net_factory, tmp_path):
    path = tmp_path / "model.net"
    write_net(net_factory(), path)
    with h5py.File(path, "a") as file:
        file["prior/layer/1/bias"][0] += 2
    with pytest.raises(UserError, match="changed since it was written .its SHA-256 differs"):
        read_net(path)
    with h5py.File(path, "a") as file:  # older releases wrote none
        del file.attrs["sha256"]
    assert read_net(path).prior[1].bias[0] == net_factory().prior[1].bias[0] + 2


def test_text_has_a_fixed_length(net_factory, gated_net_factory, poisson_net_factory, tmp_path):
    """Of the other kind HDF5 keeps no checksum, and a flipped byte can have it read for ever."""
    def fixed(item) -> bool:
        text = h5py.check_string_dtype(item.dtype)
        return text is None or text.length is not None

    for make in (net_factory, gated_net_factory, poisson_net_factory):
        write_net(make(), tmp_path / "model.net")
        with h5py.File(tmp_path / "model.net") as file:
            names = []
            file.visit(names.append)
            assert all(fixed(file.attrs.get_id(name)) for name in file.attrs)
            assert all(fixed(file[n]) for n in names if isinstance(file[n], h5py.Dataset))


def test_bound_of_a_long_run_is_closed(net_factory, gated_net_factory):
    """Millions of ticks: at once, and no less than what many of them reach."""
    for make in (net_factory, gated_net_factory):
        for _, layer in make().named_layers():
            begin = time.perf_counter()
            limit = membrane_bound(layer, SPIKE, 5_000_000)
            assert time.perf_counter() - begin < 0.1
            some = membrane_bound(layer, SPIKE, 1024)
            assert some <= limit <= 1.001 * some + 1
    forever = dataclasses.replace(layer, neuron=Lif(0, 1))
    assert membrane_bound(forever, SPIKE, 2000) == 2000 * membrane_bound(forever, SPIKE, 1)


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
