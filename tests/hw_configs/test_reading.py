"""Nothing is read but regular files of a size, depth and length that something real has."""

from __future__ import annotations

import json
import os
import socket
import zipfile

import numpy as np
import pytest

from hw_configs import reading
from hw_configs.files import UserError
from hw_configs.reading import (
    TOML,
    check_input,
    map_array,
    parse_toml,
    read_bytes,
    read_counts,
    read_json,
    read_text,
    read_toml,
    sha256_of,
)


def node(path, what: str) -> None:
    """Something that is no regular file."""
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(path))
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", [
    lambda p: check_input(p, TOML), lambda p: read_bytes(p, TOML), lambda p: read_text(p, TOML),
    read_toml, read_json, read_counts, map_array, sha256_of])
@pytest.mark.parametrize(("what", "said"), [
    ("pipe", "is a pipe"), ("folder", "is a folder"), ("socket", "is a socket"),
    ("device", "is a device")])
def test_only_regular_files(tmp_path, monkeypatch, read, what, said):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    path = type(tmp_path)("x.toml")
    node(path, what)
    with pytest.raises(UserError, match=f"^x.toml: {said}, expected a "):
        read(path)


@pytest.mark.parametrize(("name", "said"), [
    ("nothing", "no such file; make one"), ("a" * 5000, "not readable: File name too long"),
    ("nul\0", "not readable: embedded null byte")])
def test_names(tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        read_bytes(tmp_path / name, TOML, "make one")


def test_size(tmp_path):
    file = tmp_path / "a.toml"
    file.write_bytes(b"")
    os.truncate(file, TOML.most)
    assert len(read_bytes(file, TOML)) == TOML.most
    os.truncate(file, TOML.most + 1)
    with pytest.raises(UserError, match=f"has {TOML.most + 1} bytes; a TOML file has at most"):
        read_bytes(file, TOML)


@pytest.mark.parametrize(("text", "said"), [
    ("a = " + "[" * 5000, "not valid TOML"),
    (".".join("a" * 40) + " = 1", "nested more than 32 deep"),
    ("a = " + "[" * 40 + "]" * 40, "nested more than 32 deep"),
    (f"a = {'9' * 30}", "holds an integer of 100 bits, expected at most 64"),
    (f"a = {'9' * 10**5}", "not valid TOML"),
])
def test_depth_and_length(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as error:
        parse_toml(text, "a.toml")
    assert "\n" not in str(error.value)
    assert parse_toml("a.b.c = [[1]]", "a.toml") == {"a": {"b": {"c": [[1]]}}}


def test_json(tmp_path):
    file = tmp_path / "a.json"
    for text, said in (("[" * 10**5, "not a readable thing"), ("[" * 40 + "]" * 40, "nested more"),
                       (str(2**70), "an integer of 71 bits"), ("{", "not a readable thing")):
        file.write_text(text)
        with pytest.raises(UserError, match=said):
            read_json(file, what="thing")
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="is no text in UTF-8"):
        read_json(file)
    file.write_text(json.dumps({"a": [1, 2.5]}))
    assert read_json(file) == {"a": [1, 2.5]}


def test_an_archive_is_no_larger_than_it_says(tmp_path, monkeypatch):
    file = tmp_path / "counts.npz"
    np.savez_compressed(file, a=np.arange(6), b=np.ones((2, 3), np.int32))
    found = read_counts(file)
    assert found["a"].tolist() == list(range(6)) and found["b"].shape == (2, 3)
    monkeypatch.setattr(reading, "MOST_UNPACKED", 300)
    with pytest.raises(UserError, match="holds 2 arrays of .* bytes; expected at most .* 300"):
        read_counts(file)


def _header(shape: str) -> bytes:
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(-1, 3)", "(4, 99999999999999999999)"])
def test_an_array_is_as_large_as_it_says(tmp_path, shape):
    data = _header(shape) + bytes(16)
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(UserError, match="not a readable .npy array: declares int32 of shape"):
        map_array(tmp_path / "a.npy")
    with pytest.raises(UserError, match="damaged .declares int32 of shape"):
        read_counts(tmp_path / "a.npz")


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(UserError, match="holds objects"):
        map_array(tmp_path / "a.npy")
