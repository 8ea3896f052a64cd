"""model.pt and checkpoints/last.pt: state, config and provenance in one file of plain values.

Everything in it is tensors, numbers, strings, lists and dicts, so it loads with
`weights_only=True`: a checkpoint cannot run code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import platform
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hw_configs.files import UserError, replacing
from hw_configs.source import commit_of
from train.config import RunConfig, flag_of, validate
from train.models.base import Model
from train.models.build import build_model
from train.settings import from_dict

FORMAT = "fsvae-checkpoint"
FORMAT_VERSION = 1
_KEYS = ("config", "model", "epoch", "provenance")
STARTED_FROM = "start_from_sha256"
"""In a run's provenance: the hash of the model.pt it was started from."""
_LEAKS = ("current_decay", "voltage_decay")
"""Of SLAYER's neurons."""


def save(path: Path, state: dict) -> None:
    """Write a checkpoint, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **state}, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(path: Path) -> dict:
    """Read a checkpoint.

    Raises:
        UserError: no such file, no checkpoint of ours, or one that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; train-fsvae writes runs/<name>/model.pt")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a PyTorch checkpoint (text, truncated or another format); "
                        "expected a model.pt of train-fsvae")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        unsafe = "Unsupported" in str(error) or "weights_only" in str(error).lower()
        raise UserError(f"{path}: " + (
            "refused, it holds more than tensors and plain values and could run code"
            if unsafe else "damaged PyTorch file") + "; expected a model.pt of train-fsvae"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: a PyTorch file, but not a model.pt of train-fsvae")
    if state.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: checkpoint version {state.get('format_version')}, this release "
                        f"reads {FORMAT_VERSION}; train again or use the matching release")
    missing = [key for key in _KEYS if key not in state]
    if missing:
        raise UserError(f"{path}: '{missing[0]}' is missing; train again")
    return state


def load_model(path: Path) -> tuple[Model, RunConfig, dict]:
    """The trained model in evaluation mode, its config and the whole state.

    Raises:
        UserError: as `load`, or the weights do not fit the config.
    """
    state = load(path)
    config = from_dict(state["config"], f"{path}: config")
    validate(config)
    model = build_model(config.model)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"{path}: weights do not fit the config: {detail}") from None
    bad = [n for n, v in state["model"].items() if not torch.isfinite(v).all()]
    if bad:
        raise UserError(f"{path}: '{bad[0]}' is not finite; the training diverged")
    return model.eval(), config, state


def load_weights(model: Model, path: Path) -> list[str]:
    """Give `model` the weights of a checkpoint; those of integer arithmetic need not be in it.

    Leaks are settings, though SLAYER keeps them among the weights: they stay as the model has them.

    Returns:
        a phrase per leak that is not what the weights were trained with.

    Raises:
        UserError: as `load`, the layers differ, or a setting that the weights decide does.
    """
    whole = load(path)
    state = {n: v for n, v in whole["model"].items() if not n.endswith(_LEAKS)}
    mine = {n: v for n, v in model.state_dict().items() if not n.endswith(_LEAKS)}
    fixed = ("weight_scale", "input_max")
    wrong = [n for n in mine.keys() ^ state.keys() if not n.endswith(fixed)] + [
        n for n in mine.keys() & state.keys() if mine[n].shape != state[n].shape]
    if wrong:
        raise UserError(f"{path}: its layers are not those of this model (first difference: "
                        f"{min(wrong)}); --start-from needs the same layers")
    here, there = model.config, from_dict(whole["config"], f"{path}: config").model
    for name in here.learned:
        if getattr(here, name) != getattr(there, name):
            raise UserError(f"{flag_of(name)} {getattr(here, name)}: is learned, and the weights "
                            f"of --start-from {path} began at {getattr(there, name)}; leave it at "
                            "that, or start from new weights")
    model.load_state_dict(state, strict=False)
    return [f"{flag_of(name)} {getattr(here, name)} (was {getattr(there, name)})"
            for name in ("keep", "readout_keep")
            if getattr(here, name, None) != getattr(there, name, None)]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def start_of(config: RunConfig, state: dict) -> Path | None:
    """The model.pt that a model was started from, as far as that is still there.

    Args:
        config, state: of the model, as `load_model` gives them.
    """
    path = config.start_from
    if path is None or not path.is_file():
        return None
    # Models of older releases do not say which bytes it had.
    known = state["provenance"].get(STARTED_FROM)
    return path if known in (None, sha256_of(path)) else None


def provenance(command: list[str]) -> dict[str, str | bool]:
    """What is needed to repeat a run: command, commit, versions, machine."""
    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "unknown"

    commit, dirty = commit_of(Path(__file__))
    return {
        "command": " ".join(command), "commit": commit, "dirty": dirty,
        "python": platform.python_version(),
        "platform": sys.platform,
        **{name: installed(name) for name in ("torch", "lava-dl", "lava-nc", "numpy")},
    }
