"""model.pt and checkpoints/last.pt: state, config and provenance in one file of plain values.

Everything in it is tensors, numbers, strings, lists and dicts, so it loads with
`weights_only=True`: a checkpoint cannot run code.
"""

from __future__ import annotations

import io
import math
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from hw_configs.files import UserError, replacing
from hw_configs.reading import sha256_of
from hw_configs.source import commit_of
from train.config import RunConfig, flag_of, validate
from train.models.base import Model
from train.models.build import build_model
from train.models.esvae import Esvae
from train.models.prior import load_prior
from train.settings import from_dict
from train.torch_file import read_torch

FORMAT = "fsvae-checkpoint"
FORMAT_VERSION = 1
STARTED_FROM = "start_from_sha256"
"""In a run's provenance: the hash of the model.pt it was started from."""
SHIPPED = {name: Path(__file__).with_name("pretrained") / f"{name}.pt"
           for name in ("mnist-rate", "fashion-rate")}
"""Weights that come with the package (bfloat16, no optimiser), by the names --start-from takes."""
_RUN_KEYS = {"optimizer": dict, "step": int, "epoch": int, "sums": list, "metrics": list,
             "best": float, "latents": Tensor}
_MOMENTS = ({"step", "exp_avg", "exp_avg_sq"}, {"step", "exp_avg", "exp_inf"})
"""What AdamW and Adamax keep of a weight."""
_LEAKS = ("current_decay", "voltage_decay")
"""Of SLAYER's neurons."""
_KEYS = {"config": dict, "model": dict, "epoch": int, "provenance": dict}
_PLAIN = (str, int, float, bool, type(None))


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
    state = read_torch(path, "a model.pt of train-fsvae",
                       "train-fsvae writes runs/<name>/model.pt")
    if not isinstance(state, dict) or not _is(state.get("format"), FORMAT):
        raise UserError(f"{path}: a PyTorch file, but not a model.pt of train-fsvae")
    if not _is(state.get("format_version"), FORMAT_VERSION):
        said = state.get("format_version")
        raise UserError(f"{path}: checkpoint version {said if type(said) is int else 'unknown'}, "
                        f"this release reads {FORMAT_VERSION}; train again or use the matching "
                        "release")
    for key, kind in _KEYS.items():
        if key not in state:
            raise UserError(f"{path}: '{key}' is missing; train again")
        if not isinstance(state[key], kind):
            raise UserError(f"{path}: '{key}' is a {type(state[key]).__name__}, expected a "
                            f"{kind.__name__}; train again")
    try:
        for key in ("config", "provenance"):
            _check_plain(state[key], f"{path}: {key}")
    except RecursionError:
        raise UserError(f"{path}: {key}: nested without end; train again") from None
    state["model"] = {name: value.float() if _is(getattr(value, "dtype", None), torch.bfloat16)
                      else value for name, value in state["model"].items()}  # as `ship` wrote it
    return state


def weights_file(name: Path) -> Path:
    """The file of --start-from: a model.pt, or weights that come with the package."""
    return name if name.exists() else SHIPPED.get(str(name), name)


def ship(model: Path, out: Path) -> None:
    """Write the weights of a model.pt as they come with the package: in bfloat16, enough to train
    on from, and without what only resuming needs."""
    state = load(model)
    halved = {name: value.bfloat16() if value.dtype == torch.float32 else value
              for name, value in state["model"].items()}
    save(out, {**{key: state[key] for key in _KEYS}, "model": halved})


def _is(found, expected) -> bool:
    """Equal and of the same type: what a file holds may compare to anything, a tensor does."""
    return type(found) is type(expected) and found == expected


def _check_plain(value, where: str) -> None:
    """Refuse what is no plain value: tensors above all, which a message would print."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UserError(f"{where}: has a key that is no text; train again")
            _check_plain(inner, f"{where}: {key}")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_plain(inner, where)
    elif not isinstance(value, _PLAIN):
        raise UserError(f"{where}: holds a {type(value).__name__}, expected plain values; train "
                        "again")


def load_model(path: Path, *, with_prior: bool = True) -> tuple[Model, RunConfig, dict]:
    """The trained model in evaluation mode, its config and the whole state.

    Args:
        with_prior: whether a model with rate latents gets the prior that was fitted to it.

    Raises:
        UserError: as `load`, or the weights do not fit the config; or its prior is another's.
    """
    state = load(path)
    config = from_dict(state["config"], f"{path}: config")
    try:
        validate(config)
    except UserError as error:
        raise UserError(f"{path}: config: {error}") from None
    try:
        with torch.device("meta"):  # takes no memory, whatever the config says
            wanted = build_model(config.model).state_dict()
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError):
        raise UserError(f"{path}: config: no network has these settings") from None
    misfit = _misfit(wanted, state["model"])
    if misfit:
        raise UserError(f"{path}: weights do not fit the config: {misfit}")
    _check_finite(state["model"], path)
    model = build_model(config.model)
    model.load_state_dict(state["model"])
    if with_prior and isinstance(model, Esvae):
        model.fitted = load_prior(Path(path), sha256_of(path))
    return model.eval(), config, state


def _misfit(wanted: dict[str, Tensor], found: dict, optional: tuple[str, ...] = ()) -> str | None:
    """The first weight that is not as the model's own, in words; None where all are.

    Args:
        optional: endings of names that either side may lack.
    """
    for name in sorted(wanted.keys() | found.keys(), key=str):
        ours, theirs = wanted.get(name), found.get(name)
        if ours is None or theirs is None:
            if not str(name).endswith(optional):
                return f"{name!a} is {'unknown' if ours is None else 'missing'}"
        elif not isinstance(theirs, Tensor) or theirs.layout != torch.strided:
            return f"{name} is no tensor"
        elif ours.shape != theirs.shape:
            return f"size mismatch for {name}: {tuple(theirs.shape)}, expected {tuple(ours.shape)}"
        elif ours.dtype != theirs.dtype:
            return f"{name} is {theirs.dtype}, expected {ours.dtype}"
    return None


def misfit_of_run(state: dict, model: Model, optimizer: torch.optim.Optimizer) -> str | None:
    """Why a run cannot go on from a state of last.pt, in words; None where it can.

    Optimisers take what does not fit their weights, and write beside it.
    """
    for key, kind in _RUN_KEYS.items():
        if type(state.get(key)) is not kind:
            return f"'{key}' is a {type(state.get(key)).__name__}, expected a {kind.__name__}"
    if not (0 <= state["epoch"] < 2**31 and 0 <= state["step"] < 2**31):
        return f"epoch {state['epoch']}, step {state['step']}"
    if len(state["sums"]) != 3 or not all(map(_is_number, state["sums"])):
        return "'sums' are no three numbers"
    for row in state["metrics"]:
        if not (isinstance(row, dict) and all(isinstance(k, str) and _is_number(v)
                                              for k, v in row.items())
                and {"epoch", "validation_loss"} <= row.keys()):
            return "'metrics' are no rows of numbers"
    latents = state["latents"]
    if latents.dtype != torch.uint8 or latents.ndim != 1:
        return "'latents' is no state of a generator"
    try:
        if len(latents) == len(torch.Generator().get_state()):
            torch.Generator().set_state(latents.contiguous())
    except RuntimeError:
        return "'latents' is no state of a generator"
    misfit = _misfit(model.state_dict(), state["model"])
    if misfit is None and not all(torch.isfinite(v).all() for v in state["model"].values()):
        misfit = "a weight is not finite"
    return misfit or _misfit_of_optimizer(state["optimizer"], optimizer)


def _misfit_of_optimizer(found: dict, optimizer: torch.optim.Optimizer) -> str | None:
    ours, theirs, moments = optimizer.state_dict(), found.get("param_groups"), found.get("state")
    if not isinstance(theirs, list) or not isinstance(moments, dict) or (
            len(theirs) != len(ours["param_groups"])):
        return "optimizer: other groups of weights"
    for a, b in zip(ours["param_groups"], theirs):
        if not isinstance(b, dict) or a.keys() != b.keys() or a["params"] != b["params"]:
            return "optimizer: other groups of weights"
        for key in a.keys() - {"params", "fused"}:
            if type(a[key]) is not type(b[key]) or not _same_kind(a[key], b[key]):
                return f"optimizer: {key} is {b[key]!a:.40}"
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for i, state in moments.items():
        if type(i) is not int or not 0 <= i < len(weights) or not isinstance(state, dict):
            return "optimizer: moments of no weight"
        for name, value in state.items():
            shape = () if name == "step" else weights[i].shape
            if not isinstance(value, Tensor) or value.layout != torch.strided or (
                    value.shape != shape or value.dtype != torch.float32):
                return f"optimizer: {name!a:.40} of weight {i}"
        if state.keys() not in _MOMENTS:
            return f"optimizer: {', '.join(map(ascii, state))[:80]} of weight {i}"
    return None


def _same_kind(ours, theirs) -> bool:
    """Of a setting of an optimiser: finite numbers where ours are."""
    if isinstance(ours, tuple):
        return len(ours) == len(theirs) and all(map(_is_number, theirs))
    return not isinstance(ours, float) or _is_number(theirs)


def _is_number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _check_finite(weights: dict[str, Tensor], path: Path) -> None:
    bad = [n for n, v in weights.items() if not torch.isfinite(v).all()]
    if bad:
        raise UserError(f"{path}: '{bad[0]}' is not finite; the training diverged")


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
    misfit = _misfit(mine, state, ("weight_scale", "input_max"))
    if misfit:
        raise UserError(f"{path}: its layers are not those of this model (first difference: "
                        f"{misfit}); --start-from needs the same layers")
    _check_finite(state, path)
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


def start_of(config: RunConfig, state: dict) -> Path | None:
    """The model.pt that a model was started from, as far as that is still there.

    Args:
        config, state: of the model, as `load_model` gives them.
    """
    if config.start_from is None:
        return None
    path = weights_file(config.start_from)
    if not path.is_file():
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
