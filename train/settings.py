"""Where settings come from and go to: presets, TOML, flags, checkpoints (train.config has them)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Literal, get_type_hints

from hw_configs.files import UserError
from hw_configs.reading import parse_toml
from train.config import CONFIGS, KINDS, Kind, RunConfig, flag_of, nearest


def run_of(kind: str) -> RunConfig:
    """The defaults of a --model."""
    model = CONFIGS[kind]()
    return RunConfig(model=model, loss=model.loss())


def presets(folder: str = ".") -> dict[str, Path]:
    """Name to file of every preset shipped: of data sets, or in "models" of what models change."""
    folder = resources.files("train") / "presets" / folder
    return {f.name.removesuffix(".toml"): f for f in folder.iterdir() if f.name.endswith(".toml")}


def flags_of(kind: str) -> set[str]:
    """The flags that set a --model's network and loss: "--ticks" and so on."""
    model = CONFIGS[kind]
    return {flag_of(name) for settings in (model, model.loss) for name in _names(settings)}


def _names(settings: type) -> Iterator[str]:
    """Names of a dataclass's plain fields, those of the dataclasses in it included."""
    hints = get_type_hints(settings)
    for f in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[f.name]):
            yield from _names(hints[f.name])
        else:
            yield f.name


def refuse_foreign(name: str, said: str, kind: str) -> None:
    """Refuse a flag that is another model's; `said` is what the user wrote.

    Raises:
        UserError: it is; names the models that have it.
    """
    owners = [k for k in KINDS if name in flags_of(k)]
    if owners and kind not in owners:
        raise UserError(f"{said}: is no setting of --model {kind}; it belongs to --model "
                        f"{' and '.join(owners)}")


def kind_in(values: dict, where: str) -> str | None:
    """The --model that a file's values name.

    Raises:
        UserError: there is none such.
    """
    model = values.get("model")
    kind = model.get("kind") if isinstance(model, dict) else None
    return None if kind is None else _convert(kind, Kind, where, "model.kind")


def load_toml(text: str, where: str, base: RunConfig, *, of_all_models: bool = False) -> RunConfig:
    """`base` with the settings of a TOML text.

    Args:
        of_all_models: leave out what is a setting of other models only, instead of refusing it.

    Raises:
        UserError: no valid TOML, an unknown key (with the nearest name), one of another model, or
            a wrong type.
    """
    return overlay(base, parse_toml(text, where), where, of_all_models=of_all_models)


def overlay(base: RunConfig, values: dict, where: str, *, of_all_models: bool = False
            ) -> RunConfig:
    """`load_toml` of values. They may name the model, which stays that of `base`."""
    values = {**values}
    if kind_in(values, where) is not None:
        values["model"] = {k: v for k, v in values["model"].items() if k != "kind"}
    return _overlay(base, values, where, (), base.model.kind, of_all_models)


def _overlay(base, values: dict, where: str, path: tuple[str, ...], kind: str, drop: bool):
    hints, changes = get_type_hints(type(base)), {}
    known = {f.name for f in dataclasses.fields(base)}
    if not isinstance(values, dict):
        raise UserError(f"{where}: {'.'.join(path)} = {values!r}, expected a section of settings")
    for key, value in values.items():
        name = ".".join((*path, key))
        owners = [k for k in KINDS if _has(run_of(k), (*path, key))]
        if key in known:
            current = getattr(base, key)
            changes[key] = (
                _overlay(current, value, where, (*path, key), kind, drop)
                if dataclasses.is_dataclass(current) else
                _convert(value, hints[key], where, name))
        elif not owners:
            raise UserError(f"{where}: unknown setting {name!r}{nearest(key, known)}")
        elif not drop:
            raise UserError(f"{where}: {name!r} is no setting of --model {kind}; it belongs to "
                            f"--model {' and '.join(owners)}")
    return dataclasses.replace(base, **changes)


def _has(config, path: tuple[str, ...]) -> bool:
    """Whether there is a setting of that path."""
    for name in path:
        if name not in {f.name for f in dataclasses.fields(config)}:
            return False
        config = getattr(config, name)
    return True


def _convert(value, hint, where: str, name: str):
    choices = getattr(hint, "__args__", ())
    if getattr(hint, "__origin__", None) is Literal:
        if value not in choices:
            raise UserError(f"{where}: {name} = {value!r}, expected one of {', '.join(choices)}")
        return value
    if hint == tuple[int, ...] and isinstance(value, (list, tuple)) and all(
            type(v) is int for v in value):
        return tuple(value)
    wanted = [t for t in (choices if choices and hint != tuple[int, ...] else (hint,))]
    if Path in wanted and isinstance(value, str) and value:  # "" would be the working folder
        return Path(value)
    if float in wanted and type(value) is int and abs(value) <= 2**53:
        return float(value)
    if type(value) in wanted and (type(value) is not float or math.isfinite(value)):
        return value
    raise UserError(f"{where}: {name} = {value!r}, expected {getattr(hint, '__name__', hint)}")


def to_dict(config: RunConfig) -> dict:
    """The config as plain values for TOML and checkpoints; None is left out."""
    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if v is not None}
        if isinstance(value, tuple):
            return list(value)
        return str(value) if isinstance(value, Path) else value

    values = plain(dataclasses.asdict(config))
    return {**values, "model": {"kind": config.model.kind, **values["model"]}}


def differences(theirs, ours, without: frozenset[str] = frozenset()) -> list[str]:
    """Settings that differ, by flag, as "--lr 0.001, not 0.002": theirs, then ours.

    Args:
        theirs, ours: dataclasses of settings, the same or of two models.
        without: names left out.
    """
    found: list[str] = []
    for f in dataclasses.fields(theirs):
        if f.name in without:
            continue
        a, b = getattr(theirs, f.name), getattr(ours, f.name, None)
        if dataclasses.is_dataclass(a) and type(a) is type(b):
            found += differences(a, b, without)
        elif a != b and not (isinstance(a, Path) and isinstance(b, Path)
                             and a.resolve() == b.resolve()):
            found.append(f"{flag_of(f.name)} {_shown(a)}, not {_shown(b)}")
    return found


def _shown(value) -> str:
    """A setting's value as one types it."""
    if dataclasses.is_dataclass(value):
        return getattr(value, "kind", type(value).__name__)
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def from_dict(values: dict, where: str) -> RunConfig:
    """Inverse of `to_dict`; takes what older releases stored, too: settings of all models.

    Raises:
        UserError: as `load_toml`.
    """
    if values.get("dataset") == "folder" and "flip" not in values:
        values = {**values, "flip": True}  # older releases always flipped them
    return overlay(run_of(kind_in(values, where) or "fsvae"), values, where, of_all_models=True)
