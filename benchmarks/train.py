"""How fast is training? Images/s of forward + backward + step, against our own PyTorch-operator
path and, with --peer, against a checkout of the FSVAE authors' code, in turn in one run.

    python benchmarks/train.py
    python benchmarks/train.py --peer ../FullySpikingVAE --sizes mnist celeba --batch 16
    python benchmarks/train.py --scaling

The peer is timed on what its training loop does per batch: forward with scheduled sampling, MMD
loss, backward, AdamW.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
# (this file's own folder: in it, "train" would be this file)

import torch

from train.backends.compiled import keep_memory
from train.config import FsvaeConfig, RunConfig, SpikingLoss
from train.models.fsvae import FSVAE
from train.settings import load_toml, presets


@dataclass(frozen=True)
class Command:
    """Time training steps."""

    sizes: tuple[Literal["mnist", "celeba"], ...] = ("mnist",)
    """Networks to time."""
    batch: int = 16
    """Images per step."""
    rounds: int = 5
    """How often each is timed, in turn."""
    threads: int | None = None
    """CPU threads; default all."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    peer: Path | None = None
    """A checkout of the authors' implementation, to be timed in the same run."""
    scaling: bool = False
    """How the time grows with T, k and C instead."""


def model_config(size: str) -> FsvaeConfig:
    """The preset's network."""
    return load_toml(presets()[size].read_text("utf-8"), size, RunConfig()).model


def step_of(config: FsvaeConfig, batch: int, device: str) -> Callable[[], None]:
    """A training step of ours on random images."""
    generator = torch.Generator().manual_seed(0)
    model = FSVAE(config, generator).to(device)
    model.choose_neurons(torch.device(device))
    image = torch.rand(batch, config.image_channels, config.image_size, config.image_size,
                       generator=generator).to(device) * 2 - 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3)
    model.train()
    model.calibrate(image, generator)
    loss = SpikingLoss()

    def step() -> None:
        output = model(image, generator, loss, chance=0.1)
        total = model.losses(output, image, loss).total
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        total.item()

    return step


def in_bfloat16(step: Callable[[], None], device: str) -> Callable[[], None]:
    """The same step with --precision bfloat16."""
    def low() -> None:
        with torch.autocast(device, torch.bfloat16):
            step()

    return low


def peer_step(folder: Path, config: FsvaeConfig, batch: int, device: str) -> Callable[[], None]:
    """A training step of the authors' code."""
    sys.path.insert(0, str(folder))
    import global_v
    from fsvae_models import fsvae

    global_v.init({"in_channels": config.image_channels, "latent_dim": config.latent,
                   "n_steps": config.ticks, "k": config.k, "batch_size": batch, "lr": 1e-3,
                   "epochs": 150, "scheduled": True, "loss_func": "mmd"}, [0])
    model = (fsvae.FSVAELarge if len(config.hidden) > 4 else fsvae.FSVAE)().to(device)
    model.train()
    model.update_p(0, 150)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3)
    image = torch.rand(batch, config.image_channels, config.image_size, config.image_size)
    image = (image * 2 - 1).to(device)

    def step() -> None:
        optimizer.zero_grad()
        frames = image.unsqueeze(-1).repeat(1, 1, 1, 1, config.ticks)
        recon, q, p, _ = model(frames, scheduled=True)
        loss = model.loss_function_mmd(image, recon, q, p)["loss"]
        loss.backward()
        optimizer.step()
        loss.item()

    return step


class OtherProcess:
    """A peer's step in a process of its own, so that nothing we set (the C library's memory, see
    train.backends.compiled.keep_memory) helps or harms it. A call takes the step's time and a
    message."""

    def __init__(self, folder: Path, config: FsvaeConfig, batch: int, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe()
        context.Process(target=_serve, daemon=True, args=(
            there, folder, config, batch, device, torch.get_num_threads())).start()

    def __call__(self) -> None:
        self.here.send(None)
        self.here.recv()


def _serve(connection, folder: Path, config: FsvaeConfig, batch: int, device: str,
           threads: int) -> None:
    torch.set_num_threads(threads)
    step = peer_step(folder, config, batch, device)
    while True:
        try:
            connection.recv()
        except EOFError:  # the benchmark is over
            return
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        connection.send(None)


def time_in_turn(steps: dict[str, Callable[[], None]], rounds: int, device: str,
                 say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of every step in every round; each runs once before, unmeasured."""
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
            say(f"  round {round_ + 1}, {name}: {times[name][-1]:.3f} s")
    return times


def main() -> None:
    import tyro
    from rich.table import Table

    from lava_models.commands.console import make_console

    command = tyro.cli(Command)
    torch.set_num_threads(command.threads or os.cpu_count())
    keep_memory()
    console = make_console()
    steps: dict[str, Callable[[], None]] = {}
    batch, device = command.batch, command.device
    for size in command.sizes:
        config = model_config(size)
        if command.scaling:
            for name, change in {"": {}, ", T = 8": {"ticks": 8}, ", T = 32": {"ticks": 32},
                                 ", k = 10": {"k": 10}, ", k = 40": {"k": 40},
                                 ", C = 64": {"latent": 64}, ", C = 256": {"latent": 256}}.items():
                steps[f"{size}{name}"] = step_of(replace(config, **change), batch, device)
            continue
        if command.peer is not None:
            steps[f"{size}, peer"] = OtherProcess(command.peer, config, batch, device)
        steps[f"{size}, --neurons operators"] = step_of(replace(config, neurons="operators"),
                                                        batch, device)
        steps[f"{size}, default"] = step_of(config, batch, device)
        steps[f"{size}, bfloat16"] = in_bfloat16(step_of(config, batch, device), device)
    times = time_in_turn(steps, command.rounds, device, console.print)
    table = Table(title=f"one training step of {batch} images, {device}, {torch.get_num_threads()} "
                        f"threads, torch {torch.__version__}, Python {platform.python_version()}; "
                        f"medians of {command.rounds} rounds")
    table.add_column("what")
    for name in ("s / step", "min - max", "images / s", "times the group's first"):
        table.add_column(name, justify="right")
    first: dict[str, float] = {}
    for name, values in times.items():
        median = statistics.median(values)
        base = first.setdefault(name.split(",")[0], median)
        ratio = median / base if command.scaling else base / median
        table.add_row(name, f"{median:.3f}", f"{min(values):.3f} - {max(values):.3f}",
                      f"{batch / median:.1f}", f"{ratio:.2f} x")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
