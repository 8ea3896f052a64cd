"""HDF5 files, the one way in: nothing is followed out of a file, and what a dataset declares is
known before it is read.

Entries that are declared one by one are read by lava_models.net.fields, those of files that others
wrote here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError
from hw_configs.reading import DAMAGED, NETWORK, check_input

LFS = b"version https://git-lfs"
MOST_NUMBERS = 2**24
"""In a dataset: as many weights as a chip has room for in 8 bits."""
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
"""Built into HDF5: no other is loaded for a file's sake."""
_HEAP, _HEAP_HEADER = b"GCOL\x01\0\0\0", 16
"""How a collection of texts of any length begins; bytes before its entries, and of each."""


@contextmanager
def open_hdf5(path: Path, what: str, missing: str = "", remedy: str = "") -> Iterator[h5py.File]:
    """An HDF5 file for reading.

    Args:
        what: the file should be, e.g. "NetX file".
        missing: what to say after "no such file; ".
        remedy: what to do about a damaged one.

    Raises:
        UserError: as `check_input`, a git-lfs pointer, no HDF5, or damaged where the block looked.
    """
    check_input(path, NETWORK, missing or f"expected a {what}")
    with open(path, "rb") as file:
        if file.read(len(LFS)) == LFS:
            raise UserError(f"{path}: a git-lfs pointer, not the network itself; fetch it with "
                            "git lfs pull")
    try:
        check_heaps(path)
        with h5py.File(path, "r") as file:
            yield file
    except DAMAGED:  # h5py's and numpy's ways to say that bytes are damaged
        raise UserError(f"{path}: not a readable {what} (damaged, cut short, or another format)"
                        + f"; {remedy}" * bool(remedy)) from None


def is_hdf5(path: Path) -> bool:
    """Whether a path is a file that HDF5 opens; asks nothing of what is no regular file."""
    return path.is_file() and bool(h5py.is_hdf5(path))


def entry_of(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """What lies in a group under a name or path; None where nothing does.

    Raises:
        ValueError: a link that may lead out of the file, or round in it.
    """
    at: h5py.Group | h5py.Dataset = group
    for part in name.split("/"):
        if not isinstance(at, h5py.Group) or part not in at:
            return None
        if not isinstance(at.get(part, getlink=True), h5py.HardLink):
            raise ValueError("is a link to elsewhere")
        at = at[part]
    return at


def values_of(dataset: h5py.Dataset) -> np.ndarray:
    """All numbers or texts of a dataset.

    Raises:
        ValueError: it lies in another file, declares more than MOST_NUMBERS or holds neither.
    """
    layout = dataset.id.get_create_plist()
    filters = {layout.get_filter(i)[0] for i in range(layout.get_nfilters())}
    if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError("lies in another file")
    if not filters <= FILTERS:
        raise ValueError("is packed by a filter other than gzip")
    if dataset.shape is None:
        raise ValueError("is empty")
    chunk = math.prod(dataset.chunks or ())
    if max(math.prod(dataset.shape), chunk) > MOST_NUMBERS or dataset.dtype.itemsize > 2**10:
        raise ValueError(f"declares {dataset.dtype} of shape {dataset.shape}, expected at most "
                         f"{MOST_NUMBERS} numbers")
    if dataset.dtype.kind not in "iufbcS" and h5py.check_string_dtype(dataset.dtype) is None:
        raise ValueError(f"holds {dataset.dtype}, expected numbers or text")
    return np.asarray(dataset[()])


def check_heaps(path: Path) -> None:
    """See that every collection of texts in an HDF5 file comes to an end: over one with an entry of
    no size, HDF5 goes round for ever (its format specification, III.E, global heap).

    Raises:
        OSError: as h5py does of other damage.
    """
    data = path.read_bytes()
    at = data.find(_HEAP)
    while at >= 0:
        end = at + int.from_bytes(data[at + 8:at + 16], "little")
        entry = at + _HEAP_HEADER
        while entry + _HEAP_HEADER <= end:
            index = int.from_bytes(data[entry:entry + 2], "little")
            size = int.from_bytes(data[entry + 8:entry + 16], "little")
            # What is free counts its own header.
            size = _HEAP_HEADER + -(-size // 8) * 8 if index else size
            if size < _HEAP_HEADER or entry + size > end or end > len(data):
                raise OSError("a collection of texts is damaged")
            entry += size
        at = data.find(_HEAP, at + 1)
