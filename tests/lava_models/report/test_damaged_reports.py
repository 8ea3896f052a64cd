"""A report.json with any one byte or entry changed: refused in one line, the same record, or found
by `recheck`, which makes the pages again and holds them against those of the run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pytest
from mutants import REFUSED, SAME, Mutant, damaged_bytes, survey

from hw_configs.files import UserError
from lava_models.commands.run_lava import run_lava_command
from lava_models.net.hdf5 import write_net
from lava_models.report.recheck import DIFFERS, Files, recheck
from lava_models.report.record import read_report

WRONG = [0, 1, -1, 3, 10**30, 1e308, 0.5, float("nan"), "", "x[/a]|\n", None, True, False, [], {},
         "../x", [[]], "yes"]


@pytest.fixture(scope="module")
def run(net_factory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_net(net_factory(), folder / "model.net")
    run_lava_command([str(folder / "model.net"), "--samples", "2"])
    return folder / "generate"


def _places(value, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a record."""
    yield path
    items = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    for key, item in items:
        yield from _places(item, (*path, key))


def changed_entries(text: str, draw: random.Random, count: int) -> Iterator[Mutant]:
    """The record with one place changed, removed, renamed or given twice."""
    places = [path for path in _places(json.loads(text)) if path]
    for _ in range(count):
        record = json.loads(text)
        path, how = draw.choice(places), draw.choice(["value"] * 6 + ["remove", "rename", "more"])
        at = record
        for key in path[:-1]:
            at = at[key]
        new = draw.choice(WRONG)
        if how == "value":
            at[path[-1]] = new
        elif how == "more":
            old = at[path[-1]]
            at[path[-1]] = old * 2 if isinstance(old, (int, float, str, list)) else new
        else:
            old = at.pop(path[-1])
            if how == "rename" and isinstance(at, dict):
                at[f"{path[-1]}x"] = old
        yield f"{path}: {how} {new!r}", json.dumps(record, indent=1).encode()


def _judge(run) -> Callable:
    original = read_report(run / "report" / "report.json")
    files = Files(run, run / "report", run.parent / "model.net")

    def nothing_here(*_):
        raise UserError("not here")

    def judge(file) -> str:
        record = read_report(file)
        if record == original and json.dumps(record) == json.dumps(original):
            return SAME
        found = next((f for f in recheck(record, files, nothing_here, nothing_here)
                      if f.outcome == DIFFERS), None)
        return REFUSED if found else "another record, and recheck finds nothing"

    return judge


def _campaign(run, file, count: int, seed: int) -> None:
    text, draw = (run / "report" / "report.json").read_text(), random.Random(seed)
    for mutants in (changed_entries(text, draw, count), damaged_bytes(text.encode(), draw, count)):
        ends = survey(file, mutants, _judge(run), seconds=60)
        assert ends[REFUSED] > count / 2 and ends.total() == count


def test_any_damage_is_refused_or_found(run, tmp_path):
    _campaign(run, tmp_path / "report.json", 60, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_much_damage(run, tmp_path):
    _campaign(run, tmp_path / "report.json", 2000, 1)


@pytest.mark.parametrize(("old", "new", "said"), [
    ('"samples": 2,', '"samples": 2.0,', "work.samples: 2.0 is not of type 'integer'"),
    ('"samples": 2,', '"samples": 2, "samples": 3,', "'samples' occurs twice"),
    ('"samples": 2,', '"samples": 1e400,', "1e400 is too large a number"),
    ('"samples": 2,', f'"samples": {"9" * 30},', "99999999999999999999 is too large a number"),
    ('"samples": 2,', f'"samples": {"9" * 5000},', "not a readable report"),
    ('"samples": 2,', f'"samples": {"[" * 10**5},', "not a readable report"),
    ('"samples": 2,', '"samples": NaN,', "NaN is no number"),
])
def test_damaged_number(run, tmp_path, old, new, said):
    text = (run / "report" / "report.json").read_text()
    assert text.count(old) == 1
    (tmp_path / "report.json").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=said) as error:
        read_report(tmp_path / "report.json")
    assert "\n" not in str(error.value)


def test_a_new_time_of_day_is_found(run, tmp_path):
    """Nothing can be recomputed of it, but the pages show it."""
    record = json.loads((run / "report" / "report.json").read_text())
    record["run"]["utc"] = "2001-01-01 00:00"
    (tmp_path / "report.json").write_text(json.dumps(record))
    assert _judge(run)(tmp_path / "report.json") == REFUSED
