"""score-fsvae: how good a model is, in floating point, in integers and on the chip's terms.

    score-fsvae runs/mnist-0/model.pt --autoencoder mnist_64.pth
    score-fsvae runs/mnist-0/integer/model.pt runs/ann/model.pt --autoencoder mnist_64.pth

Every form of a model gets the same scores, so that what deployment costs is one line. The last form
is the integer reference running model.net with the chip's own random bits: its spikes are Lava's
(export-netx proves it).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hw_configs.files import UserError, check_writable, holding, replacing, run_command
from hw_configs.reading import sha256_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from rich.console import Console
    from torch import Tensor

    from export.scores.distances import Frechet, Inception
    from export.scores.scoring import Scores
    from lava_models.net.netfile import NetFile
    from train.config import RunConfig
    from train.models.base import Model

SHOWN = 64
"""Generated images in a form's picture."""


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: score_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Score models: reconstruction error, Fréchet distances, firing rates, operations; for the
    float model, the integer model, and the exported file on the chip's terms."""

    models: tuple[Path, ...]
    """model.pt files; a model.net beside one is scored with it."""
    autoencoder: Path | None = None
    """Autoencoder for the Fréchet distance: the FSVAE authors' file or one of train-autoencoder."""
    inception: Path | None = None
    """Inception v3's weights, for FID and Inception Score."""
    samples: int = 5120
    """Images generated for the distances."""
    images: int | None = None
    """Test images (default: all)."""
    data_dir: Path | None = None
    """Folder of the data set (default: the one each model was trained from)."""
    seed: int = 0
    """First seed of the latents."""
    seeds: int = 3
    """Latent seeds: every score is a mean and a standard deviation over so many repetitions."""
    device: str = "cpu"
    """Where PyTorch's forms and the scorers run: cpu or cuda. The forms' energy is read there, if
    there is a meter."""
    out: Path | None = None
    """Where scores.json, scores.md and pictures go (default: scores/ beside the first model)."""


def score_command(arguments: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    import tyro

    command = tyro.cli(Command, args=arguments, prog="score-fsvae",
                       config=(tyro.conf.PositionalRequiredArgs,))
    if not command.models:
        raise UserError("no model.pt given; train-fsvae makes one")
    if command.samples < 2:
        raise UserError(f"--samples {command.samples}: a distance needs at least 2")
    if command.seeds < 1:
        raise UserError(f"--seeds {command.seeds}: expected at least 1")
    if command.images is not None and command.images < 2:
        raise UserError(f"--images {command.images}: expected at least 2")
    out = command.out or command.models[0].parent / "scores"
    with holding(out):
        return _score(command, arguments, out)


@dataclass(frozen=True)
class _Loaded:
    """A model to score."""

    path: Path
    model: Model
    config: RunConfig
    state: dict
    """Of model.pt."""
    net: NetFile | None
    """The model.net beside it."""


def _score(command: Command, arguments: list[str], out: Path) -> int:
    # Heavy imports late, so that --help is quick.
    from export.scores.forms import exported
    from export.scores.table import terminal
    from export.translate import seen_images
    from lava_models.commands.console import make_console
    from train.checkpoint import load_model, provenance
    from train.data import load_images, to_float
    from train.device import pick_device

    device = pick_device(command.device)
    console = make_console()
    loaded = []
    for path in command.models:
        model, config, state = load_model(path)
        loaded.append(_Loaded(path, model, config, state, exported(path, config)))
    _need_one_data_set(loaded)
    first = loaded[0].config
    check_writable(out)
    data = replace(first, data_dir=command.data_dir or first.data_dir)
    test = to_float(load_images(data, "test", command.images))
    scorers = _scorers(command, test, device)
    console.print(f"scoring on {first.dataset}: {len(test)} test images, {command.samples} "
                  f"generated, each with latent seed{'s' * (command.seeds > 1)} "
                  f"{', '.join(map(str, _seeds(command)))}")
    record = {
        "schema": "lava-fsvae-scores/2", "dataset": first.dataset, "test_images": len(test),
        "samples": command.samples, "seeds": _seeds(command),
        "autoencoder": _source(command.autoencoder), "inception": _source(command.inception),
        "rows": _rows(command, loaded, test, seen_images(data), scorers, device, out, console),
        "provenance": provenance(["score-fsvae", *arguments]),
        "curves": _curves(loaded, first.dataset, out / "curve.png")}
    _save(record, out)
    console.print(terminal(record))
    console.print(f"table: {out / 'scores.md'}   first {SHOWN} samples of each form: "
                  f"{out}/samples-*.png")
    return 0


def _need_one_data_set(loaded: list[_Loaded]) -> None:
    """Raises:
        UserError: a model was trained on other images than the first.
    """
    first = loaded[0].config
    for each in loaded:
        config = each.config
        same = (config.dataset, config.model.image_channels, config.model.image_size)
        if same != (first.dataset, first.model.image_channels, first.model.image_size):
            raise UserError(f"{each.path}: trained on {same}, the first model on {first.dataset}; "
                            "score models of one data set at a time")


def _seeds(command: Command) -> list[int]:
    return list(range(command.seed, command.seed + command.seeds))


def _scorers(command: Command, test: Tensor, device: torch.device
             ) -> tuple[Frechet | None, Inception | None]:
    """What compares generated images with the test images, as far as its weights were named."""
    from export.scores.autoencoder import load_autoencoder
    from export.scores.distances import Frechet, Inception

    frechet = inception = None
    if command.autoencoder is not None:
        frechet = Frechet(load_autoencoder(command.autoencoder).to(device), test)
    if command.inception is not None:
        inception = Inception.from_weights(command.inception, test, device)
    return frechet, inception


def _rows(command: Command, loaded: list[_Loaded], test: Tensor,
          seen: np.ndarray, scorers: tuple[Frechet | None, Inception | None],
          device: torch.device, out: Path, console: Console) -> list[dict]:
    """A row of the record per form of every model, its picture in `out`."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from export.scores.forms import forms
    from export.scores.scoring import score_form
    from lava_models.report.pictures import save_grid

    rows, seeds = [], _seeds(command)
    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.completed}/{task.total} images"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for each in loaded:
            for form in forms(each.model, each.config, each.state, each.net, seen, device):
                name = f"{each.path}: {', '.join(filter(None, (form.name, form.stage)))}"
                task = progress.add_task(
                    name, total=len(seeds) * (len(test) + command.samples))
                scores, drawn = score_form(
                    form, test, command.samples, *scorers,
                    lambda n, task=task: progress.advance(task, n), seeds)
                progress.remove_task(task)
                picture = None
                if drawn is not None:
                    picture = f"samples-{len(rows)}-{form.name}.png"
                    save_grid(drawn[:SHOWN].numpy(), out / picture, columns=8)
                rows.append(_row(each, scores, picture))
                console.print(f"{name}: {_in_short(scores)}")
    return rows


def _row(each: _Loaded, scores: Scores, picture: str | None) -> dict:
    from export.scores.forms import POST_TRAINING

    config = each.config
    return {"model": str(each.path), "kind": config.model.kind,
            "trained": history(config, each.state,
                               scores.form == "float" or scores.stage == POST_TRAINING),
            "ticks": config.model.ticks, "lag": config.model.lag,
            "picture": picture, **asdict(scores)}


def _in_short(scores: Scores) -> str:
    """Scores as the command says them while it runs."""
    from export.scores.table import with_spread

    row = asdict(scores)
    return f"reconstruction {with_spread(row, 'reconstruction', 4)}" + (
        f", Fréchet {with_spread(row, 'train_bn', 2)} (train-mode autoencoder), "
        f"{with_spread(row, 'eval_bn', 2)} (eval mode)" if scores.frechet else "")


def _curves(loaded: list[_Loaded], dataset: str, picture: Path) -> list[str]:
    """Draw the learning curves; where each points, beside what was published."""
    from export.scores.curve import describe, draw_curves, learning_curve
    from export.scores.table import PUBLISHED

    # A Poisson VAE's error rises while the weight of its KL does: its curve predicts nothing.
    curves = {str(each.path): learning_curve(each.config, each.state) for each in loaded
              if each.config.model.kind != "poisson"}
    published = [(name, error) for name, error, _ in PUBLISHED.get(dataset, ())]
    draw_curves(curves, published, picture)
    return [f"{path}: {describe(curve, name, error)}" for path, curve in curves.items()
            for name, error in published if curve]


def _save(record: dict, out: Path) -> None:
    """Write scores.json and scores.md."""
    from export.scores.table import markdown

    with replacing(out / "scores.json") as file:
        file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    with replacing(out / "scores.md") as file:
        file.write_text(markdown(record), "utf-8")


def history(config, state: dict, in_float: bool = False) -> str:
    """How a model was trained, in a phrase, with what it started from as far as that is there.

    Args:
        in_float: leave training in integers out.
    """
    phrases: list[tuple[int, str, str]] = []  # (how many, of what, the rest)
    for number, what, rest in _stages(config, state, in_float):
        if phrases and phrases[-1][1:] == (what, rest):
            number += phrases.pop()[0]
        phrases.append((number, what, rest))
    return ", then ".join(
        f"{number} {what[:-1] if number == 1 else what}{rest}" if number else rest
        for number, what, rest in phrases)


def _stages(config, state: dict, in_float: bool) -> list[tuple[int, str, str]]:
    """Stages of training, the first one first, as (how many, of what, the rest)."""
    from train.checkpoint import load_model, start_of

    integer = config.model.integer
    before: list[tuple[int, str, str]] = []
    if config.start_from is not None:
        start = start_of(config, state)
        before = [(0, "", "other weights")] if start is None else (
            _stages(*load_model(start)[1:], in_float))
        if integer and in_float:
            return before
    o, epochs = config.optim, state["epoch"]
    ticks = "" if config.model.kind == "ann" else f" at T = {config.model.ticks}"
    rest = f" of batch {o.batch_size}{ticks}{' in integers' * integer}"
    if o.limit_batches is not None:
        return [*before, (epochs * o.limit_batches, "steps", rest)]
    return [*before, (epochs, "epochs", rest)]


def _source(path: Path | None) -> dict | None:
    return None if path is None else {"file": path.name, "sha256": sha256_of(path)}
