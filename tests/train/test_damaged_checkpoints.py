"""A model.pt with any one byte or entry changed: refused in one line, or what it says."""

from __future__ import annotations

import copy
import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mutants import REFUSED, SAME, Mutant, damaged_bytes, survey
from torch import Tensor

from hw_configs.files import UserError
from train.checkpoint import load, load_model, save
from train.settings import to_dict

WRONG = [0, 1, -1, 10**30, 1e308, float("nan"), float("inf"), 0.5, "", "a\nb", None, True, [], {},
         "../x", [[]], torch.ones(3, 3), torch.tensor(1), b"x", (1, 2), {1: 2}]


@pytest.fixture
def trained(digits_run) -> Path:
    """A small model.pt."""
    return digits_run / "model.pt"


def _wrong_tensors(weight: Tensor) -> list:
    """Values to put in a weight's place."""
    spoiled, low = weight.clone(), weight.float()
    if spoiled.is_floating_point():
        spoiled.view(-1)[0] = float("nan")
    return [spoiled, weight.double(), weight.half(), weight.int(), weight[None], weight.reshape(-1),
            weight.T if weight.ndim == 2 else weight.flip(0) if weight.ndim else weight + 1,
            low.to_sparse(), low.to(torch.complex64), torch.zeros(1).expand(10**6, 10**6), 3, "x",
            weight.tolist(), None, weight + 1, torch.zeros(0)]


def _places(value, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a checkpoint, but that nothing in its optimiser is read by load_model."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "optimizer":
                yield from _places(inner, (*path, key))


def _changed(state: dict, path: tuple, draw: random.Random) -> tuple[str, dict]:
    """The state with one place changed, removed or renamed, and what was done."""
    changed = at = copy.deepcopy(state)
    for key in path[:-1]:
        at = at[key]
    found, how = at.pop(path[-1]), draw.random()
    if how < 0.1:
        return "removed", changed
    if how < 0.2:
        at[f"{path[-1]}x"] = found
        return "renamed", changed
    new = draw.choice(_wrong_tensors(found) if isinstance(found, Tensor) else WRONG)
    at[path[-1]] = new
    return f"{type(new).__name__} {new!r:.40}", changed


def changed_entries(state: dict, draw: random.Random, count: int) -> Iterator[Mutant]:
    """The checkpoint with one entry changed."""
    places = [path for path in _places(state) if path]
    named = [path for path in places if path[0] != "model" or len(path) == 1]
    for _ in range(count):
        path = draw.choice(draw.choice([places, named]))
        what, changed = _changed(state, path, draw)
        buffer = io.BytesIO()
        torch.save(changed, buffer)
        yield f"{path}: {what}", buffer.getvalue()


def _equal(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    return torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, Tensor) else a == b


def _says(state: dict, model, config) -> bool:
    """Whether model and config are those of a state."""
    return _equal(dict(model.state_dict()), dict(state["model"])) and _within(
        state["config"], to_dict(config))


def _within(said: dict, read: dict) -> bool:
    """Every setting that there is was read as it is said; others are another model's."""
    return all(_within(v, read[k]) if isinstance(v, dict) else list(v) == read[k] if isinstance(
        v, tuple) else v == read.get(k, v) for k, v in said.items() if k in read)


def _campaign(trained: Path, file: Path, flips: int, entries: int, seed: int) -> None:
    draw, original = random.Random(seed), load(trained)

    def same(path) -> str:
        model, config, state = load_model(path)
        kept = {k: state[k] for k in ("config", "model", "epoch", "provenance")}
        return SAME if _equal(kept, {k: original[k] for k in kept}) and _says(
            original, model, config) else "another model"

    def as_it_says(path) -> str:
        model, config, _ = load_model(path)
        raw = torch.load(path, weights_only=True)
        return SAME if _says(raw, model, config) else "not what it says"

    ends = survey(file, damaged_bytes(trained.read_bytes(), draw, flips), same)
    assert ends[REFUSED] > flips / 2 and ends.total() == flips
    ends = survey(file, changed_entries(original, draw, entries), as_it_says)
    assert ends[REFUSED] > entries / 4 and ends[SAME] and ends.total() == entries


def test_any_damage_is_refused_or_changes_nothing(trained, tmp_path):
    _campaign(trained, tmp_path / "damaged.pt", flips=80, entries=80, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_much_damage(trained, tmp_path):
    _campaign(trained, tmp_path / "damaged.pt", flips=2000, entries=2000, seed=1)


# --- one by one -------------------------------------------------------------------------------


def test_flipped_bit_of_a_weight(trained, tmp_path):
    """PyTorch alone takes it."""
    weight = load(trained)["model"]["encoder.0.synapse.weight"]
    data = trained.read_bytes()
    at = data.index(weight.numpy().tobytes())
    damaged = tmp_path / "model.pt"
    damaged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
    other = torch.load(damaged, weights_only=True)["model"]["encoder.0.synapse.weight"]
    assert not torch.equal(weight, other)
    with pytest.raises(UserError, match="damaged PyTorch file .a checksum differs"):
        load(damaged)


def test_packed_archive(trained, tmp_path):
    """Small on disk, as large as one likes in memory."""
    with zipfile.ZipFile(trained) as archive, zipfile.ZipFile(
            tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    with pytest.raises(UserError, match="damaged PyTorch file"):
        load(tmp_path / "model.pt")


def _nested() -> list:
    inner = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(("path", "value", "said"), [
    (("epoch",), 1.5, "'epoch' is a float, expected a int"),
    (("config",), [], "'config' is a list, expected a dict"),
    (("config", "seed"), torch.ones(9, 9), "config: seed: holds a Tensor, expected plain values"),
    (("config", "seed"), _nested(), "config: nested without end"),
    (("config", "model", "latent"), 9, "weights do not fit the config: size mismatch"),
    (("config", "model", "latent"), 10**18, "config: --latent 10{18}: expected at most 16384"),
    (("config", "model", "latent"), -1, "model.pt: config: --latent -1: expected at least 1"),
    (("config", "model", "keep"), float("nan"), "model.keep = nan, expected float"),
    (("format_version",), torch.ones(2), "checkpoint version unknown, this release reads 1"),
    (("format",), torch.ones(2), "not a model.pt of train-fsvae"),
    (("model", "encoder.0.synapse.weight"), 3, "encoder.0.synapse.weight is no tensor"),
    (("model", "extra"), torch.ones(2), "'extra' is unknown"),
])
def test_wrong_entry(trained, tmp_path, path, value, said):
    state = at = load(trained)
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match=said) as error:
        load_model(tmp_path / "model.pt")
    assert "\n" not in str(error.value)


def test_weights_of_another_type_are_not_cut(trained, tmp_path):
    state = load(trained)
    name = "encoder.0.synapse.weight"
    state["model"][name] = state["model"][name].double()
    save(tmp_path / "model.pt", state)
    with pytest.raises(UserError, match=f"{name} is torch.float64, expected torch.float32"):
        load_model(tmp_path / "model.pt")
