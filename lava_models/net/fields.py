"""What model.net holds, entry by entry, and the reader that takes that and nothing else.

Every entry is declared once, as a `Field`. Its kind and shape are checked on the HDF5 header before
a byte of its data is read, its numbers before they become int32 or float32: what is read is what
the file says, or the file is refused. Nothing is followed out of the file, and what a file declares
is never more than MOST_BYTES.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import h5py
import numpy as np

from hw_configs.files import UserError
from lava_models.net.hdf5_input import FILTERS

MOST_BYTES = 512 * 2**20
"""What the entries of a file may declare together; a network of the presets takes about 10 MB."""
_WORDS = {"i": "integers", "f": "floating-point numbers", "b": "true or false", "S": "text"}
_WHAT = {h5py.h5g.GroupID: "group", h5py.h5d.DatasetID: "dataset"}
Object = TypeVar("Object", h5py.h5g.GroupID, h5py.h5d.DatasetID)


@dataclass(frozen=True)
class Field:
    """One entry: an attribute of the file, or a dataset of a group."""

    name: str
    dtype: str
    """As numpy's; what is written. Integers of another width and shorter floats are read, too."""
    shape: tuple[int | str, ...] = ()
    """A name stands for any size, the same throughout a group. Text is one string."""
    low: int | None = None
    """Least integer; default: what `dtype` holds, and int32, which it is in memory."""
    high: int | None = None
    optional: bool = False

    @property
    def kind(self) -> str:
        """As numpy's: i, f, b or S."""
        return np.dtype(self.dtype).kind

    @property
    def range(self) -> tuple[float, float]:
        """Least and largest number, both included."""
        if self.kind == "f":
            most = float(np.finfo(self.dtype).max)
            return -most, most
        if self.kind == "b":
            return 0, 1
        bits = np.iinfo(min(np.dtype(self.dtype), np.dtype("i4"), key=lambda t: t.itemsize))
        return (bits.min if self.low is None else self.low,
                bits.max if self.high is None else self.high)

    def value(self, stored) -> np.ndarray | str:
        """As it is in memory: text, int32, bool, or floats of `dtype`."""
        if self.kind == "S":
            return stored if isinstance(stored, str) else bytes(np.ravel(stored)[0]).decode()
        return np.asarray(stored, np.int32 if self.kind == "i" else self.dtype)

    def stored(self, value) -> np.ndarray:
        """As it is on disk. Text has a fixed length: HDF5 keeps no checksum of any other."""
        if self.kind == "S":
            return np.array(value.encode(), "S").reshape(self.shape)
        return np.asarray(value, self.dtype)


@dataclass
class Reader:
    """Reads declared entries; every refusal is one line that begins with the file's name.

    Values are returned by the name that a user is told: "attribute 'ticks'", "/prior/layer/0/bias".
    """

    file: h5py.File
    where: str
    _bytes: int = field(default=0, init=False)
    """Declared by what was read so far."""
    _paths: dict[int, str] = field(default_factory=dict, init=False)
    """Address in the file to the path that was read there."""
    _groups: dict[str, h5py.h5g.GroupID] = field(init=False)

    def __post_init__(self) -> None:
        self._groups = {"": h5py.h5g.open(self.file.id, b"/")}

    def refuse(self, text: str) -> NoReturn:
        """Raises:
            UserError: always.
        """
        raise UserError(f"{self.where}: {text}; export it again")

    def attributes(self, fields: tuple[Field, ...]) -> dict[str, np.ndarray | str]:
        """All attributes of the file."""
        names = set(self.file.attrs)
        self._check_names(names, fields, "attribute '{}'")
        return {attribute(f.name): self._read(h5py.h5a.open(self.file.id, f.name.encode()), f,
                                               attribute(f.name), {})
                for f in fields if f.name in names}

    def group(self, path: str, fields: tuple[Field, ...], *groups: str
              ) -> dict[str, np.ndarray | str]:
        """All datasets of a group, "" the file; `groups` are the names of the groups in it."""
        names, sizes, values = self._members(path), {}, {}
        self._check_names(names, (*fields, *(Field(g, "S") for g in groups)), f"{path}/{{}}")
        for f in fields:
            item = f"{path}/{f.name}"
            values[item] = self._read(self._only(path, f.name, h5py.h5d.DatasetID), f, item, sizes)
        return values

    def kind(self, path: str, by: Field, known: Mapping[str, tuple[Field, ...]]) -> str:
        """The text of entry `by`, which says what else a group holds."""
        item = f"{path}/{by.name}"
        kind = self._read(self._only(path, by.name, h5py.h5d.DatasetID), by, item, {})
        if kind not in known:
            self.refuse(f"{item} is {kind!a}, known are {', '.join(known)}")
        return kind

    def count(self, path: str) -> int:
        """How many groups there are in one that holds 0, 1, 2 ... and nothing else."""
        names = self._members(path)
        self._check_names(names, [Field(str(i), "S") for i in range(len(names))], f"{path}/{{}}")
        return len(names)

    def axes(self, path: str, name: str, *known: int) -> int:
        """How many axes a dataset has."""
        shape = self._only(path, name, h5py.h5d.DatasetID).shape
        if len(shape) not in known:
            self.refuse(f"{path}/{name} has shape {shape}, expected "
                        f"{' or '.join(map(str, known))} axes")
        return len(shape)

    def same(self, name: str, target: str) -> None:
        """`name`, of the file itself, is a second name of the group `target`."""
        found = self._object("", name, h5py.h5g.GroupID)
        if self._paths.get(h5py.h5o.get_info(found).addr) != target:
            self.refuse(f"/{name} is another group than {target}")

    def _group(self, path: str) -> h5py.h5g.GroupID:
        if path not in self._groups:
            above, name = path.rsplit("/", 1)
            self._groups[path] = self._only(above, name, h5py.h5g.GroupID)
        return self._groups[path]

    def _members(self, path: str) -> set[str]:
        return {name.decode("utf-8", "backslashreplace") for name in self._group(path)}

    def _only(self, path: str, name: str, what: type[Object]) -> Object:
        """An object of a group, which nothing else that is read may name."""
        found = self._object(path, name, what)
        item = f"{path}/{name}"
        first = self._paths.setdefault(h5py.h5o.get_info(found).addr, item)
        if first != item:
            self.refuse(f"{item} is the same {_WHAT[what]} as {first}")
        return found

    def _object(self, path: str, name: str, what: type[Object]) -> Object:
        group, item, key = self._group(path), f"{path}/{name}", name.encode()
        if key not in group:
            self.refuse(f"{item} is missing")
        if group.links.get_info(key).type != h5py.h5l.TYPE_HARD:
            self.refuse(f"{item} is a link to elsewhere, expected a {_WHAT[what]}")
        found = h5py.h5o.open(group, key)
        if not isinstance(found, what):
            self.refuse(f"{item} is a {_WHAT.get(type(found), 'type')}, expected a {_WHAT[what]}")
        if h5py.h5o.get_info(found).num_attrs:
            self.refuse(f"{item} has attributes, expected none")
        return found

    def _check_names(self, names: set[str], fields: Iterable[Field], text: str) -> None:
        """All that must be there are, and nothing else is."""
        known = {f.name: f.optional for f in fields}
        for name in sorted(names - known.keys()):
            said = text.format(name if name.isprintable() else ascii(name))
            self.refuse(f"{said} is unknown; known are {', '.join(known) or 'none'}")
        for name, optional in known.items():
            if name not in names and not optional:
                self.refuse(f"{text.format(name)} is missing")

    def _read(self, item: h5py.h5a.AttrID | h5py.h5d.DatasetID, f: Field, name: str,
              sizes: dict[str, int]) -> np.ndarray | str:
        """The value of an entry; `sizes` has those of the group that have a name."""
        self._check_header(item, f, name, sizes)
        stored = np.empty(item.shape, item.dtype)
        if isinstance(item, h5py.h5a.AttrID):
            item.read(stored)
        else:
            item.read(h5py.h5s.ALL, h5py.h5s.ALL, stored)
        if f.kind == "S":
            return self._text(f, stored, name)
        low, high = f.range
        numbers = stored.view(np.uint8) if f.kind == "b" else stored
        least, most = numbers.min(), numbers.max()
        if not (low <= least and most <= high):  # not a number is neither
            said = least if numbers.size == 1 else f"{least}...{most}"
            expected = "finite numbers" if f.kind == "f" else low if low == high else (
                f"{low} to {high}")
            self.refuse(f"{name} is {said}, expected {expected}")
        return f.value(stored)

    def _text(self, f: Field, stored: np.ndarray, name: str) -> str:
        try:
            return f.value(stored)
        except UnicodeDecodeError:
            self.refuse(f"{name} is no text in UTF-8")

    def _check_header(self, item, f: Field, name: str, sizes: dict[str, int]) -> None:
        """Kind, shape and size of an entry, from its header alone."""
        if item.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            self.refuse(f"{name} is empty, expected {_WORDS[f.kind]}")
        try:
            dtype = item.dtype
        except TypeError:  # of a type that numpy does not have
            self.refuse(f"{name} holds no numbers or text, expected {_WORDS[f.kind]}")
        text = h5py.check_string_dtype(dtype) is not None
        same = text if f.kind == "S" else not text and dtype.kind in {"i": "iu"}.get(f.kind, f.kind)
        if not same or f.kind == "f" and dtype.itemsize > np.dtype(f.dtype).itemsize:
            self.refuse(f"{name} holds {'text' if text else dtype}, expected {_WORDS[f.kind]}"
                        + (f" of at most {8 * np.dtype(f.dtype).itemsize} bits" if f.kind == "f"
                           else ""))
        known = dict(sizes)
        fits = len(item.shape) == len(f.shape) and all(
            n >= 1 and n == (sizes.setdefault(size, n) if isinstance(size, str) else size)
            for n, size in zip(item.shape, f.shape))
        if not fits:
            expected = ", ".join(f"{s} = {known[s]}" if s in known else str(s) for s in f.shape)
            self.refuse(f"{name} has shape {item.shape}, expected ({expected})")
        declared = max(math.prod(item.shape), self._chunk(item, name)) * dtype.itemsize
        self._bytes += declared
        if self._bytes > MOST_BYTES:
            self.refuse(f"{name} of shape {item.shape} declares {declared} bytes; a file may hold "
                        f"{MOST_BYTES}")

    def _chunk(self, item, name: str) -> int:
        """Numbers that are read at once at least; where they lie must be this file, as written."""
        if isinstance(item, h5py.h5a.AttrID):
            return 0
        layout = item.get_create_plist()
        filters = {layout.get_filter(i)[0] for i in range(layout.get_nfilters())}
        if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
            self.refuse(f"{name} lies in another file")
        if not filters <= FILTERS:
            self.refuse(f"{name} is packed by a filter other than gzip")
        return math.prod(layout.get_chunk()) if layout.get_layout() == h5py.h5d.CHUNKED else 0


def attribute(name: str) -> str:
    """What an attribute is called in values and refusals."""
    return f"attribute '{name}'"
