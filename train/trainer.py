"""The training loop: epochs, validation, pictures, checkpoints; stops and resumes anywhere.

Every random draw comes from a stream of the root seed. Data order and flips depend on (seed,
epoch, step) alone, latents on a generator whose state is in the checkpoint, so a resumed run
reaches the very weights of an unbroken one (on the same device).
"""

from __future__ import annotations

import dataclasses
import filecmp
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tomli_w
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Generator, Tensor

from hw_configs.files import UserError, replacing
from train import checkpoint
from train.activity import extremes, fan_out, rates, recording, synops
from train.backends.compiled import keep_memory
from train.config import OptimConfig, RunConfig
from train.data import augmentation, load_images, split_validation, to_float
from train.device import pick_device, set_arithmetic
from train.journal import Journal
from train.models.base import Model
from train.models.build import build_model, check_size
from train.models.losses import Losses
from train.models.spiking import SpikingVae
from train.parallel import Ranks, join
from train.run_folder import remove_derived
from train.settings import differences, from_dict, to_dict
from train.streams import stream

CHECKPOINT_EVERY_S = 120.0
"""A killed run loses about this much."""
LOOK_EVERY_S = 1.0
"""On CUDA losses are read about so often: reading waits until the device has done all before."""
SAY_EVERY_S = 20.0
"""Off a terminal, progress is a line every so often."""
RESUMABLE = frozenset({"epochs", "device", "threads", "neurons", "run_dir"})
"""Settings that a resumed run may change: images, their order and the steps stay those of an
unbroken run. The folder may have moved."""
PICTURED = 512
"""Validation images that a model's own numbers and pictures are of."""


def make_optimizer(model: Model, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser; what the model says does not decay."""
    undecayed = model.undecayed()
    groups = [{"params": [p for p in model.parameters() if p not in undecayed]}]
    if undecayed:
        own = [p for p in model.parameters() if p in undecayed]
        groups.append({"params": own, "weight_decay": 0.0})
    if config.optimizer == "adamax":
        return torch.optim.Adamax(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay,
                             fused=_fuses(model))


def _fuses(model: Model) -> bool | None:
    """Whether the optimiser is one kernel, which also keeps its count of steps on the device."""
    return True if next(model.parameters()).is_cuda else None


class Trainer:
    """One training run in `run_dir`.

    Args:
        config: all settings.
        run_dir: the run folder.
        resume: continue from checkpoints/last.pt.
        command: the command line, for the record.
        console: where progress goes.
        ranks: the processes that share each batch.
        prepare: called with the model that starts, before anything else looks at it.
    """

    def __init__(self, config: RunConfig, run_dir: Path, *, resume: bool = False,
                 command: list[str] | None = None, console: Console | None = None,
                 ranks: Ranks | None = None,
                 prepare: Callable[[Model], None] = lambda model: None) -> None:
        self.config, self.run_dir = config, run_dir
        state = self._to_resume() if resume else None
        self.ranks = ranks or Ranks()
        self.console = console or Console(soft_wrap=True, quiet=not self.ranks.first)
        check_size(config.model)
        self.device = join(self.ranks, pick_device(config.device))
        set_arithmetic(self.device, config.optim.precision, config.deterministic)
        if self.device.type == "cpu":
            keep_memory()
        images = load_images(config, "train")
        self.training, self.validation = split_validation(
            images, config.validation, stream(config.seed, "split"))
        self.training = self.training.to(self.device)  # as uint8: little, and then at hand
        o = config.optim
        # A last, smaller batch counts if there is an image for every rank.
        whole, rest = divmod(len(self.training), o.batch_size)
        self.steps = whole + (rest >= self.ranks.size)
        if o.batch_size < self.ranks.size or not self.steps:
            raise UserError(f"--batch-size {o.batch_size}: {self.ranks.size} ranks share a batch; "
                            "expected at least one image each")
        if o.limit_batches is not None:
            self.steps = min(self.steps, o.limit_batches)
        self.model = build_model(config.model, stream(config.seed, "init")).to(self.device)
        self.model.choose_neurons(self.device)
        self.optimizer = make_optimizer(self.model, o)
        self.model.share_batches(self.ranks)
        self.latents = stream(config.seed, "latents", device=self.device)
        self.epoch = self.step = 0
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        """Of total, reconstruction and distance over the epoch's steps."""
        self.last = torch.zeros_like(self.sums)
        """Of the last step."""
        self._order: tuple[int, Tensor] | None = None
        self.metrics: list[dict] = []
        self.best = math.inf
        self.provenance = checkpoint.provenance(command or sys.argv)
        if state is not None:
            self._resume(state)
        else:
            if config.start_from is not None:
                weights = checkpoint.weights_file(config.start_from)
                changed = checkpoint.load_weights(self.model, weights)
                self.provenance[checkpoint.STARTED_FROM] = checkpoint.sha256_of(weights)
                if changed:
                    self.console.print(f"other leaks than {config.start_from} was trained with: "
                                       f"{', '.join(changed)}")
            else:
                self.model.look_at(self.training)
            prepare(self.model)
            self.model.check_ready()
            self.model.train()
            if config.start_from is None:
                self.model.calibrate(self._batch(0, 0), self.latents)
        if self.ranks.first:
            with replacing(run_dir / "config.toml") as file:
                file.write_text(tomli_w.dumps(to_dict(config)))
        self.fan_out = fan_out(self.model) if config.loss.synop_weight else {}

    # --- one epoch after the other ---

    def run(self, *, until: Callable[[int, int], bool] = lambda epoch, step: False) -> None:
        """Train to the last epoch.

        Args:
            until: called with (epoch, step) after each step; True saves and stops there.
        """
        self.console.print(self._headline())
        journal = Journal(self.run_dir, self.epoch) if self.ranks.first else None
        saved = said = looked = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(),
                   TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(),
                   TextColumn("{task.fields[loss]}"))
        with Progress(*columns, console=self.console, transient=True) as progress:
            while self.epoch < self.config.optim.epochs:
                task = progress.add_task(f"epoch {self.epoch + 1}/{self.config.optim.epochs}",
                                         total=self.steps, completed=self.step, loss="")
                while self.step < self.steps:
                    self._train_step()
                    self.step += 1
                    now = time.monotonic()
                    stop, due = until(self.epoch, self.step), now - saved > CHECKPOINT_EVERY_S
                    if (self.device.type == "cpu" or now - looked > LOOK_EVERY_S or stop or due
                            or self.step == self.steps):
                        said_now, looked = _show(self._look()), now
                        progress.update(task, completed=self.step, loss=said_now)
                        if not self.console.is_terminal and now - said > SAY_EVERY_S:
                            said = now  # no bar in a log file: a line now and then
                            self.console.print(f"  step {self.step}/{self.steps}: {said_now}")
                    if stop or due:
                        self._save_last()
                        saved = now
                    if stop:
                        return
                progress.remove_task(task)
                self._finish_epoch(journal)
        if journal is not None:
            journal.close()
            self.console.print(f"best epoch: {self._best_epoch()} -> {self.run_dir / 'model.pt'}")

    def _headline(self) -> str:
        parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        c, o = self.config, self.config.optim
        ranks = self.ranks.size
        spiking = c.model.lag > 0
        return (f"training {c.model.kind} on {c.dataset}: {len(self.training)} images, "
                f"{parameters} parameters, "
                + f"T = {c.model.ticks}, L = {c.model.lag}, " * spiking +
                f"batch {o.batch_size}, {o.epochs} epochs of {self.steps} steps, {o.precision}, "
                f"device {self.device} (neurons: {self.model.neurons()}"
                f"{f'; {ranks} ranks' if ranks > 1 else ''}), seed {c.seed}, folder {self.run_dir}")

    def _train_step(self) -> None:
        """One step, without waiting for the device; its losses are in `last` and `sums`."""
        c = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        image = self._batch(self.epoch, self.step)
        self.model.train()
        self.model.anneal((self.epoch * self.steps + self.step) / (c.optim.epochs * self.steps))
        with torch.autocast(self.device.type, torch.bfloat16,
                            enabled=c.optim.precision == "bfloat16"):
            output, price = self._forward(image, self.latents, self._chance())
        local = self._losses(output, image, price)
        self.optimizer.zero_grad(set_to_none=True)
        (local.total / self.ranks.size).backward()
        values = torch.stack([local.total, local.reconstruction, local.distance]).detach()
        values /= self.ranks.size
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.ranks.add_up(values, *gradients)
        if c.optim.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.optim.clip)
        self.optimizer.step()
        self.last.copy_(values)
        self.sums += values

    def _look(self) -> Losses:
        """The last step's losses as numbers, for which a device is waited for.

        Raises:
            UserError: they are none any more, or were none at a step since the last look.
        """
        numbers = torch.cat([self.last, self.sums]).tolist()
        wrong = [n for n in (numbers[0], numbers[3]) if not math.isfinite(n)]
        if wrong:
            raise UserError(f"the loss is {wrong[0]} at epoch {self.epoch + 1}, step {self.step}: "
                            f"training diverged; lower --lr. {self.run_dir} keeps the last "
                            "checkpoint")
        return Losses(*numbers[:3])

    def _forward(self, image: Tensor, generator: Generator, chance: float = 0.0
                 ) -> tuple[object, Tensor | float]:
        """The model's output and the price of its synops."""
        loss = self.config.loss
        if not loss.synop_weight:
            return self.model(image, generator, loss, chance), 0.0
        with recording(self.model) as activity:
            output = self.model(image, generator, loss, chance)
        millions = synops(activity, self.fan_out) / len(image) / 1e6
        return output, loss.synop_weight * millions

    def _losses(self, output, image: Tensor, price: Tensor | float) -> Losses:
        loss = self.model.losses(output, image, self.config.loss)
        return dataclasses.replace(loss, total=loss.total + price)

    def _learning_rate(self) -> float:
        o = self.config.optim
        step = self.epoch * self.steps + self.step
        peak = o.lr * min(1.0, (step + 1) / (o.warmup_steps + 1))
        if o.lr_schedule == "constant":
            return peak
        if o.lr_schedule == "exponential":
            return peak * (1 - o.lr_decay)**self.epoch
        done = step / (o.epochs * self.steps)
        return peak * (o.lr_end + (1 - o.lr_end) * (1 + math.cos(math.pi * done)) / 2)

    def _chance(self) -> float:
        return self.config.loss.chance(self.epoch / self.config.optim.epochs)

    def _batch(self, epoch: int, step: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            order = torch.randperm(len(self.training),
                                   generator=stream(self.config.seed, "order", epoch))
            self._order = epoch, order.to(self.device)
        order = self._order[1]
        size = self.config.optim.batch_size
        images = self.training.index_select(0, order[step * size:(step + 1) * size])
        if augmentation(self.config):
            coin = torch.rand(len(images), generator=stream(self.config.seed, "order", epoch, step))
            heads = (coin < 0.5).to(self.device, non_blocking=True)
            images = torch.where(heads[:, None, None, None], images.flip(-1), images)
        return to_float(self.ranks.share(images))

    def _finish_epoch(self, journal: Journal | None) -> None:
        if journal is None:  # the first rank does all of this
            self._next_epoch()
            return
        means = [total / self.steps for total in self.sums.tolist()]
        row = {"epoch": self.epoch + 1, "lr": self._learning_rate(),
               **dict(zip(("loss", "reconstruction", "distance"), means))}
        some = to_float(self.validation[:PICTURED]).to(self.device)
        row |= {f"validation_{k}": v for k, v in {
            **self.evaluate(self.validation), **self.model.eval().numbers(some)}.items()}
        firing = self._firing_rates(some)
        row |= {f"rate/{name}": rate for name, rate in firing.items()}
        self.metrics.append(row)
        self._next_epoch()
        journal.metrics(self.metrics)
        last = self.epoch == self.config.optim.epochs
        if last or self.epoch == 1 or self.epoch % max(1, self.config.optim.epochs // 10) == 0:
            self._pictures(journal)
        better = row["validation_loss"] < self.best
        self.best = min(self.best, row["validation_loss"])
        self._save_last()
        if better:
            self._put_best()
        self.console.print(
            f"epoch {row['epoch']:3d}: loss {row['loss']:.4f} reconstruction "
            f"{row['reconstruction']:.4f} distance {row['distance']:.5f} | validation loss "
            f"{row['validation_loss']:.4f} reconstruction {row['validation_reconstruction']:.4f}"
            + (" *" if better else ""))
        if extremes(firing):
            self.console.print(f"  {', '.join(extremes(firing))}: spikes per neuron and tick")

    @torch.no_grad()
    def _firing_rates(self, image: Tensor) -> dict[str, float]:
        """Of the layers of a model that spikes; none of another."""
        if not isinstance(self.model, SpikingVae):
            return {}
        with recording(self.model) as activity:
            self.model(image, stream(self.config.seed, "evaluation", 2))
        return rates(activity, self.model, len(image))

    def _next_epoch(self) -> None:
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()

    def _best_epoch(self) -> int:
        return min(self.metrics, key=lambda r: r["validation_loss"])["epoch"]

    # --- looking at the model ---

    @torch.no_grad()
    def evaluate(self, images: Tensor) -> dict[str, float]:
        """Mean losses of uint8 images (N, C, H, W) in evaluation mode, latents from a fixed
        stream."""
        self.model.eval()
        generator, size = stream(self.config.seed, "evaluation"), self.config.optim.batch_size
        sums = torch.zeros_like(self.sums)
        for batch in images.split(size):
            image = to_float(batch).to(self.device)
            output, price = self._forward(image, generator)
            loss = self._losses(output, image, price)
            sums += torch.stack([loss.total, loss.reconstruction, loss.distance]).double() * (
                len(batch) / len(images))
        return dict(zip(("loss", "reconstruction", "distance"), sums.tolist()))

    @torch.no_grad()
    def _pictures(self, journal: Journal) -> None:
        self.model.eval()
        generator = stream(self.config.seed, "evaluation", 1)
        image = to_float(self.validation[:32]).to(self.device)
        pairs = torch.stack([image, self.model(image, generator).image], dim=1).flatten(0, 1)
        drawn, _ = self.model.generate(64, generator)
        for name, images in (("reconstructions", pairs), ("samples", drawn)):
            journal.grid(name, images, self.epoch)
        some = to_float(self.validation[:PICTURED]).to(self.device)
        for name, picture in self.model.pictures(some).items():
            journal.picture(name, picture, self.epoch)

    # --- stopping and going on ---

    def _save_last(self) -> None:
        if not self.ranks.first:
            return
        checkpoint.save(self.run_dir / "checkpoints" / "last.pt", {
            "config": to_dict(self.config), "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(), "epoch": self.epoch, "step": self.step,
            "sums": self.sums.tolist(), "metrics": self.metrics, "best": self.best,
            "latents": self.latents.get_state(), "provenance": self.provenance})

    def _put_best(self) -> None:
        """Make model.pt what last.pt is; what was made of another one is no longer true."""
        last, best = self.run_dir / "checkpoints" / "last.pt", self.run_dir / "model.pt"
        if best.is_file() and filecmp.cmp(last, best, shallow=False):
            return
        remove_derived(self.run_dir, self.console.print)
        with replacing(best) as file:
            shutil.copyfile(last, file)

    def _to_resume(self) -> dict:
        """The state in last.pt.

        Raises:
            UserError: there is none, or it is of a run with other settings.
        """
        last = self.run_dir / "checkpoints" / "last.pt"
        state = checkpoint.load(last)
        changed = differences(from_dict(state["config"], f"{last}: config"), self.config,
                              without=RESUMABLE)
        if changed:
            raise UserError(f"{last}: its run has {'; '.join(changed)}. --resume takes other "
                            "--epochs, --device, --threads and --neurons only; start another "
                            "--run-dir")
        return state

    def _resume(self, state: dict) -> None:
        last = self.run_dir / "checkpoints" / "last.pt"
        misfit = checkpoint.misfit_of_run(state, self.model, self.optimizer)
        if misfit:
            raise UserError(f"{last}: does not fit these settings ({misfit}); --resume keeps the "
                            "model as it was, start another --run-dir for a different one")
        for group in state["optimizer"]["param_groups"]:
            group["fused"] = _fuses(self.model)  # it may have been on another device
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.sums += torch.tensor(state["sums"], dtype=torch.float64)
        if len(state["latents"]) == len(self.latents.get_state()):
            self.latents.set_state(state["latents"])
        else:  # a CPU and a CUDA card do not draw the same numbers
            self.latents = stream(self.config.seed, "latents", self.epoch, self.step,
                                  device=self.device)
            self.console.print("it ran on another kind of device: latents are other draws now")
        self.metrics, self.best = state["metrics"], state["best"]
        if checkpoint.STARTED_FROM in state["provenance"]:
            self.provenance[checkpoint.STARTED_FROM] = state["provenance"][checkpoint.STARTED_FROM]
        finished = self.step == 0 and self.metrics
        if self.ranks.first and finished and self._best_epoch() == self.epoch:
            self._put_best()  # the run was cut just before


def _show(loss: Losses) -> str:
    return (f"loss {loss.total:.4f} reconstruction {loss.reconstruction:.4f} "
            f"distance {loss.distance:.5f}")
