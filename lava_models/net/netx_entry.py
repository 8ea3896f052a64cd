"""One layer of a NetX file: fields read by kind and range, or refused by layer, type and field."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError
from hw_configs.reading import MOST_NEURONS
from lava_models.net.hdf5_input import entry_of, values_of


class LayerEntry:
    """One entry of /layer; whatever is wrong with it is said with its number, type and field."""

    def __init__(self, group: h5py.Group, number: int, path: Path) -> None:
        self.path, self.number = path, number
        self.name = f"layer.{number}"
        self.type = "?"
        self.notes: list[str] = []
        try:
            entry = entry_of(group, str(number))
        except ValueError as error:
            raise UserError(f"{path}: /layer/{number} {error}") from None
        if not isinstance(entry, h5py.Group):
            raise UserError(f"{path}: /layer/{number} is missing; {len(group)} layers were "
                            "expected to be numbered from 0")
        self.group = entry
        self.type = self.text("type")

    def error(self, field: str, what: str) -> UserError:
        return UserError(f"{self.path}: /layer/{self.number} ({self.type}): {field}: {what}")

    def note(self, field: str, what: str) -> None:
        self.notes.append(f"{self.name} ({self.type}): {field}: {what}")

    def has(self, field: str) -> bool:
        return field in self.group

    def _value(self, field: str) -> np.ndarray:
        try:
            found = entry_of(self.group, field)
            if not isinstance(found, h5py.Dataset):
                raise self.error(field, "is missing")
            return values_of(found)
        except ValueError as error:
            raise self.error(field, str(error)) from None

    def text(self, field: str) -> str:
        value = np.ravel(self._value(field))
        of = value[0] if value.size else b""
        return of.decode("ascii", "replace") if isinstance(of, bytes) else str(of)

    def array(self, field: str) -> np.ndarray:
        value = self._value(field)
        if not value.size or not (np.issubdtype(value.dtype, np.number)
                                  or value.dtype == bool) or np.iscomplexobj(value):
            raise self.error(field, f"holds {value.dtype} of shape {value.shape}, expected numbers")
        if not np.isfinite(value).all():
            raise self.error(field, "holds numbers that are not finite")
        return value

    def whole(self, field: str) -> np.ndarray:
        """Cut to whole numbers, int64, as NetX does."""
        value = self.array(field)
        reach = max(-float(value.min()), float(value.max()))
        if reach >= 2**31:
            raise self.error(field, f"reaches {reach:g}, expected less than 2^31")
        whole = value.astype(np.int64)
        if not np.array_equal(whole, value):
            self.note(field, "holds fractions, which stock NetX cuts to whole numbers")
        return whole

    def matrix(self, field: str, rows: int) -> np.ndarray:
        """(rows, n); one axis is one, too."""
        value = self.whole(field)
        if value.ndim == 1 and value.size % rows == 0:
            return value.reshape(rows, -1)
        if value.ndim != 2:
            raise self.error(field, f"has shape {value.shape}, expected (out, in)")
        return value

    def number_at(self, field: str, default: float | None = None) -> float:
        if default is not None and not self.has(field):
            return default
        value = self.array(field)
        if value.size != 1:
            raise self.error(field, f"has shape {value.shape}, expected one number")
        return float(value.item())

    def whole_at(self, field: str, default: int | None = None) -> int:
        """One whole number; a chip's registers hold nothing else."""
        if default is not None and not self.has(field):
            return default
        value = self.number_at(field)
        if value != int(value):
            raise self.error(field, f"{value:g}, expected a whole number")
        return int(value)

    def _axes(self, field: str) -> np.ndarray:
        """One or a few whole numbers, int64 (n,)."""
        value = np.ravel(self.array(field))
        if np.any(value != np.trunc(value)) or np.abs(value).max() >= 2**31:
            raise self.error(field, f"{value.tolist()}, expected whole numbers")
        return value.astype(np.int64)

    def pair(self, field: str) -> tuple[int, int]:
        """(y, x) of a field that holds both, or one number for both."""
        value = self._axes(field)
        if value.size not in (1, 2):
            raise self.error(field, f"has shape {value.shape}, expected (y, x)")
        return int(value[0]), int(value[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        value = tuple(self._axes("shape")[:4].tolist())
        if min(value) < 1 or len(value) > 3 or math.prod(value) > MOST_NEURONS:
            raise self.error("shape", f"{list(value)}, expected (n) or (channel, y, x), of at most "
                             f"{MOST_NEURONS} neurons")
        return value
