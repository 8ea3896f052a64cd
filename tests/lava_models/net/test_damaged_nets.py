"""A model.net with any one byte or entry changed: refused in one line, or the same network.

With its hash a file is held to what was written. Without one (older releases wrote none) what is
read must be what the file says, number for number, as h5py alone reads it.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from itertools import chain

import h5py
import numpy as np
import pytest
from mutants import REFUSED, SAME, Mutant, damaged_bytes, survey

from lava_models import NetFile, read_net, write_net
from lava_models.net.hdf5 import _flat


@pytest.fixture(scope="module", params=["lif", "gated", "poisson", "rate"])
def net(request, net_factory, gated_net_factory, poisson_net_factory, rate_net_factory) -> NetFile:
    """A network of each kind of neurons and latents."""
    return {"lif": net_factory, "gated": gated_net_factory,
            "poisson": poisson_net_factory, "rate": rate_net_factory}[request.param]()


@pytest.fixture
def data(net, tmp_path) -> bytes:
    """Its file."""
    write_net(net, tmp_path / "model.net")
    return (tmp_path / "model.net").read_bytes()


# --- one entry changed ------------------------------------------------------------------------


@np.errstate(all="ignore")
def _others(value: np.ndarray) -> list:
    """Values to put in place of a number or an array of them."""
    whole = value.astype(np.int64) if value.dtype.kind in "iub" else np.array([1])
    spoiled = value.astype(np.float64)
    spoiled.flat[0] = np.nan
    record = np.zeros(value.shape, [("a", "i4"), ("b", "f4")])
    return [
        # other numbers
        whole + 2**32, whole + 1, whole - 1, -whole, whole * 0, whole * 2**40, 2 * whole,
        whole + 2**16, np.full(value.shape, 2**63, np.uint64), value + 0.9, spoiled,
        np.full(value.shape, np.inf),
        # other types
        whole.astype(">i8"), value.astype(np.float64), value.astype(np.complex128),
        value.astype(np.float16), value.astype(np.longdouble), value.astype(bool), record,
        whole.astype(h5py.enum_dtype({"A": 1}, "i8")),
        # other shapes
        value[None], np.repeat(value[..., None], 2, -1), value.ravel()[:0], value.ravel()[:1],
        # one thing, or none
        np.float64(0.5), np.int64(3), np.int64(5_000_000), np.int8(-1), np.nan, np.inf, b"text",
        np.array([b"text"] * 2), np.void(b"raw"), h5py.Empty("i4")]


TEXTS = [b"", b"x", b"\xff\xfe", b"CUBA", b"GLIF", b"dense", b"conv", b"input", b"flatten", b"a\nb",
         b"9" * 5000, "ü", 3, 0.5, h5py.Empty("S4"), np.array([b"conv", b"conv"]),
         np.array([b"dense"]), np.array(["dense"], h5py.string_dtype())]
NAMES = ["delay", "weight_rec", "neuron", "layer", "0", "7", "shape", "a\nb", "ü", ".."]
FOREIGN = ["soft", "dangling", "external", "hard"]


def _replaced(group: h5py.Group, name: str, draw: random.Random) -> str:
    """Put something else in the place of a member of a group; says what."""
    found = group[name]
    how = draw.choice(["value"] * 8 + ["delete", "rename", "add", "attribute", "kind", "huge",
                                       "lzf", "elsewhere", *FOREIGN])
    if how == "value" and isinstance(found, h5py.Dataset):
        value = found[()]
        text = found.dtype.kind in "SO"
        new = draw.choice(TEXTS if text else _others(np.asarray(value)))
        del group[name]
        group[name] = new
        return f"value {new!r:.60}"
    if how == "add":
        name = draw.choice(NAMES)
        if name not in group and name != "..":
            group[name] = draw.choice([3, b"x", np.zeros(4, np.int16)])
        return f"add {name}"
    if how == "attribute":
        found.attrs["note"] = 1
        return how
    del group[name]
    if how == "rename":
        group[f"{name}x"] = found
    elif how == "kind" and isinstance(found, h5py.Dataset):
        group.create_group(name)
    elif how == "kind":
        group[name] = np.zeros(3)
    elif how == "huge":
        group.create_dataset(name, (2**20, 2**20), np.int16, chunks=(64, 64))
    elif how == "lzf":
        group.create_dataset(name, data=np.ones((4, 4), np.int16), compression="lzf")
    elif how == "elsewhere":
        group.create_dataset(name, (4,), np.int16, external=[("/etc/hostname", 0, 8)])
    elif how == "soft":
        group["elsewhere"] = found
        group[name] = h5py.SoftLink(f"{group.name}/elsewhere")
    elif how == "dangling":
        group[name] = h5py.SoftLink("/nowhere")
    elif how == "external":
        group[name] = h5py.ExternalLink("other.net", "/")
    elif how == "hard":
        others = [other for other in group if type(group[other]) is type(found)]
        group[name] = group[draw.choice(others)] if others else group
    return how


def _changed_setting(file: h5py.File, draw: random.Random) -> str:
    """Change, add or remove an attribute of the file; says what."""
    name = draw.choice(sorted(file.attrs))
    how = draw.choice(["value"] * 6 + ["delete", "add"])
    if how == "add":
        file.attrs["note"] = 1
    elif how == "delete":
        del file.attrs[name]
    else:
        value = file.attrs[name]
        text = isinstance(value, (str, bytes))
        new = draw.choice(TEXTS if text else _others(np.asarray(value)))
        del file.attrs[name]
        file.attrs[name] = new
        how = f"value {new!r:.60}"
    return f"attribute {name}: {how}"


def changed_entries(data: bytes, draw: random.Random, count: int, signed: bool
                    ) -> Iterator[Mutant]:
    """The file with one entry changed, its hash with it or left out."""
    for _ in range(count):
        copy = io.BytesIO(data)
        with h5py.File(copy, "a", libver="latest") as file:
            if not signed:
                del file.attrs["sha256"]
            paths = []
            file.visit(paths.append)
            if draw.random() < 0.25:
                what = _changed_setting(file, draw)
            else:
                path = draw.choice(paths)
                above, _, name = path.rpartition("/")
                what = f"{path}: {_replaced(file[above or '/'], name, draw)}"
        yield what, copy.getvalue()


def _same_as(net: NetFile) -> Callable:
    """A judge: the file is of `net`."""
    wanted = _flat(net)

    def judge(file) -> str:
        found = _flat(read_net(file))
        same = found.keys() == wanted.keys() and all(
            np.array_equal(found[name], wanted[name]) for name in wanted)
        return SAME if same else "another network"

    return judge


def _as_it_says(file) -> str:
    """A judge: what is read is what is in the file."""
    found, raw = _flat(read_net(file)), {}
    with h5py.File(file) as opened:
        for name, value in opened.attrs.items():
            if name != "sha256":  # of the rest
                raw[f"attribute '{name}'"] = value

        def visit(path, item):
            if isinstance(item, h5py.Dataset):
                raw[f"/{path}"] = item[()]

        opened.visititems(visit)
    if found.keys() != raw.keys():
        return f"ignored: {found.keys() ^ raw.keys()}"
    for name, value in raw.items():
        said = np.ravel(value)[0] if isinstance(found[name], str) else value
        said = bytes(said).decode() if isinstance(said, bytes) else said
        if not np.array_equal(found[name], said) or np.shape(said) != np.shape(found[name]):
            return f"{name} says {value!r}, read as {found[name]!r}"
    return SAME


def _campaign(net, data, file, flips: int, entries: int, seed: int) -> None:
    draw, same = random.Random(seed), _same_as(net)
    for mutants, judge, count in (
            (damaged_bytes(data, draw, flips), same, flips),
            (changed_entries(data, draw, entries, signed=True), same, entries),
            (changed_entries(data, draw, entries, signed=False), _as_it_says, entries)):
        ends = survey(file, chain([("nothing", data)], mutants), judge)
        assert ends[SAME] >= 1 and ends[REFUSED] > count / 4 and ends.total() == count + 1


def test_any_damage_is_refused_or_changes_nothing(net, data, tmp_path):
    _campaign(net, data, tmp_path / "damaged.net", flips=50, entries=25, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_much_damage(net, data, tmp_path):
    _campaign(net, data, tmp_path / "damaged.net", flips=2000, entries=1000, seed=1)
