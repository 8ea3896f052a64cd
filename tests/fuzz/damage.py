"""Ways to damage a file: bytes of any, what stands in its place, values where its format is known.

Each returns what it did, in words; all draw from the generator passed in.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from torch import Tensor

Damage = Callable[[Path, random.Random], str]

WRONG = [0, 1, -1, 2, 3, 7, 255, 10**5, 10**9, 2**31, 2**62, 2**63, 2**64, 10**30, 0.5, -0.5,
         1e-300, 1e308, float("nan"), float("inf"), "", "x", "a\nb", "nul\0", "\udcff", "n" * 5000,
         "../x", "[/red]", None, True, False, [], {}, [[]], [1], [10**9], [-1, 2], "generate",
         "dense"]
ATTRIBUTES = [0, 1, -1, 3, 10**5, 10**9, 2**62, 0.5, 1e308, float("nan"), "", "x", "a\nb",
              "n" * 5000, True, [1], [10**9], [1, 8, 8], [1, 10**5, 10**5], b"\xff", "[" * 10**5]
TEXTS = ["-5", "0", "1", "2", "3", "1000000", "1000000000", "9" * 19, "9" * 400, "9" * 10**5, "1.5",
         "nan", "inf", "-inf", "1e400", "1e308", "1e-300", "-0.0", "true", '""', '"x"', '"a\\nb"',
         '"a\\u0000b"', "[]", "{}", "[[1]]", "[1, 2]", "[1000000000]", "1979-05-27", "[" * 1000,
         "[" * 10**5, "{a = " * 1000, "0x7fffffffffffffff", '"' + "n" * 5000 + '"', "[0, 0]",
         "[-1, 2]"]


def any_bytes(file: Path, draw: random.Random) -> str:
    """A byte or a few changed; cut short; a stretch doubled, moved or set to zero; noise."""
    data = bytearray(file.read_bytes())
    if not data:
        return "empty already"
    at, how = draw.randrange(len(data)), draw.random()
    length = draw.choice([1, 4, 16, 256, 4096])
    if how < 0.55:
        for _ in range(draw.choice([1, 1, 1, 3, 20])):
            data[draw.randrange(len(data))] ^= draw.choice([1 << draw.randrange(8), 255])
        what = "bytes changed"
    elif how < 0.7:
        del data[at:]
        what = f"cut at {at}"
    elif how < 0.8:
        data[at:at + length] = bytes(length)
        what = f"{length} zeros at {at}"
    elif how < 0.9:
        data[at:at] = data[at:at + length]
        what = f"{length} bytes at {at} twice"
    else:
        data = bytearray(draw.randbytes(draw.choice([0, 1, 100, 5000])))
        what = f"{len(data)} bytes of noise"
    file.write_bytes(data)
    return what


def any_node(file: Path, draw: random.Random) -> str:
    """Something that is no such file in its place."""
    what = draw.choice(["pipe", "folder", "socket", "zeros", "null", "nowhere", "itself", "sparse",
                        "unreadable bytes", "nothing"])
    data = file.read_bytes()
    file.unlink()
    if what == "pipe":
        os.mkfifo(file)
    elif what == "folder":
        file.mkdir()
    elif what == "socket":
        here = os.getcwd()
        os.chdir(file.parent)  # a socket's name is short
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(file.name)
        os.chdir(here)
    elif what in ("zeros", "null", "nowhere", "itself"):
        file.symlink_to({"zeros": "/dev/zero", "null": "/dev/null", "nowhere": "no-such-file",
                         "itself": file.name}[what])
    elif what == "sparse":
        file.write_bytes(data)
        os.truncate(file, draw.choice([2**31, 2**35, 2**40]))
    elif what == "unreadable bytes":
        file.write_bytes(b"\xff\xfe" + data)
    return what


# --- text -------------------------------------------------------------------------------------


def toml_values(file: Path, draw: random.Random) -> str:
    """A value, key or line of a TOML file changed."""
    lines = file.read_text().splitlines()
    for _ in range(draw.choice([1, 1, 2])):
        at = draw.choice([i for i, line in enumerate(lines) if line.strip()] or [0])
        key, equals, value = lines[at].partition(" = ")
        how = draw.choice(["value"] * 8 + ["remove", "twice", "rename", "swap", "deep"])
        if how == "remove":
            del lines[at]
        elif how == "twice":
            lines.insert(at, lines[at])
        elif how == "rename":
            lines[at] = "x" + lines[at]
        elif how == "swap":
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif how == "deep":
            lines.insert(0, ".".join("a" * draw.choice([40, 1000, 20000])) + " = 1")
        elif equals:
            others = [line.partition(" = ")[2] for line in lines if " = " in line]
            lines[at] = f"{key} = {draw.choice(TEXTS if draw.random() < .8 else others)}"
        if not lines:
            break
    file.write_text("\n".join(lines), errors="surrogateescape")
    return f"{how}: {lines[at:at + 1]!r:.80}"


def places(value, path: tuple = ()) -> Iterator[tuple]:
    """Every place in nested values."""
    yield path
    items = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    for key, item in items:
        yield from places(item, (*path, key))


def tree_changed(value, draw: random.Random, wrong: Callable[[object], list]) -> str:
    """One place in nested values changed, removed or renamed."""
    path = draw.choice([p for p in places(value) if p])
    if draw.random() < 0.5:  # as often a place near the root as one among thousands
        path = path[:draw.randint(1, len(path))]
    at = value
    for key in path[:-1]:
        at = at[key]
    how = draw.choice(["value"] * 7 + ["remove", "rename"])
    new = draw.choice(wrong(at[path[-1]]))
    if how == "value":
        at[path[-1]] = new
    elif isinstance(at, dict):
        old = at.pop(path[-1])
        if how == "rename":
            at[f"{path[-1]}x"] = old
    else:
        del at[path[-1]]
    return f"{'.'.join(map(str, path))}: {how} {ascii(new)[:60]}"


def json_values(file: Path, draw: random.Random) -> str:
    """A value of a JSON file changed, or nested without end."""
    text = file.read_text()
    if draw.random() < 0.1:
        at = text.index(":", draw.randrange(len(text) - 50)) if ":" in text[:-50] else 0
        new = draw.choice(["[" * 10**5, "9" * 10**5, '{"a":' * 5000, "1e999", "NaN"])
        file.write_text(text[:at + 1] + new + text[at + 1:])
        return f"{new[:10]} x {len(new)}"
    record = json.loads(text)
    what = tree_changed(record, draw, lambda old: [*WRONG, [old], {"a": old}])
    file.write_text(json.dumps(record, indent=1))
    return what


# --- arrays -----------------------------------------------------------------------------------


def _wrong_arrays(array: np.ndarray, draw: random.Random) -> np.ndarray:
    """An array in the place of another."""
    low, spoiled = array.astype(np.float64), array.copy()
    if spoiled.size:
        spoiled.flat[draw.randrange(spoiled.size)] = draw.choice([0, 1, -1, 2**31 - 1, -2**31])
    return draw.choice([
        spoiled, spoiled, spoiled, low, low * np.nan, low + np.inf, low * 1e300, array.astype("i1"),
        array.astype("u8"), array.astype("c16"), array[None], array.reshape(-1), array.T,
        array.reshape(-1)[:0],
        np.array(0), np.array(["x"]), np.array([b"ab"]), -array, np.repeat(array, 3, axis=0)
        if array.ndim else array, np.array([10**9, 10**9]), np.array(10**9), np.array([2**62] * 3),
        np.array([0, 0]), np.array(-1)])


def npy_values(file: Path, draw: random.Random) -> str:
    """Another array, or a header that says one."""
    array = np.load(file)
    if draw.random() < 0.5:
        data, new = file.read_bytes(), draw.choice([
            b"(1000000000,)", b"(-1, 3)", b"(2, 99999999999999999999)", b"()", b"x", b"(" * 300])
        at = data.index(b"'shape': ") + 9
        end = data.index(b")", at) + 1
        file.write_bytes(data[:at] + (new + b" " * end)[:end - at] + data[end:])
        return f"header {new!r}"
    new = _wrong_arrays(array, draw)
    with open(file, "wb") as handle:
        np.save(handle, new)
    return f"{new.dtype} {new.shape}"


def npz_values(file: Path, draw: random.Random) -> str:
    """An archive with another array, name, or more in it than it has on disk."""
    with np.load(file) as opened:
        arrays = {name: opened[name] for name in opened.files}
    name, how = draw.choice(list(arrays)), draw.choice(["array"] * 5 + ["remove", "rename", "bomb",
                                                                       "many", "pickle"])
    what = f"{name}: {how}"
    if how == "array":
        arrays[name] = _wrong_arrays(arrays[name], draw)
        what += f" {arrays[name].dtype} {arrays[name].shape}"
    elif how == "remove":
        del arrays[name]
    elif how == "rename":
        arrays[draw.choice(["x", "../x", "encoder.99", ""])] = arrays.pop(name)
    elif how == "bomb":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {
            "descr": "<i4", "fortran_order": False, "shape": (2**29,)})
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(
                f"{name}.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(2**5):
                member.write(bytes(2**24))  # as much as a trial takes in
        return what
    elif how == "many":
        with zipfile.ZipFile(file, "w") as archive:
            for i in range(5000):
                archive.writestr(f"{i}.npy", b"")
        return what
    else:
        arrays[name] = np.array([{"a": 1}], dtype=object)
    np.savez_compressed(file, **{k: v for k, v in arrays.items()})
    return what


# --- HDF5 -------------------------------------------------------------------------------------


def hdf5_values(file: Path, draw: random.Random) -> str:
    """An entry of an HDF5 file changed, removed, linked elsewhere, or declared enormous."""
    with h5py.File(file, "r+") as opened:
        names: list[str] = []
        opened.visit(names.append)
        name = draw.choice(names)
        found = opened[name]
        if opened.attrs and draw.random() < 0.25:
            key = draw.choice(list(opened.attrs))
            new = draw.choice(ATTRIBUTES)
            del opened.attrs[key]
            if draw.random() < 0.9:
                opened.attrs[key] = new
            return f"attribute {key}: {ascii(new)[:40]}"
        how = draw.choice(["array"] * 6 + ["remove", "soft", "external", "itself", "huge", "text",
                                           "attribute", "move", "group"])
        if isinstance(found, h5py.Group) and how in ("array", "huge"):
            how = "remove"
        if how == "attribute":
            found.attrs["x"] = 1
        elif how == "move":
            opened.move(name, f"{name}x")
        elif how == "array":
            new = _wrong_arrays(np.asarray(found[()]), draw) if found.dtype.kind in "iufb" else (
                np.array([draw.choice([b"dense", b"conv", b"input", b"CUBA", b"SDNN", b"", b"LIF",
                                       b"\xff"])]))
            del opened[name]
            opened[name] = new.astype("S") if new.dtype.kind == "U" else new
            how += f" {new.dtype} {new.shape} {ascii(new.ravel()[:3].tolist())[:40]}"
        else:
            del opened[name]
            if how == "soft":
                opened[name] = h5py.SoftLink(draw.choice(["/nowhere", f"/{name}", "/"]))
            elif how == "external":
                opened[name] = h5py.ExternalLink(draw.choice(["/etc/passwd", file.name, "x"]), "/")
            elif how == "itself":
                opened[name] = opened
            elif how == "huge":
                shape = draw.choice([(2**31,), (2**40,), (10**5, 10**5), (10**4, 10**4)])
                opened.create_dataset(name, shape, draw.choice(["i1", "i8", "f8"]), chunks=True)
            elif how == "text":
                opened[name] = "n" * draw.choice([0, 5, 5000])
            elif how == "group":
                opened.create_group(name)
        return f"{name}: {how}"


# --- PyTorch ----------------------------------------------------------------------------------


def _wrong_tensors(old: object) -> list:
    if not isinstance(old, Tensor):
        return [*WRONG, torch.ones(3, 3), b"x", (1, 2), {1: 2}, torch.zeros(1).expand(10**6, 10**6)]
    low, spoiled = old.float(), old.clone()
    if spoiled.is_floating_point() and spoiled.numel():
        spoiled.view(-1)[0] = float("nan")
    return [spoiled, old.double(), old.half(), old.int(), old[None], old.reshape(-1),
            low.to_sparse(), low.to(torch.complex64), torch.zeros(1).expand(10**6, 10**6), 3, "x",
            None, old + 1, torch.zeros(0), old.reshape(-1)[:-1], torch.zeros(old.shape[::-1])]


def torch_values(file: Path, draw: random.Random) -> str:
    """An entry of a PyTorch file changed."""
    state = copy.deepcopy(torch.load(file, weights_only=True))
    what = tree_changed(state, draw, _wrong_tensors)
    torch.save(state, file)
    return what


def torch_archive(file: Path, draw: random.Random) -> str:
    """An entry of the archive cut, so that a storage is shorter than its tensor says; packed."""
    with zipfile.ZipFile(file) as archive:
        entries = {e.filename: archive.read(e) for e in archive.infolist()}
    name = draw.choice(list(entries))
    how = draw.choice(["cut", "grow", "pickle", "pack"])
    if how == "cut":
        entries[name] = entries[name][:-draw.choice([1, 4, 8, 400])]
    elif how == "grow":
        entries[name] += bytes(4)
    elif how == "pickle":
        name = next(n for n in entries if n.endswith("data.pkl"))
        data = bytearray(entries[name])
        data[draw.randrange(len(data))] = draw.randrange(256)
        entries[name] = bytes(data)
    packing = zipfile.ZIP_DEFLATED if how == "pack" else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", packing) as archive:
        for key, data in entries.items():
            archive.writestr(key, data)
    return f"{name}: {how}"


# --- images -----------------------------------------------------------------------------------


def idx_values(file: Path, draw: random.Random) -> str:
    """Another number in the header of an IDX file."""
    data = bytearray(file.read_bytes())
    at = 4 * draw.randrange(4)
    new = draw.choice([0, 1, -1, 27, 2**31 - 1, 10**5, 10**9, 2051, 2049])
    data[at:at + 4] = struct.pack(">i", new)
    file.write_bytes(data)
    return f"header {at}: {new}"


def picture_values(file: Path, draw: random.Random) -> str:
    """Another picture, or one that says it is larger than it is."""
    how = draw.choice(["size", "bomb", "mode", "tiny", "text", "float"])
    if how == "size":
        data = bytearray(file.read_bytes())
        data[16:24] = struct.pack(">II", *(draw.choice([0, 1, 8, 10**5, 2**31 - 1])
                                           for _ in range(2)))
        file.write_bytes(data)
    elif how == "bomb":
        Image.new("1", draw.choice([(30000, 30000), (2**24, 1), (1, 60000), (9000, 9000)])).save(
            file, "PNG")
    elif how == "mode":
        mode = draw.choice(["1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"])
        Image.new(mode, (9, 11)).save(file, "PNG")
        how += mode
    elif how == "tiny":
        Image.new("L", (1, 1)).save(file, "PNG")
    elif how == "float":
        Image.new("F", (4, 4)).save(file, "TIFF")
    else:
        file.write_text("P5 99999 99999 255\n")
    return how
