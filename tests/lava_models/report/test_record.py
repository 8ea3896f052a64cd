"""A report.json from anywhere: nothing outside its folder is read, and whatever is wrong with it is
said in one line."""

from __future__ import annotations

import copy
import io
import json
import random
import shutil

import pytest
from rich.console import Console

from hw_configs.files import UserError
from lava_models.commands.console import make_console
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.run_lava import run_lava_command
from lava_models.net.hdf5 import write_net
from lava_models.report.record import read_report
from lava_models.report.render import markdown_table, to_html, to_markdown, to_terminal


@pytest.fixture(scope="module")
def run(net_factory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_net(net_factory(), folder / "model.net")
    run_lava_command([str(folder / "model.net"), "--samples", "2", "--mode", "reconstruct"])
    return folder / "reconstruct"


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def _record(folder) -> dict:
    return json.loads((folder / "report" / "report.json").read_text())


def _write(folder, record) -> str:
    (folder / "report" / "report.json").write_text(json.dumps(record))
    return str(folder)


# --- names of files ---------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["absolute", "above", "hidden", "empty", "newline"])
@pytest.mark.parametrize("key", ["pictures", "counts"])
def test_a_name_that_leads_elsewhere(copied, tmp_path, where, key):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"the reader's own")
    name = {"absolute": str(secret), "above": "../secret.png", "hidden": ".secret", "empty": "",
            "newline": "images.png\n"}[where]
    record = _record(copied)
    if key == "pictures":
        record["pictures"] = [name]
        record["outputs"][name] = "0" * 64
        with pytest.raises(UserError, match="names files of its own folder"):
            to_html(record, copied)
    else:
        record["inputs"]["counts"] = name
    for command in ([_write(copied, record)], ["check", str(copied)],
                    [str(copied), "--hw", "vpx"]):
        with pytest.raises(UserError, match=r"report.json: .*(does not match|names files)"):
            energy_report_command(command)
    assert b"the reader" not in (copied / "report" / "report.html").read_bytes()


def test_a_link_that_leads_elsewhere(copied, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"the reader's own")
    (copied / "images.png").unlink()
    (copied / "images.png").symlink_to(secret)
    for command in ([str(copied)], ["check", str(copied)]):
        with pytest.raises(UserError, match="a link that leads out of the run's folder"):
            energy_report_command(command)


def test_a_picture_without_a_hash(copied):
    record = _record(copied)
    del record["outputs"]["latents.png"]
    with pytest.raises(UserError, match="pictures: 'latents.png' is not among the outputs"):
        energy_report_command([_write(copied, record)])


# --- names that are markup --------------------------------------------------------------------


ODD = "x[/a] [red]y|z :smile:\n<b>&"


def _renamed(record: dict) -> dict:
    """Everything a name can be is odd: layers, parts, board, constants, network."""
    record = copy.deepcopy(record)
    for layer in (*record["layers"], *record["fit"]["layers"]):
        layer["name"] = ODD
    record["fit"]["board"] = record["energy"]["constants"] = record["inputs"]["net"] = ODD
    record["baselines"][0]["name"] = record["energy"]["dynamic_by_part_j"][0]["name"] = ODD
    return record


@pytest.mark.parametrize("make", [make_console, Console])
def test_markup_in_a_name_is_printed(run, monkeypatch, make):
    monkeypatch.setenv("COLUMNS", "400")
    console = make()
    console.file = io.StringIO()
    console.print(to_terminal(_renamed(_record(run))))
    said = console.file.getvalue()
    assert said.count("x[/a] [red]y|z :smile:") > 10


def test_markup_in_a_path_is_printed(copied, capsys):
    folder = copied.parent / "run[" / "a]:smile:"
    folder.parent.mkdir()
    copied.rename(folder)
    assert energy_report_command([str(folder)]) == 0
    assert "run[/a]:smile:/report/report.json" in capsys.readouterr().out
    other = _record(folder)
    other["quality"]["reconstruction_mse"]["value"] *= 2
    shutil.copytree(folder, copied)
    _write(copied, other)
    assert energy_report_command([str(folder), "--compare", str(copied)]) == 0
    assert "run[/a]:smile:/report/report.json" in capsys.readouterr().out


def test_bars_do_not_divide_cells():
    lines = markdown_table(("a", "b|c"), [["x|y\nz", "1"]], 1)
    assert lines == ["| a | b\\|c |", "|-|-:|", "| x\\|y z | 1 |"]


def test_odd_names_in_pages(run):
    record = _renamed(_record(run))
    for line in to_markdown(record).splitlines():
        if line.startswith("|") and ODD.split("\n")[0][:8] in line:
            assert "y\\|z :smile: <b>&" in line
    assert "<b>" not in to_html(record, run)


# --- whatever else is wrong -------------------------------------------------------------------


WRONG = [0, 1, -1, 10**30, 1e308, 0.5, "", "x[/a]|\n", None, True, False, [], {}, "../x", [[]]]


def _paths(value, path=()):
    """Every place in a record; of a list the first two entries."""
    yield path
    items = value.items() if isinstance(value, dict) else (
        list(enumerate(value))[:2] if isinstance(value, list) else ())
    for key, item in items:
        yield from _paths(item, (*path, key))


def _with(record: dict, path: tuple, value) -> dict:
    """The record with one place changed, or removed (...)."""
    changed = at = copy.deepcopy(record)
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return changed


KNOWN = [  # found by changing every place in turn
    (("work", "ticks"), 0), (("energy", "dynamic_by_kind_j", 0, "name"), ""),
    (("energy", "dynamic_by_kind_j", 0, "count"), ...),
    (("energy", "dynamic_by_kind_j", 1, "count"), ...), (("fit", "board_chips"), 0),
    (("fit", "other_form", "energy_per_sample_j"), None),
    (("fit", "other_form", "chip_sample_ms"), None), (("fit", "layers", 0, "binds"), ""),
    (("fit", "layers", 0, "fullest_core", "Neurons", "limit"), None),
    (("time", "chip_timestep_us", "value"), float("nan"))]


@pytest.mark.parametrize(("path", "value"), KNOWN, ids=lambda v: str(v)[:40])
def test_known_damage_is_refused(copied, path, value):
    record = _record(copied)
    if "Neurons" in path:
        record["fit"]["layers"][0]["binds"] = "Neurons"
    with pytest.raises(UserError) as error:
        energy_report_command([_write(copied, _with(record, path, value))])
    assert "\n" not in str(error.value)


def test_any_damage_is_refused_or_shown(copied):
    """One place changed at random: refused in one line, or the record can be shown whole."""
    record, draw = _record(copied), random.Random(0)
    places, shown, refused = [p for p in _paths(record) if p], 0, 0
    console = Console(file=io.StringIO())
    for _ in range(400):
        path, value = draw.choice(places), draw.choice([*WRONG, ...])
        _write(copied, _with(record, path, value))
        try:
            read = read_report(copied / "report" / "report.json")
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        console.print(to_terminal(read))
        to_markdown(read), to_html(read, copied)
        shown += 1
    assert refused > 200 and shown > 20


def test_older_record_says_what_to_do(copied):
    record = _record(copied)
    record["schema"] = "lava-fsvae-report/2"
    with pytest.raises(UserError, match="this release reads lava-fsvae-report/4; run run-lava"):
        energy_report_command([_write(copied, record)])
