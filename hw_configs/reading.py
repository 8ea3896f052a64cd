"""The one way in: what a command reads is a regular file, not larger, deeper or longer than any
real one of its kind, and whatever a parser says of the rest is one line.

`Kind` has the caps, each with its reason. Nothing here waits: a pipe, a device, a socket or a
folder is refused before it is opened. HDF5 goes through lava_models.net.hdf5_input, PyTorch's files
through train.torch_file, pictures through hw_configs.pictures, all of which begin here.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import tomli

from hw_configs.files import UserError

T = TypeVar("T")
MOST_DEPTH = 32
"""Tables in tables; a report has 6 levels, a configuration 4."""
MOST_INTEGER = 2**64
"""What TOML promises is 64 bits; Python divides no larger one by a float."""
MOST_ARRAYS = 4096
"""In one archive; a run's counts are one per population, of which networks have tens."""
MOST_TICKS = 2**12
"""Of a network per image; published ones take 4 to 64."""
MOST_NEURONS = 2**22
"""Of a layer; a chip of Loihi 2 has a million."""


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    what: str
    most: int
    """Bytes."""


TOML = Kind("TOML file", 2**20)
"""The largest that comes along, a network of 30 layers, has 3 KB."""
JSON = Kind("JSON file", 2**26)
"""A report has four numbers per layer and timestep: 1 MB at 100 layers and 1 000 timesteps."""
NETWORK = Kind("network in HDF5", 2**30)
"""Beyond any chip's synaptic memory; the network of the paper has 10 MB."""
CHECKPOINT = Kind("PyTorch file", 2**32)
"""Weights, and two moments of each; the network of the paper has 50 MB."""
ARRAY = Kind("NumPy file", 2**34)
"""Mapped, not read: what is kept of it in memory is what is asked for."""
COUNTS = Kind("archive of counts", 2**28)
"""Packed."""
MOST_UNPACKED = 2**30
"""Bytes of an archive's arrays: 64 timesteps of 4 million neurons, in int32."""
DATA = Kind("file of a data set", 2**28)
"""The training set of MNIST has 47 MB."""
PICTURE = Kind("picture", 2**26)
PAGE = Kind("page", 2**28)
"""With its pictures."""
LIST = Kind("list of files", 2**26)
"""CelebA's partition has 4 MB."""
SOURCE = Kind("file", 2**34)
"""Only its hash is taken."""


def check_input(path: Path, kind: Kind, missing: str = "") -> Path:
    """See that `path` is a regular file of no more than the kind's bytes, without opening it.

    Args:
        missing: what to say after "no such file; ".

    Raises:
        UserError: it is not.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file" + f"; {missing}" * bool(missing)) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file has
        raise UserError(f"{path}: not readable: {_why(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is {_sort(found.st_mode)}, expected a {kind.what}")
    if found.st_size > kind.most:
        raise UserError(f"{path}: has {found.st_size} bytes; a {kind.what} has at most {kind.most}")
    return Path(path)


def read_bytes(path: Path, kind: Kind, missing: str = "") -> bytes:
    """All of a file.

    Raises:
        UserError: as `check_input`, or it cannot be read.
    """
    check_input(path, kind, missing)
    try:
        # Not to wait if it was made a pipe meanwhile; no more than was promised if it grows.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(kind.most)
    except OSError as error:
        raise UserError(f"{path}: not readable: {_why(error)}") from None


def read_text(path: Path, kind: Kind, missing: str = "") -> str:
    """All of a text.

    Raises:
        UserError: as `read_bytes`, or it is no UTF-8.
    """
    try:
        return read_bytes(path, kind, missing).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a readable {kind.what}: is no text in UTF-8") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        UserError: as `check_input`, or it cannot be read.
    """
    check_input(path, SOURCE)
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    except OSError as error:
        raise UserError(f"{path}: not readable: {_why(error)}") from None
    return digest.hexdigest()


def parse_toml(text: str, where: str) -> dict:
    """The values of a TOML text.

    Raises:
        UserError: no valid TOML, deeper than MOST_DEPTH, or an integer of more than 64 bits.
    """
    try:
        table = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of too many digits, too
        raise UserError(f"{where}: not valid TOML: {_why(error)}") from None
    _check_values(table, where)
    return table


def read_toml(path: Path, missing: str = "") -> dict:
    """The values of a TOML file.

    Raises:
        UserError: as `read_text` and `parse_toml`.
    """
    return parse_toml(read_text(path, TOML, missing), str(path))


def read_json(path: Path, missing: str = "", what: str = "JSON file", **hooks: Callable) -> object:
    """The value of a JSON file.

    Args:
        what: it is called in refusals.
        hooks: of json.loads.

    Raises:
        UserError: as `read_text`, no valid JSON, or as `parse_toml`.
    """
    try:
        value = json.loads(read_text(path, JSON, missing), **hooks)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable {what}: {_why(error)}") from None
    _check_values(value, str(path))
    return value


def read_counts(path: Path, missing: str = "") -> dict[str, np.ndarray]:
    """The arrays of a .npz archive; what they take is checked before it is taken.

    Raises:
        UserError: as `check_input`, or a damaged one.
    """
    check_input(path, COUNTS, missing)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ARRAYS or sum(e.file_size for e in entries) > MOST_UNPACKED:
                raise UserError(f"{path}: holds {len(entries)} arrays of "
                                f"{sum(e.file_size for e in entries)} bytes; expected at most "
                                f"{MOST_ARRAYS} and {MOST_UNPACKED}")
            for entry in entries:
                with archive.open(entry) as member:
                    _check_array(member, entry.file_size)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise UserError(f"{path}: damaged ({_why(error)})") from None


def map_array(path: Path, missing: str = "") -> np.ndarray:
    """The array of a .npy file, mapped: nothing is read before it is asked for.

    Raises:
        UserError: as `check_input`, or no such array.
    """
    check_input(path, ARRAY, missing)
    try:
        if zipfile.is_zipfile(path):
            raise UserError(f"{path}: holds several arrays (.npz); expected one, as .npy")
        with open(path, "rb") as file:
            _check_array(file, os.fstat(file.fileno()).st_size)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        raise UserError(f"{path}: not a readable .npy array: {_why(error)}") from None


DAMAGED = (OSError, ValueError, EOFError, LookupError, TypeError, SyntaxError, ArithmeticError,
           MemoryError, RuntimeError, RecursionError, NotImplementedError, zipfile.BadZipFile,
           zlib.error, tokenize.TokenError)
"""What readers of binary formats raise on damaged bytes (zipfile, numpy, h5py, PIL)."""


def _check_array(file, size: int) -> None:
    """Of a .npy: what its header declares is in the file.

    Raises:
        ValueError: it is not.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError("unknown version")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("holds objects")
    declared = dtype.itemsize
    for n in shape:  # exact, however large
        declared *= n
    if any(n < 0 for n in shape) or not 0 <= declared <= size:
        raise ValueError(f"declares {dtype} of shape {shape}, the file has {size} bytes")


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}


def _check_values(value: object, where: str) -> None:
    """Raises:
        UserError: nested too deep, or too large an integer.
    """
    left = [(value, 0)]
    while left:
        value, depth = left.pop()
        if depth > MOST_DEPTH:
            raise UserError(f"{where}: nested more than {MOST_DEPTH} deep")
        if isinstance(value, dict):
            left += ((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            left += ((inner, depth + 1) for inner in value)
        elif isinstance(value, int) and abs(value) >= MOST_INTEGER:
            raise UserError(f"{where}: holds an integer of {value.bit_length()} bits, expected at "
                            "most 64")


def _sort(mode: int) -> str:
    """What is no regular file, in words."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
    return next((words for holds, words in kinds if holds(mode)), "no regular file")


def _why(error: Exception) -> str:
    """One line of an exception, not more than a reader takes in."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.splitlines()[0][:200]
