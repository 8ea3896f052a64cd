"""A NetX file with any one entry or byte changed: refused in one line, or read as it says.

Such a file has no hash, so other numbers are another network; what is cut or left out of them must
be said, and nothing outside the file be read.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from mutants import REFUSED, SAME, Mutant, damaged_bytes, survey

from hw_configs.files import UserError
from lava_models.net.hdf5_input import check_heaps
from lava_models.net.netx import read_netx
from lava_models.net.netx_layers import Cuba

CUBA = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 80}
RNG = np.random.default_rng(0)
LAYERS = [
    {"type": "input", "shape": [2, 9, 20]},
    {"type": "conv", "shape": [6, 4, 9], "weight": 16 * RNG.integers(-3, 4, (6, 2, 3, 3)),
     "bias": RNG.integers(-9, 9, 6), "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1],
     "groups": 1, "neuron": CUBA},
    {"type": "flatten", "shape": [216]},
    {"type": "dense", "shape": [5], "weight": 2 * RNG.integers(-50, 50, (5, 216)), "neuron": CUBA},
]
OTHERS = [2**32, 2**40, -1, 0, 0.5, 3072.9, np.nan, np.inf, 1e300, 5000, b"text", "ü", [1, 2, 3],
          np.zeros(0), np.ones((2, 3)), np.ones((2, 2, 2, 2)), 1j, True, h5py.Empty("i4"),
          np.void(b"raw"), np.uint64(2**63), np.float16(4.5)]


@pytest.fixture
def data(tmp_path, netx_writer) -> bytes:
    return netx_writer(tmp_path / "whole.net", LAYERS).read_bytes()


def _damage(group: h5py.Group, name: str, draw: random.Random) -> str:
    """Put something else in the place of a member of a group; says what."""
    how = draw.choice(["value"] * 8 + ["shifted", "delete", "group", "huge", "external",
                                       "elsewhere", "soft"])
    found = group[name]
    value = found[()] if isinstance(found, h5py.Dataset) else None
    del group[name]
    if how == "value":
        new = draw.choice(OTHERS)
        group[name] = new
        return f"value {new!r:.40}"
    if how == "shifted" and value is not None and np.asarray(value).dtype.kind in "if":
        group[name] = np.asarray(value) + draw.choice([0.25, 1, -7, 2**33])
    elif how == "group":
        group.create_group(name)
    elif how == "huge":
        group.create_dataset(name, (2**20, 2**20), np.int16, chunks=(64, 64))
    elif how == "external":
        group[name] = h5py.ExternalLink("whole.net", f"{group.name}/{name}")
    elif how == "elsewhere":
        group.create_dataset(name, (4,), np.int16, external=[("/etc/hostname", 0, 8)])
    elif how == "soft":
        group[name] = h5py.SoftLink("/nowhere")
    return how


def changed_entries(data: bytes, draw: random.Random, count: int) -> Iterator[Mutant]:
    """The file with one member changed."""
    for _ in range(count):
        copy, paths = io.BytesIO(data), []
        with h5py.File(copy, "a") as file:
            file.visit(paths.append)
            path = draw.choice(paths)
            above, _, name = path.rpartition("/")
            what = f"{path}: {_damage(file[above or '/'], name, draw)}"
        yield what, copy.getvalue()


def _as_it_says(file) -> str:
    """A judge: every number that is read is in the file, or a note says what became of it."""
    net = read_netx(file)
    with h5py.File(file, "r") as opened:
        for layer in net.layers:
            group = opened[f"layer/{layer.name.split('.')[1]}"]
            said = {note.split(": ")[1] for note in net.notes if note.startswith(layer.name)}
            numbers = {"bias": np.unique(layer.bias), "shape": np.prod(layer.shape)}
            if isinstance(layer.neuron, Cuba) and "neuron" in group:
                neuron = layer.neuron
                numbers |= {"neuron/iDecay": neuron.current_decay,
                            "neuron/vDecay": neuron.voltage_decay,
                            "neuron/vThMant": neuron.threshold}
            for name, read in numbers.items():
                stored = group[name][()] if name in group else 0
                stored = np.prod(stored) if name == "shape" else np.unique(stored)
                if name not in said and not np.array_equal(np.ravel(stored), np.ravel(read)):
                    return f"{layer.name}: {name} is {stored}, read as {read}"
            weight = group["weight"][()]
            if "weight" not in said and not np.array_equal(weight, np.round(weight)):
                return f"{layer.name}: weight is cut without a note"
    return SAME


def _campaign(data: bytes, file, count: int, seed: int) -> None:
    draw = random.Random(seed)
    for mutants in (damaged_bytes(data, draw, count), changed_entries(data, draw, count)):
        ends = survey(file, mutants, _as_it_says)
        assert ends[SAME] >= 1 and ends[REFUSED] > count / 10 and ends.total() == count


def test_any_damage_is_refused_or_read_as_it_says(data, tmp_path):
    _campaign(data, tmp_path / "damaged.net", 150, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_much_damage(data, tmp_path):
    _campaign(data, tmp_path / "damaged.net", 3000, 1)


def _changed(data: bytes, path: str, make, tmp_path) -> Path:
    file = tmp_path / "damaged.net"
    file.write_bytes(data)
    with h5py.File(file, "a") as opened:
        del opened[path]
        make(opened, path)
    return file


@pytest.mark.parametrize(("path", "make", "said"), [
    ("layer/3/weight", lambda f, p: f.create_dataset(p, (2**20, 2**20), "i2", chunks=(64, 64)),
     r"/layer/3 \(dense\): weight: declares .* of shape"),
    ("layer/3/weight", lambda f, p: f.__setitem__(p, h5py.ExternalLink("whole.net", p)),
     r"/layer/3 \(dense\): weight: is a link to elsewhere"),
    ("layer/3/neuron", lambda f, p: f.__setitem__(p, h5py.ExternalLink("whole.net", p)),
     "is a link to elsewhere"),
    ("layer/1", lambda f, p: f.__setitem__(p, h5py.ExternalLink("whole.net", p)),
     "/layer/1 is a link to elsewhere"),
    ("layer/1/bias", lambda f, p: f.create_dataset(p, (6,), "i2", external=[("x.bin", 0, 12)]),
     r"bias: lies in another file"),
    ("layer/0/shape", lambda f, p: f.__setitem__(p, [2**20, 2**20, 2**20]),
     "of at most 4194304 neurons"),
    ("layer/1/neuron/vDecay", lambda f, p: f.__setitem__(p, 2**32 + 128),
     "vDecay: 4294967424, expected 0 to 4096"),
])
def test_known_damage(data, tmp_path, path, make, said):
    """Refused before a byte of it is read."""
    file = _changed(data, path, make, tmp_path)
    with pytest.raises(UserError, match=said) as error:
        read_netx(file)
    assert "\n" not in str(error.value)


def test_texts_that_never_end(data, tmp_path):
    """HDF5 itself hangs over them."""
    check_heaps(tmp_path / "whole.net")
    at = data.index(b"GCOL") + 16
    while int.from_bytes(data[at:at + 2], "little"):  # up to what is free
        at += 16 + -(-int.from_bytes(data[at + 8:at + 16], "little") // 8) * 8
    (tmp_path / "damaged.net").write_bytes(data[:at + 8] + bytes(8) + data[at + 16:])
    with pytest.raises(UserError, match="not a readable NetX file"):
        read_netx(tmp_path / "damaged.net")


def test_a_register_holds_whole_numbers(data, tmp_path):
    file = _changed(data, "layer/1/neuron/vDecay", lambda f, p: f.__setitem__(p, 128.9), tmp_path)
    with pytest.raises(UserError, match="layer.1.*neuron/vDecay.*128.9, expected a whole number"):
        read_netx(file)
