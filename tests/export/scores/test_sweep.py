"""sweep-fsvae: one command, one picture, one table; a price of synops lowers them."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from export.scores.sweep import sweep_command
from lava_models import UserError
from train.checkpoint import load_model
from train.trainer import Trainer


def _sweep(digits_run, out, *more):
    return sweep_command([str(digits_run / "model.pt"), "--out", str(out), "--steps", "12",
                          "--images", "64", "--ticks", "4", "--lags", "1", "4", "--weights", "0",
                          "3", *more])


@pytest.fixture(scope="module")
def swept(digits_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    assert _sweep(digits_run, out) == 0
    return out


def test_price_lowers_synops(swept):
    rows = json.loads((swept / "sweep.json").read_text())["rows"]
    assert [(r["lag"], r["synop_weight"]) for r in rows] == [(1, 0), (1, 3), (4, 0), (4, 3)]
    assert [r["timesteps"] for r in rows] == [16, 16, 4, 4]
    for free, priced in (rows[:2], rows[2:]):
        assert priced["reconstruct_synops"] < 0.9 * free["reconstruct_synops"]
        assert priced["generate_synops"] < 0.9 * free["generate_synops"]
    assert (swept / "sweep.md").read_text().count("\n| 4 |") == 4
    with Image.open(swept / "sweep.png") as picture:
        assert picture.width > 400
    assert (swept / "T4-L4-w3" / "model.pt").is_file()


def test_more_steps_than_an_epoch_has(digits_run, tmp_path):
    sweep_command([str(digits_run / "model.pt"), "--out", str(tmp_path), "--steps", "30",
                   "--images", "8", "--ticks", "4", "--lags", "1", "--weights", "0"])
    optim = load_model(tmp_path / "T4-L1-w0" / "model.pt")[1].optim
    assert (optim.epochs, optim.limit_batches) == (2, 15)


def test_finished_points_are_not_trained_again(swept, digits_run, monkeypatch):
    def never(self, **_):
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "run", never)
    before = json.loads((swept / "sweep.json").read_text())["rows"]
    _sweep(digits_run, swept)
    assert json.loads((swept / "sweep.json").read_text())["rows"] == before
    with pytest.raises(UserError, match="T4-L1-w0: holds a point with other settings"):
        _sweep(digits_run, swept, "--lr", "0.5")


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.pt"], "nowhere.pt: no such file"),
    (["--preset", "digit"], r"unknown preset 'digit' \(did you mean 'digits'\?\)"),
    (["--lags", "3"], "--lag 3: expected 1, 2 or 4"),
    (["--steps", "0"], "--steps 0"),
])
def test_bad_input(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        sweep_command([*arguments, "--out", str(tmp_path / "out")])
