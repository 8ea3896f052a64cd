"""finetune-fsvae: train on with the chip's integers; the exported network is then the trained one.

    finetune-fsvae runs/mnist-0/model.pt        ->  runs/mnist-0/integer/model.pt
    export-netx runs/mnist-0/integer/model.pt

Scales are chosen once, from the float model, as export-netx would; from then on weights, biases,
thresholds and leaks of the forward pass are the integers of the file (train/layers/integers.py).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hw_configs.files import UserError, holding, run_command

if TYPE_CHECKING:
    from train.config import RunConfig

EPOCHS, LR, FILL = 2, 5e-4, 0.9
"""Unless asked for otherwise."""


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: finetune_command(sys.argv[1:]),
                         "interrupted; --resume continues from the last checkpoint"))


@dataclass(frozen=True)
class Command:
    """Train a model on with the chip's integers (quantisation-aware), from its float weights."""

    model: Path
    """model.pt of train-fsvae."""
    run_dir: Path | None = None
    """Where the run goes (default: integer/ beside model.pt)."""
    epochs: int | None = None
    """Passes over the training set (default: 2)."""
    limit_batches: int | None = None
    """Stop each epoch after this many steps."""
    batch_size: int | None = None
    """Images per step (default: as before)."""
    lr: float | None = None
    """Learning rate at the start; it falls to 5 % of it, cosine (default: 5e-4)."""
    fill: float | None = None
    """Share of each port and membrane that the starting weights may use in the worst case; the
    rest is room to grow (default: 0.9)."""
    data_dir: Path | None = None
    """Folder of the data set (default: the one it was trained from)."""
    seed: int | None = None
    """Root seed (default: as before)."""
    resume: bool = False
    """Continue an interrupted run, with its own settings; --epochs may be others."""
    force: bool = False
    """Write over an existing run; what was made of its model.pt goes with it."""


def finetune_command(arguments: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    import tyro

    command = tyro.cli(Command, args=arguments, prog="finetune-fsvae",
                       config=(tyro.conf.PositionalRequiredArgs,))
    if command.fill is not None and not 0 < command.fill <= 1:
        raise UserError(f"--fill {command.fill}: expected more than 0 and at most 1")
    if command.fill is not None and command.resume:
        raise UserError(f"--fill {command.fill}: the scales are chosen when a run begins; leave it "
                        "out with --resume")
    run_dir = command.run_dir or command.model.parent / "integer"
    with holding(run_dir, "--run-dir"):
        return _finetune(command, arguments, run_dir)


def _finetune(command: Command, arguments: list[str], run_dir: Path) -> int:
    from export.translate import seen_images
    from lava_models.commands.console import make_console
    from train.checkpoint import load_model
    from train.config import LifConfig, validate
    from train.run_folder import claim
    from train.trainer import Trainer

    model, before, _ = load_model(command.model)
    if not isinstance(before.model, LifConfig):
        raise UserError(f"{command.model}: --model {before.model.kind} cannot be trained in "
                        "integers; expected a model of --model fsvae or esvae")
    if before.model.readout != "tanh-of-sum":
        raise UserError(f"{command.model}: --readout {before.model.readout} cannot be trained in "
                        "integers; expected tanh-of-sum")
    if before.model.integer:
        raise UserError(f"{command.model}: was trained in integers already; start from the float "
                        "model, or continue its run with --resume")
    config = _settings(command, before, run_dir)
    validate(config)
    images = seen_images(config)
    claim(run_dir, resume=command.resume, force=command.force)
    trainer = Trainer(
        config, run_dir, resume=command.resume, command=["finetune-fsvae", *arguments],
        console=make_console(),
        prepare=lambda integer: set_scales(integer, model, command.fill or FILL,
                                           float((images**2).mean())))
    trainer.run()
    print(f"next: export-netx {run_dir / 'model.pt'}")
    return 0


def _settings(command: Command, before: RunConfig, run_dir: Path) -> RunConfig:
    """The settings of the run: what is asked for, over those of the float model or, resumed, over
    the run's own.

    Raises:
        UserError: there is no run to resume.
    """
    from train.run_folder import stored_config

    if command.resume:
        base = stored_config(run_dir)
    else:
        base = replace(
            before, model=replace(before.model, arithmetic="integer", neurons="auto"),
            optim=replace(before.optim, epochs=EPOCHS, limit_batches=None, lr=LR,
                          lr_schedule="cosine", precision="float32"))
    asked = {name: value for name in ("epochs", "limit_batches", "batch_size", "lr")
             if (value := getattr(command, name)) is not None}
    return replace(base, run_dir=run_dir, start_from=command.model,
                   data_dir=command.data_dir or base.data_dir,
                   seed=base.seed if command.seed is None else command.seed,
                   optim=replace(base.optim, **asked))


def set_scales(integer, model, fill: float, mean_square: float) -> None:
    """Give the integer model the scales that an export of the float model would choose.

    Args:
        integer, model: FSVAEs of the same layers, the first with integer arithmetic.
        fill, mean_square: as in export.quantize.

    Raises:
        UserError: a layer cannot be held by the chip; names it.
    """
    from export.translate import quantize_layers
    from export.twin import give_scales
    from hw_configs import load_chip

    give_scales(integer, quantize_layers(model, load_chip(), mean_square, fill))
