"""Reads chips, boards and energy constants (TOML) into frozen dataclasses; refuses by key.

A `[table]` of the file is a field of the dataclass; every number in it says its unit, which must
be the one the field expects, its source, and the interval where one is known.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from importlib import resources
from pathlib import Path
from typing import TypeVar

from hw_configs.files import UserError
from hw_configs.hardware import (
    Board,
    Chip,
    EnergyConstants,
    HwConfigError,
    MacConstants,
    QuantisedAnn,
)
from hw_configs.reading import parse_toml, read_toml

T = TypeVar("T")


def load_chip(name: str = "loihi2", file: Path | None = None) -> Chip:
    """Load `hw_configs/chips/<name>.toml`, or a user's `file`.

    Raises:
        HwConfigError: the file is missing, is no TOML, or a key is missing, unknown, of the wrong
            type, in the wrong unit or out of range.
    """
    data, where = _read("chips", name, file)
    return build(Chip, data, where)


def load_board(name: str | Path) -> Board:
    """Load a board by name or from a user's TOML file.

    The file's `chip` is the name of a chip, or a TOML file beside it.

    Raises:
        HwConfigError: as in `load_chip`.
    """
    file = Path(name) if str(name).endswith(".toml") else None
    data, where = _read("boards", str(name), file)
    chip = data.get("chip")
    if not (isinstance(chip, str) and chip.isprintable() and Path(chip).name == chip):
        raise HwConfigError(f"{where}: chip: got {chip!r}, expected a chip's name "
                            f"({', '.join(names('chips'))}) or a TOML file")
    beside = file.parent / chip if file is not None and chip.endswith(".toml") else None
    return build(Board, {**data, "chip": load_chip(chip, beside)}, where)


def load_constants(name: str | Path) -> EnergyConstants:
    """Load a set of energy constants by name or from a user's TOML file.

    Raises:
        HwConfigError: as in `load_chip`.
    """
    file = Path(name) if str(name).endswith(".toml") else None
    data, where = _read("energy", str(name), file)
    return build(EnergyConstants, data, where)


def load_mac(name: str = "mac-45nm") -> MacConstants:
    """Load the energy of a multiply-accumulate.

    Raises:
        HwConfigError: as in `load_chip`.
    """
    return build(MacConstants, *_read("baselines", name, None))


def load_quantised_ann(name: str = "qann-45nm") -> QuantisedAnn:
    """Load what a quantised network without spikes costs.

    Raises:
        HwConfigError: as in `load_chip`.
    """
    return build(QuantisedAnn, *_read("baselines", name, None))


def names(kind: str) -> list[str]:
    """Names of the shipped "chips", "boards", "energy" constant sets or "networks"."""
    folder = resources.files("hw_configs") / kind
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def _read(kind: str, name: str, file: Path | None) -> tuple[dict, str]:
    where = str(file or f"hw_configs/{kind}/{name}.toml")
    known = f"shipped are {', '.join(names(kind))}, or name a .toml file"
    if file is None and name not in names(kind):
        raise HwConfigError(f"{where}: no such hardware description; {known}")
    try:
        if file is not None:
            return read_toml(file, known), where
        text = resources.files("hw_configs") / kind / f"{name}.toml"
        return parse_toml(text.read_text(encoding="utf-8"), where), where
    except UserError as error:
        raise HwConfigError(str(error)) from None


def _types(cls: type) -> dict[str, type]:
    return typing.get_type_hints(cls)


def build(cls: type[T], table: dict, where: str) -> T:
    """An instance of a dataclass from a table; `where` is the file, then the keys so far."""
    wanted = {f.name: f for f in dataclasses.fields(cls)}
    for key in table:
        if key not in wanted:
            raise HwConfigError(f"{where}: {key}: unknown key, known: {', '.join(wanted)}")
    values = {}
    for key, spec in wanted.items():
        if key in table:
            values[key] = _convert(table[key], _types(cls)[key], f"{where}: {key}",
                                   spec.metadata.get("units", ()))
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING \
                and not _optional(_types(cls)[key]):
            raise HwConfigError(f"{where}: {key}: missing")
    try:
        return cls(**values)
    except HwConfigError as error:
        raise HwConfigError(f"{where}: {error}") from None


def _optional(kind) -> bool:
    return isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind)


def _convert(value, kind, where: str, units: tuple[str, ...]):
    if _optional(kind):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, list):
        item = typing.get_args(kind)[0]
        return tuple(_convert(v, item, f"{where}[{i}]", units) for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        item = typing.get_args(kind)[1]
        return {k: _convert(v, item, f"{where}.{k}", units) for k, v in value.items()}
    if isinstance(value, dict) and dataclasses.is_dataclass(kind):
        built = build(kind, value, where)
        if units and built.unit not in units:
            raise HwConfigError(f"{where}: unit: got {built.unit!r}, expected "
                                f"{' or '.join(map(repr, units))}")
        return built
    if kind is float and isinstance(value, int) and abs(value) <= 2**53 \
            and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(value, kind) and (kind is bool) == isinstance(value, bool):
        return value
    wanted = "a table" if dataclasses.is_dataclass(kind) or origin is dict else \
        "a list of tables" if origin is tuple else f"a {kind.__name__}"
    raise HwConfigError(f"{where}: got {value!r}, expected {wanted}")
