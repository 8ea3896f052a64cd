"""A folder of results is one run's, or has no report: whenever writing it was interrupted."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import lava_models.report.results as results
from hw_configs.files import UserError
from hw_configs.reading import sha256_of
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.run_lava import run_lava_command
from lava_models.net.hdf5 import write_net


@pytest.fixture(scope="module")
def runs(net_factory, tmp_path_factory):
    """(folder of results of seed 5, function that writes those of seed 6 to a folder)."""
    folder = tmp_path_factory.mktemp("runs")
    write_net(net_factory(), folder / "model.net")
    old, calls, save = folder / "old", [], results.save_run
    command = [str(folder / "model.net"), "--samples", "3"]
    run_lava_command([*command, "--seed", "5", "--out", str(old)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "save_run", lambda run, **how: calls.append((run, how)) or 0)
        run_lava_command([*command, "--seed", "6", "--out", str(folder / "new")])
    (run, how), = calls
    return old, lambda out: save(run, **{**how, "out": out})


@pytest.fixture
def out(runs, tmp_path):
    """A copy of the results of seed 5, with a report for another board."""
    shutil.copytree(runs[0], tmp_path / "out")
    (tmp_path / "out" / "report" / "for-nahuku-32").mkdir()
    for name in ("report.json", "report.html", "notes.txt"):
        (tmp_path / "out" / "report" / "for-nahuku-32" / name).write_text("{}")
    return tmp_path / "out"


def _files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _seed(folder) -> int | None:
    """The seed of the report, which must be of the images and counts beside it; None: no report."""
    report = folder / "report" / "report.json"
    if not report.exists():
        return None
    record = json.loads(report.read_text())
    assert sha256_of(folder / "counts.npz") == record["inputs"]["counts_sha256"]
    for name, wanted in record["outputs"].items():
        assert sha256_of(folder / name) == wanted
    assert f"seed {record['run']['seed']}" in (folder / "report" / "report.md").read_text()
    assert f"seed {record['run']['seed']}" in (folder / "report" / "report.html").read_text()
    return record["run"]["seed"]


@pytest.mark.parametrize("name", ["save_raster", "save_counts", "build_report", "write_report"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_while_it_is_made(runs, out, monkeypatch, name, error):
    """Nothing of the earlier results is touched, and nothing is left behind."""
    def stop(*arguments, **more):
        raise error

    before = _files(out)
    monkeypatch.setattr(results, name, stop)
    with pytest.raises(error):
        runs[1](out)
    assert _files(out) == before


def test_interrupted_while_it_is_put_in_place(runs, out, monkeypatch, tmp_path):
    """At every rename: the old set, the new set, or no report."""
    rename, seen = os.replace, []
    for stop_at in range(1, 100):
        folder, calls = tmp_path / str(stop_at), []
        shutil.copytree(out, folder)

        def replace(source, target, calls=calls, stop_at=stop_at):
            calls.append(target)
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            rename(source, target)

        monkeypatch.setattr(os, "replace", replace)
        try:
            runs[1](folder)
        except KeyboardInterrupt:
            seen.append(_seed(folder))
            continue
        finally:
            monkeypatch.setattr(os, "replace", rename)
        assert _seed(folder) == 6 and set(seen) == {5, None}
        return
    raise AssertionError("never done")


def test_earlier_results_go_and_other_files_stay(runs, out):
    (out / "finished.npy").write_bytes(b"of an interrupted run")
    (out / "mine.txt").write_text("mine")
    runs[1](out)
    assert _seed(out) == 6
    stale = out / "report" / "for-nahuku-32"
    assert not (stale / "report.json").exists() and not (stale / "report.html").exists()
    assert not (out / "finished.npy").exists()
    assert (out / "mine.txt").read_text() == "mine" and (stale / "notes.txt").exists()
    assert not list(out.glob(".*"))
    assert energy_report_command(["check", str(out)]) == 0


def test_folder_that_cannot_be_written(runs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file/out: cannot be written") as error:
        runs[1](tmp_path / "file" / "out")
    assert "\n" not in str(error.value)
