"""sweep-fsvae: quality against synops per image, over ticks, lags and prices of a synop.

    sweep-fsvae runs/mnist-t4/model.pt --autoencoder mnist_64.pth
    sweep-fsvae --preset digits --ticks 4 8 --lags 1 4 --weights 0 0.1 --steps 300

Every point is a training of its own, in a run folder that export-netx takes; from the weights of a
trained model, a few hundred steps are enough. One that is finished is not trained again, so a sweep
that was cut goes on where it was.
"""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from hw_configs.files import UserError, check_writable, holding, run_command


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: sweep_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Train a model at several tick counts, lags and prices of a synop; draw what each costs and
    how good it is."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """model.pt to start every point from (its data set, layers and losses)."""
    preset: str = "digits"
    """Without a model: train from new weights with this preset."""
    ticks: tuple[int, ...] = (4, 8, 16)
    """Values of T."""
    lags: tuple[int, ...] = (1, 2, 4)
    """Values of L."""
    weights: tuple[float, ...] = (0.0, 0.001, 0.01)
    """Values of --synop-weight: loss per million synops and image."""
    steps: int = 200
    """Training steps per point."""
    batch_size: int | None = None
    """Images per step (default: the model's)."""
    lr: float = 2e-3
    """Learning rate at the start; it falls to 5 % of it (cosine)."""
    autoencoder: Path | None = None
    """Autoencoder for the Fréchet distance (default: none, reconstruction only)."""
    images: int = 1000
    """Test images that are reconstructed, and images that are generated."""
    data_dir: Path | None = None
    """Folder of the data set."""
    seed: int = 0
    """Root seed of every point."""
    out: Path | None = None
    """Where the points go (default: sweep/ beside the model, or runs/sweep-<preset>)."""


def sweep_command(arguments: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    command = tyro.cli(Command, args=arguments, prog="sweep-fsvae")
    for name in ("ticks", "lags", "weights"):
        if not getattr(command, name):
            raise UserError(f"--{name}: expected at least one value")
    for name, least in (("steps", 1), ("images", 2)):
        if getattr(command, name) < least:
            raise UserError(f"--{name} {getattr(command, name)}: expected at least {least}")

    out = command.out or (Path("runs") / f"sweep-{command.preset}" if command.model is None
                          else command.model.parent / "sweep")
    with holding(out):
        return _sweep(command, arguments, out)


def _sweep(command: Command, arguments: list[str], out: Path) -> int:
    import json

    from export.scores.autoencoder import load_autoencoder
    from export.scores.distances import Frechet
    from export.scores.forms import torch_form
    from export.scores.scoring import score_form
    from hw_configs.files import replacing
    from lava_models.commands.console import make_console
    from train.checkpoint import load_model, provenance
    from train.data import load_images, to_float
    from train.trainer import Trainer

    console, base = make_console(), _base(command)
    check_writable(out)
    points = list(itertools.product(command.ticks, command.lags, command.weights))
    for point in points:  # refuse before the first hour
        _point(base, command, *point)
    base = _in_epochs(base, command)
    configs = [_point(base, command, *point) for point in points]
    test = to_float(load_images(base, "test", command.images))
    frechet = None
    if command.autoencoder is not None:
        frechet = Frechet(load_autoencoder(command.autoencoder), test)
    rows = []
    for i, ((ticks, lag, weight), config) in enumerate(zip(points, configs)):
        folder = out / f"T{ticks}-L{lag}-w{weight:g}"
        console.print(f"point {i + 1} of {len(points)}: T = {ticks}, L = {lag}, weight {weight:g}")
        if not _finished(folder, config):
            begun = (folder / "checkpoints" / "last.pt").is_file()
            trainer = Trainer(replace(config, run_dir=folder), folder,
                              resume=begun and _same_settings(folder, config),
                              command=["sweep-fsvae", *arguments], console=console)
            trainer.run()
        model, _, _ = load_model(folder / "model.pt")
        scores, _ = score_form(torch_form("float", model, "cpu"), test, len(test), frechet, None,
                               lambda n: None, [command.seed])
        rows.append({
            "ticks": ticks, "lag": lag, "synop_weight": weight, "timesteps": 4 * ticks // lag,
            "reconstruction": scores.reconstruction,
            "frechet": scores.frechet and scores.frechet.train_bn,
            **{f"{mode}_synops": scores.operations[mode]["accumulates"]
               for mode in ("reconstruct", "generate")}})
        console.print(f"  reconstruction {scores.reconstruction:.4f}, "
                      f"{rows[-1]['reconstruct_synops'] / 1e6:.2f} million synops per image")
    record = {"schema": "lava-fsvae-sweep/1", "dataset": base.dataset, "steps": command.steps,
              "start_from": str(command.model or "new weights"), "images": len(test), "rows": rows,
              "provenance": provenance(["sweep-fsvae", *arguments])}
    with replacing(out / "sweep.json") as file:
        file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    with replacing(out / "sweep.md") as file:
        file.write_text(_markdown(record), "utf-8")
    _draw(record, out / "sweep.png")
    console.print(_markdown(record), markup=False)
    console.print(f"picture: {out / 'sweep.png'}   table: {out / 'sweep.md'}")
    return 0


def _base(command: Command):
    """The settings that all points share."""
    from train.checkpoint import load_model
    from train.config import RunConfig, nearest
    from train.settings import load_toml, presets

    if command.model is not None:
        config = load_model(command.model)[1]
        if config.model.kind != "fsvae" or config.model.integer:
            raise UserError(f"{command.model}: a sweep starts from a float model of --model fsvae")
    else:
        shipped = presets()
        if command.preset not in shipped:
            raise UserError(f"unknown preset '{command.preset}'{nearest(command.preset, shipped)};"
                            f" known: {', '.join(sorted(shipped))}")
        config = load_toml(shipped[command.preset].read_text(), command.preset, RunConfig())
    optim = replace(config.optim, batch_size=command.batch_size or config.optim.batch_size)
    return replace(config, start_from=command.model, seed=command.seed, optim=optim,
                   data_dir=command.data_dir or config.data_dir)


def _in_epochs(base, command: Command):
    """The steps of a point as whole epochs of equal length, as few as hold them."""
    from train.data import load_images

    images = len(load_images(base, "train"))
    images -= max(1, round(base.validation * images))
    epochs = math.ceil(command.steps / math.ceil(images / base.optim.batch_size))
    return replace(base, optim=replace(base.optim, epochs=epochs,
                                       limit_batches=math.ceil(command.steps / epochs)))


def _point(base, command: Command, ticks: int, lag: int, weight: float):
    from train.config import validate

    optim = replace(base.optim, lr=command.lr, lr_schedule="cosine")
    config = replace(base, model=replace(base.model, ticks=ticks, lag=lag), optim=optim,
                     loss=replace(base.loss, synop_weight=weight))
    validate(config)
    return config


def _finished(folder: Path, config) -> bool:
    """Whether the point was trained to its end with these settings."""
    from train.checkpoint import load

    if not (folder / "model.pt").is_file() or not _same_settings(folder, config):
        return False
    return load(folder / "model.pt")["epoch"] == config.optim.epochs


def _same_settings(folder: Path, config) -> bool:
    """Whether the run that is there has these settings.

    Raises:
        UserError: it has others.
    """
    from train.checkpoint import load
    from train.settings import from_dict

    last = folder / "checkpoints" / "last.pt"
    theirs = from_dict(load(last)["config"], f"{last}: config")
    if replace(theirs, run_dir=None) != replace(config, run_dir=None):
        raise UserError(f"{folder}: holds a point with other settings; choose another --out or "
                        "remove it")
    return True


def _markdown(record: dict) -> str:
    lines = [f"# {record['dataset']}: quality against synops", "",
             f"Float model, {record['steps']} steps per point from {record['start_from']}, "
             f"{record['images']} test images and as many generated ones.", "",
             "| T | L | timesteps per image | weight | reconstruction | Fréchet (train mode) | "
             "million synops: reconstruct | generate |", "|-:|-:|-:|-:|-:|-:|-:|-:|"]
    for r in record["rows"]:
        frechet = "-" if r["frechet"] is None else f"{r['frechet']:.1f}"
        lines.append(
            f"| {r['ticks']} | {r['lag']} | {r['timesteps']} | {r['synop_weight']:g} | "
            f"{r['reconstruction']:.4f} | {frechet} | {r['reconstruct_synops'] / 1e6:.2f} | "
            f"{r['generate_synops'] / 1e6:.2f} |")
    return "\n".join([*lines, "", "![quality against synops](sweep.png)", ""])


def _draw(record: dict, path: Path) -> None:
    """One line per (T, L), one dot per weight."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from hw_configs.files import replacing

    rows, markers = record["rows"], {1: "o", 2: "s", 4: "^"}
    ticks = sorted({r["ticks"] for r in rows})
    scored = rows[0]["frechet"] is not None
    figure, all_axes = plt.subplots(1, 1 + scored, figsize=(6 + 5 * scored, 4.5),
                                    layout="constrained", squeeze=False)
    panels = [("reconstruction", "reconstruct", "reconstruction error")]
    panels += [("frechet", "generate", "Fréchet distance")] * scored
    for axes, (value, mode, label) in zip(all_axes[0], panels):
        for key in dict.fromkeys((r["ticks"], r["lag"]) for r in rows):
            mine = [r for r in rows if (r["ticks"], r["lag"]) == key]
            axes.plot([r[f"{mode}_synops"] / 1e6 for r in mine], [r[value] for r in mine],
                      marker=markers[key[1]], color=f"C{ticks.index(key[0])}", linewidth=1,
                      label=f"T = {key[0]}, L = {key[1]}")
        axes.set(xlabel=f"million synops per image, {mode}", ylabel=label, xscale="log")
        axes.grid(alpha=0.3, which="both")
    all_axes[0][0].legend(fontsize=8)
    figure.suptitle(f"{record['dataset']}: a dot per price of a synop "
                    f"({', '.join(f'{w:g}' for w in sorted({r['synop_weight'] for r in rows}))}); "
                    f"{record['steps']} steps each", fontsize=10)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)
