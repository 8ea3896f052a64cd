"""energy-report: other boards, two runs, checks, descriptions, and the page's structure."""

from __future__ import annotations

import copy
import json
import shutil
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import pytest

from hw_configs.files import UserError
from lava_models.commands.energy_report import energy_report_command
from lava_models.commands.run_lava import run_lava_command
from lava_models.net.hdf5 import write_net
from lava_models.report.differences import differences, parse_percent
from lava_models.report.record import read_report

NETWORKS = Path(str(resources.files("hw_configs") / "networks"))


@pytest.fixture(scope="module")
def run(net_factory, tmp_path_factory):
    """A run folder with both modes."""
    folder = tmp_path_factory.mktemp("run")
    write_net(net_factory(), folder / "model.net")
    assert run_lava_command([str(folder / "model.net"), "--samples", "3"]) == 0
    assert run_lava_command([str(folder / "model.net"), "--samples", "2", "--mode",
                             "reconstruct"]) == 0
    return folder


@pytest.fixture
def copied(run, tmp_path):
    """A copy of it, elsewhere: what a moved run folder is."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


# --- one run ----------------------------------------------------------------------------------


def test_another_board(run, capsys):
    before = (run / "generate" / "report" / "report.json").read_bytes()
    assert energy_report_command([str(run / "generate"), "--hw", "nahuku", "--constants",
                                  "loihi1-sanafe"]) == 0
    assert "Nahuku 32" in capsys.readouterr().out
    made = read_report(run / "generate" / "report" / "for-nahuku-32" / "report.json")
    own = read_report(run / "generate" / "report" / "report.json")
    assert made["energy"]["constants"] == "loihi1-sanafe" and made["fit"]["chip"] == "Loihi 1"
    assert made["layers"] == own["layers"] and made["run"] == own["run"]
    assert (run / "generate" / "report" / "report.json").read_bytes() == before
    page = (run / "generate" / "report" / "for-nahuku-32" / "report.html").read_text()
    assert "data:image/png;base64," in page


def test_same_board_again_is_the_same(run):
    """Modelled anew from the stored counts: what run-lava had modelled from the run itself."""
    own = read_report(run / "reconstruct" / "report" / "report.json")
    energy_report_command([str(run / "reconstruct"), "--hw", "oheogulch"])
    made = read_report(run / "reconstruct" / "report" / "for-oheo-gulch" / "report.json")
    assert made == own


def test_what_is_not_asked_for_stays(run):
    """Other constants only: the same board and form, the same cores and counts."""
    folder = run / "generate" / "report"
    energy_report_command([str(run / "generate"), "--hw", "halapoint", "--convolutions",
                           "unrolled"])
    other = folder / "for-hala-point" / "report.json"
    first = read_report(other)
    assert (first["fit"]["board"], first["fit"]["convolutions"]) == ("Hala Point", "unrolled")
    record = json.loads((folder / "report.json").read_text())
    record["fit"], record["energy"] = first["fit"], first["energy"]
    record["time"] = first["time"]
    moved = run / "generate" / "report-2"
    moved.mkdir()
    (moved / "report.json").write_text(json.dumps(record))
    energy_report_command([str(moved / "report.json"), "--constants", "loihi1-sanafe"])
    again = read_report(moved / "for-hala-point" / "report.json")
    assert again["fit"]["layers"] == first["fit"]["layers"]
    assert again["energy"]["constants"] == "loihi1-sanafe"
    record["fit"]["board"] = "My own"
    (moved / "report.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="modelled for 'My own', which is no board that comes"):
        energy_report_command([str(moved / "report.json"), "--constants", "loihi1-sanafe"])
    shutil.rmtree(moved)


def test_check(run, copied, capsys):
    assert energy_report_command(["check", str(run)]) == 0
    said = capsys.readouterr().out
    assert said.count("right: ") == 2 and "WRONG" not in said
    assert energy_report_command(["check", str(copied / "generate")]) == 0
    with open(copied / "generate" / "counts.npz", "ab") as file:
        file.write(b"x")
    assert energy_report_command(["check", str(copied / "generate")]) == 1
    assert "WRONG" in capsys.readouterr().out
    with pytest.raises(UserError, match="counts.npz is not the file it was made from"):
        energy_report_command([str(copied / "generate"), "--hw", "vpx"])
    (copied / "generate" / "counts.npz").unlink()
    with pytest.raises(UserError, match="counts.npz, which it was made from, is not there"):
        energy_report_command([str(copied / "generate"), "--hw", "vpx"])
    with pytest.raises(UserError, match="check: expected one run"):
        energy_report_command(["check"])


# --- two runs ---------------------------------------------------------------------------------


def _changed(folder: Path, change) -> Path:
    path = folder / "report" / "report.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return folder


def test_compare(run, copied, capsys):
    same = [str(run / "generate"), "--compare", str(copied / "generate"), "--fail-over", "0%"]
    assert energy_report_command(same) == 0
    assert "no number and no verdict differs" in capsys.readouterr().out

    def cheaper(record):
        for e in record["baselines"]:
            if e["multiply_accumulates"]:
                e["multiply_accumulates"] *= 2

    _changed(copied / "generate", cheaper)
    assert energy_report_command(same) == 1
    said = capsys.readouterr().out
    assert "multiply_accumulates" in said and "100.00%" in said
    assert energy_report_command([*same[:-1], "101%"]) == 0
    with pytest.raises(UserError, match="holds 1 reports, .* 2; name one mode's"):
        energy_report_command([same[0], "--compare", str(copied)])


@pytest.mark.parametrize(("section", "key", "value"), [
    ("check", "equal", False), ("check", "equal", None), ("fit", "fits", False)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_verdict_that_differs_fails_whatever_the_percentage(run, copied, capsys, section, key,
                                                              value, swapped):
    _changed(copied / "generate", lambda record: record[section].update({key: value}))
    sides = [str(run / "generate"), str(copied / "generate")][::-1 if swapped else 1]
    for percent in ("0%", "1000000%"):
        assert energy_report_command([sides[0], "--compare", sides[1], "--fail-over",
                                      percent]) == 1
        said = capsys.readouterr().out
        assert f"{section}.{key}: " in said and "no percentage lets that pass" in said
    assert energy_report_command([sides[0], "--compare", sides[1]]) == 0  # shown, not judged
    assert f"{section}.{key}" in capsys.readouterr().out


def _other_network(record):
    record["inputs"] |= {"net": "other.net", "net_sha256": "0" * 64}


def _other_mode(record):
    record["work"]["mode"] = "reconstruct"


def _other_board(record):
    record["fit"] |= {"board": "Another", "board_sha256": "1" * 64}


@pytest.mark.parametrize(("change", "said"), [
    (_other_network, "network "), (_other_mode, "mode generate | reconstruct"),
    (_other_board, "board Oheo Gulch (")])
def test_different_runs_are_not_compared_by_accident(run, copied, capsys, change, said):
    _changed(copied / "generate", change)
    command = [str(run / "generate"), "--compare", str(copied / "generate")]
    with pytest.raises(UserError) as error:
        energy_report_command(command)
    assert said in str(error.value) and "--different" in str(error.value)
    assert "\n" not in str(error.value)

    def slower(record):
        record["work"]["latency_timesteps"] += 1  # so that there is a table

    _changed(copied / "generate", slower)
    assert energy_report_command([*command, "--different"]) == 0
    assert f"different {said}" in capsys.readouterr().out


def test_different_runs_without_a_differing_number(run, copied, capsys):
    _changed(copied / "generate", _other_network)
    assert energy_report_command([str(run / "generate"), "--compare", str(copied / "generate"),
                                  "--different"]) == 0
    said = capsys.readouterr().out
    assert "different network " in said and "no number and no verdict differs" in said


def test_modelled_against_measured(run):
    modelled = read_report(run / "generate" / "report" / "report.json")
    measured = copy.deepcopy(modelled)
    measured["energy"]["measured_j"] = {"value": 2e-3, "basis": "measured", "what": "a chip"}
    rows = {row.name: row for row in differences(modelled, measured)}
    assert set(rows) == {"energy.measured_j.value"}
    mine = modelled["energy"]["energy_per_sample_j"]["value"]
    assert rows["energy.measured_j.value"].ratio == pytest.approx(abs(2e-3 / mine - 1))


def test_counts_are_compared_per_sample(net_factory, tmp_path):
    """Five samples and three: only what the samples themselves change differs, by a little."""
    write_net(net_factory(), tmp_path / "model.net")
    records = []
    for samples in ("12", "24"):
        out = tmp_path / samples
        run_lava_command([str(tmp_path / "model.net"), "--samples", samples, "--out", str(out)])
        records.append(read_report(out / "report" / "report.json"))
    rows = {row.name: row for row in differences(*records)}
    assert "totals.on_chip.neuron_updates" not in rows
    assert rows["totals.on_chip.synops"].ratio < 0.3


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0.1", 0.1), ("0%", 0.0)])
def test_percent(text, value):
    assert parse_percent(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["five", "-1%", "nan", "%", "inf"])
def test_no_percent(text):
    with pytest.raises(UserError, match="expected a percentage like 5%"):
        parse_percent(text)


# --- before any run ---------------------------------------------------------------------------


def test_fit_of_a_description(capsys):
    assert energy_report_command(["--fit", str(NETWORKS / "pilotnet-lif.toml"), "--hw",
                                  "oheogulch"]) == 0
    said = capsys.readouterr().out
    assert "74 cores on 1 of 1 chips" in said and "not run on hardware" in said
    assert "conv2" in said and " 11 cores" not in said


def test_fit_of_a_network_file(run, tmp_path, capsys):
    described = tmp_path / "described.toml"
    assert energy_report_command(["--fit", str(run / "model.net"), "--mode", "generate", "--hw",
                                  "oheogulch", "--rate", "0.1", "--timesteps", "16", "--describe",
                                  str(described)]) == 0
    first = capsys.readouterr().out
    assert ("at an assumed 0.1 spikes per neuron and timestep (0.4 per tick of 4 timesteps), "
            "16 timesteps per sample") in first
    assert energy_report_command(["--fit", str(described), "--hw", "oheogulch", "--rate", "0.1",
                                  "--timesteps", "16"]) == 0
    again = capsys.readouterr().out
    per_tick = " (0.4 per tick of 4 timesteps)"  # a description knows timesteps only
    assert again == first[:first.index("description:")].replace(per_tick, "")


@pytest.mark.parametrize(("lag", "period", "per_tick"), [(1, 16, "0.4 per tick of 4"),
                                                         (2, 8, "0.2 per tick of 2")])
def test_timesteps_are_the_files(net_factory, tmp_path, capsys, lag, period, per_tick):
    path = tmp_path / "model.net"
    write_net(net_factory(lag=lag), path)
    command = ["--fit", str(path), "--mode", "generate", "--hw", "oheogulch", "--rate", "0.1"]
    assert energy_report_command(command) == 0
    said = capsys.readouterr().out
    assert f"neuron and timestep ({per_tick} timesteps), {period} timesteps per sample" in said
    assert energy_report_command([*command, "--timesteps", str(period)]) == 0
    assert capsys.readouterr().out == said  # the energy as well
    with pytest.raises(UserError, match=f"--timesteps 64: .*model.net takes {period} per sample"):
        energy_report_command([*command, "--timesteps", "64"])


def test_timesteps_of_a_file_that_does_not_say(tmp_path, capsys):
    command = ["--fit", str(_netx(tmp_path / "stock.net")), "--rate", "0.1"]
    assert energy_report_command(command) == 0
    assert "spikes per neuron and timestep, 64 timesteps per sample" in capsys.readouterr().out
    assert energy_report_command([*command, "--timesteps", "7"]) == 0
    assert ", 7 timesteps per sample" in capsys.readouterr().out


def test_too_large_is_said_and_fails(tmp_path, capsys):
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"name": "big", "layers": [
        {"name": "in", "kind": "input", "shape": [4000], "on_chip": False},
        {"name": "out", "kind": "dense", "shape": [4000]}]}))
    assert energy_report_command(["--fit", str(path), "--hw", "oheogulch"]) == 1
    assert "does NOT fit" in capsys.readouterr().out


def _netx(path: Path, kind: bytes = b"conv", shape=(2, 10, 20)) -> Path:
    """A NetX file as lava-dl writes them: maps are (channel, y, x), pairs (y, x)."""
    rng = np.random.default_rng(0)
    neuron = {"type": b"CUBA", "iDecay": 4096, "vDecay": 128, "vThMant": 80}
    with h5py.File(path, "w") as file:
        for i, (name, fields) in enumerate([
                (b"input", {"shape": np.array(shape)}),
                (kind, {"shape": np.array([6, 4, 9]), "stride": np.array([2, 2]),
                        "padding": np.array([0, 0]), "dilation": np.array([1, 1]), "groups": 1,
                        "weight": 16 * rng.integers(-3, 4, (6, 2, 3, 3)), **{
                            f"neuron/{key}": value for key, value in neuron.items()}}),
                (b"flatten", {"shape": np.array([216])}),
                (b"dense", {"shape": np.array([5]),
                            "weight": rng.integers(0, 100, (5, 216))})]):
            group = file.create_group(f"layer/{i}")
            group.create_dataset("type", (1,), "S10", [name])
            for key, value in fields.items():
                group[key] = value
    return path


def test_fit_of_any_netx_file(tmp_path, capsys):
    from lava_models.cost.networks import read_network

    network = read_network(_netx(tmp_path / "stock.net"), "reconstruct")
    assert [network.shape(la.name) for la in network.layers] == [(2, 10, 20), (6, 4, 9), (5,)]
    assert [la.weight_bits for la in network.layers[1:]] == [(3,), (7,)]
    assert energy_report_command(["--fit", str(tmp_path / "stock.net")]) == 0
    assert "layer.1" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"/layer/1 \(pool\): type: 'pool'; stock NetX loads"):
        read_network(_netx(tmp_path / "pool.net", b"pool"), "reconstruct")
    (tmp_path / "text.net").write_text("no")
    with pytest.raises(UserError, match="not a readable NetX file"):
        read_network(tmp_path / "text.net", "reconstruct")


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "expected a run of run-lava, or --fit"),
    (["--fit", "no.toml"], "no.toml: no such file"),
    (["--fit", "no.net"], "no.net: no such file"),
    (["runs", "--fail-over", "5%"], "goes with --compare"),
    (["runs", "--rate", "0.1"], "go with --fit"),
    (["runs", "--timesteps", "8"], "go with --fit"),
    (["runs", "--minimise", "time"], "go with --fit"),
    (["--fit", str(NETWORKS / "oxford.toml"), "--minimise", "time"], "time: needs --rate"),
    (["--fit", str(NETWORKS / "oxford.toml"), "--minimise", "cores", "--convolutions", "shared"],
     "leave out --convolutions"),
    (["runs", "--different"], "goes with --compare"),
    (["runs", "--compiler", "2023-01"], "go with --fit"),
    (["--fit", str(NETWORKS / "oxford.toml"), "--compiler", "1999"], "compiler '1999' is not"),
    (["--fit", "a.toml", "--compare", "b"], "it does not go with --fit"),
    (["--fit", "a.toml", "--rate", "2"], "expected 0 to 1 spikes"),
    (["--fit", "a.toml", "--rate", "1", "--timesteps", "0"], "expected at least 1"),
    (["--fit", str(NETWORKS / "oxford.toml"), "--hw", "moon"], "hw_configs/boards/moon.toml: no"),
    (["--fit", str(NETWORKS / "oxford.toml"), "--constants", "x"], "hw_configs/energy/x.toml: no"),
])
def test_wrong_options(arguments, message):
    with pytest.raises(UserError) as error:
        energy_report_command(arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_validate(capsys):
    assert energy_report_command(["validate"]) == 0
    assert "PilotNet-LIF" in capsys.readouterr().out


# --- the page ---------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Collects what a screen reader and an offline browser need."""

    VOID = ("meta", "img", "rect", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("mode", ["generate", "reconstruct"])
def test_page(run, mode):
    text = (run / mode / "report" / "report.html").read_text()
    page = _Page(text)
    assert not page.open
    assert page.all("html")[0]["lang"] == "en" and page.all("title")
    for attributes in [a for _, a in page.tags]:  # nothing is loaded from anywhere
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:"))
    assert "@import" not in text and "url(" not in text and not page.all("script")
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert len(ids) == sum("id" in a for _, a in page.tags)
    for anchor in page.all("a"):
        assert anchor["href"][1:] in ids
    for labelled in (a for _, a in page.tags if "aria-labelledby" in a):
        assert labelled["aria-labelledby"] in ids
    assert all(image["alt"] for image in page.all("img")) and len(page.all("img")) == 2
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 40
               for chart in page.all("svg"))
    assert len(page.all("svg")) == 5  # with the picture of the chip
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    scrolling = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert scrolling and all(a["tabindex"] == "0" and a["role"] == "region" for a in scrolling)
    assert "prefers-color-scheme: dark" in text and "not run on hardware" in text
    assert "modelled" in text and "counted, exact" in text
