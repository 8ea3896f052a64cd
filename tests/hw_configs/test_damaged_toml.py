"""A chip, board, set of constants or config.toml with any one byte or value changed: refused in one
line, or what it says; and what it says has a unit, and a size that something can have."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
import tomli
from mutants import REFUSED, SAME, Mutant, damaged_bytes, survey

from hw_configs import HwConfigError, load_board, load_chip, load_constants
from hw_configs.files import UserError
from hw_configs.reading import read_toml
from train.settings import from_dict, to_dict

VALUES = ["-5", "0", "1.5", "nan", "inf", "-inf", "1e400", "9" * 400, "9" * 5000, "true", '""',
          '"x"', '"a\\nb"', "[]", "{}", "[[1]]", "1979-05-27", "-0.0", "3", "[" * 5000, "0x10"]


def _text(kind: str, name: str) -> str:
    return (resources.files("hw_configs") / kind / f"{name}.toml").read_text("utf-8")


def changed_values(text: str, draw: random.Random, count: int) -> Iterator[Mutant]:
    """The file with one value, key or line changed."""
    lines = text.splitlines()
    for _ in range(count):
        changed, at = list(lines), draw.randrange(len(lines))
        key, equals, _ = lines[at].partition(" = ")
        how = draw.choice(["value"] * 6 + ["remove", "twice", "rename"])
        if how == "remove":
            del changed[at]
        elif how == "twice":
            changed.insert(at, lines[at])
        elif how == "rename":
            changed[at] = "x" + lines[at]
        elif equals:
            changed[at] = f"{key} = {draw.choice(VALUES)}"
        yield f"line {at + 1}: {how}: {changed[at:at + 1]!r:.80}", "\n".join(changed).encode()


def _plain(value):
    """A described thing as the table that it was read from; what was left out is left out."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)
                if getattr(value, f.name) is not None}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _described(load: Callable) -> Callable:
    """A judge: what is read is what the file says, every number is finite and of its sign."""
    def judge(file: Path) -> str:
        found, said = _plain(load(file)), tomli.loads(file.read_text("utf-8"))
        found |= {k: v for k, v in said.items() if k == "chip"}  # by name
        if "older_compilers" in found and not found["older_compilers"]:
            del found["older_compilers"]
        return SAME if found == said and _sound(found) else f"reads {found}, says {said}"

    return judge


def _sound(value, key: str = "") -> bool:
    if isinstance(value, dict):
        return all(_sound(v, f"{key}.{k}") for k, v in value.items())
    if isinstance(value, list):
        return all(_sound(v, key) for v in value)
    return not isinstance(value, (int, float)) or math.isfinite(value) and (
        value >= 0 or key == ".weight_mixed_min.value")


def _settings(file: Path) -> str:
    """A judge of a config.toml."""
    found = to_dict(from_dict(read_toml(file), str(file)))
    said = tomli.loads(file.read_text("utf-8"))

    def within(a: dict, b: dict) -> bool:
        return all(within(v, b[k]) if isinstance(v, dict) else v == b.get(k, v)
                   for k, v in a.items() if k in b)

    def finite(a) -> bool:
        return all(map(finite, a.values())) if isinstance(a, dict) else (
            not isinstance(a, float) or math.isfinite(a))

    return SAME if within(said, found) and finite(found) else f"reads {found}, says {said}"


FILES = {
    "chip": (lambda: _text("chips", "loihi2"), _described(lambda f: load_chip(file=f))),
    "board": (lambda: _text("boards", "oheogulch"), _described(load_board)),
    "constants": (lambda: _text("energy", "loihi1-davies2018"), _described(load_constants)),
}


def _campaign(text: str, file: Path, judge: Callable, count: int, seed: int) -> None:
    draw = random.Random(seed)
    for mutants in (changed_values(text, draw, count), damaged_bytes(text.encode(), draw, count)):
        ends = survey(file, mutants, judge)
        assert ends[REFUSED] > count / 10 and ends[SAME] and ends.total() == count


@pytest.mark.parametrize("kind", FILES)
def test_any_damage_is_refused_or_read_as_it_says(tmp_path, kind):
    text, judge = FILES[kind]
    _campaign(text(), tmp_path / "damaged.toml", judge, 40, 0)


def test_any_damage_of_a_config(tmp_path, digits_run):
    _campaign((digits_run / "config.toml").read_text(), tmp_path / "config.toml", _settings, 40, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_much_damage(tmp_path, digits_run):
    for text, judge in FILES.values():
        _campaign(text(), tmp_path / "damaged.toml", judge, 1000, 1)
    _campaign((digits_run / "config.toml").read_text(), tmp_path / "config.toml", _settings, 1000,
              1)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("value = 120\n", "value = -5\n", "neurocores: value: got -5, expected 1 to"),
    ("value = 120\n", "value = 0\n", "neurocores: value: got 0, expected 1 to"),
    ("value = 16000\n", "value = -5\n", "core: synapse_words: value: got -5, expected 1 to"),
    ("value = 24\n", "value = 1000000000\n", "state_bits: value: got 1000000000, expected 1 to 64"),
    ("value = -256\n", "value = 256\n", "weight_mixed_min: value: got 256, expected -"),
    ('unit = "core"', 'unit = "word"', "neurocores: unit: got 'word', expected 'core'"),
    ('unit = "bit, signed"', 'unit = "byte"', "unit: got 'byte', expected 'bit, signed'"),
    ("value = 0.281775", "value = nan", "static_power[0]: value: got nan, expected a finite"),
    ("value = 0.281775", "value = -1", "static_power[0]: value: got -1.0, expected a finite"),
    ("value = 0.66", "value = inf", "timing: synop: low, value, high are None, inf, None"),
    ("value = 0.66", f"value = {'9' * 400}", "holds an integer of 1329 bits, expected at"),
    ("value = 0.66", f"value = {'9' * 5000}", "not valid TOML"),
    ("value = 0.66", f"value = {'[' * 5000}", "not valid TOML"),
    ("[older_compilers.2023-01.synapse_words]", "[older_compilers.2023-01.wheels]",
     "older_compilers.2023-01.wheels: in 'word', but core has no such limit"),
])
def test_refused_by_key(tmp_path, old, new, message):
    text, file = _text("chips", "loihi2"), tmp_path / "chip.toml"
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(HwConfigError) as error:
        load_chip(file=file)
    assert str(error.value).startswith(str(file)) and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["0", "1.5"])
def test_a_board_has_whole_chips(tmp_path, value):
    text = _text("boards", "oheogulch")
    (tmp_path / "board.toml").write_text(text.replace("value = 1\n", f"value = {value}\n"))
    with pytest.raises(HwConfigError, match="board.toml: chips: .*(a whole number|expected)"):
        load_board(tmp_path / "board.toml")


def test_a_config_is_text(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"seed = 1 # \xff\n")
    with pytest.raises(UserError, match="config.toml: not a readable TOML file"):
        read_toml(tmp_path / "config.toml")
