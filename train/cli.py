"""train-fsvae: train a Fully Spiking VAE or one of its relatives.

    train-fsvae --dataset mnist --data-dir data --download
    train-fsvae --model poisson --dataset mnist --data-dir data
    train-fsvae --dataset digits --epochs 5
    train-fsvae --run-dir runs/mnist-0 --resume
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from hw_configs.files import UserError, holding, run_command
from hw_configs.reading import read_toml
from train.config import DATASETS, KINDS, Kind, RunConfig, nearest, validate
from train.run_folder import claim, run_folder_of, stored_config
from train.settings import (
    kind_in,
    load_toml,
    overlay,
    presets,
    refuse_foreign,
    run_of,
)


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: train_command(sys.argv[1:]),
                         "interrupted; --resume continues from the last checkpoint"))


def train_command(arguments: list[str]) -> int:
    """Parse `arguments` and train.

    Raises:
        UserError: whatever is wrong with them, in one line.
    """
    options = parse(arguments)
    import torch  # late, so that --help is quick

    from train.parallel import from_environment

    config = options.run
    validate(config)
    run_dir = config.run_dir or run_folder_of(config.model.kind, config.dataset, config.seed)
    ranks = from_environment()  # of torchrun; the first one looks after the folder
    from train.trainer import Trainer

    with holding(run_dir, "--run-dir") if ranks.first else nullcontext():
        if ranks.first:
            claim(run_dir, resume=options.resume, force=options.force)
        if config.threads:
            torch.set_num_threads(config.threads)
        trainer = Trainer(config, run_dir, resume=options.resume,
                          command=["train-fsvae", *arguments], ranks=ranks)
        trainer.run()
    if ranks.first:
        best = run_dir / "model.pt"
        print(f"next: score-fsvae {best}" if config.model.kind == "ann" else
              f"next: export-netx {best}")
    return 0


@dataclass(frozen=True)
class Command:
    """Train a Fully Spiking VAE, a relative of it, or the ANN. Flags win over --config, that wins
    over the preset; the defaults below are those of the preset and the model chosen."""

    run: RunConfig
    model: Kind = "fsvae"
    """fsvae; glif: the same with gated neurons; poisson: the Poisson VAE; ann: the FSVAE authors'
    VAE without spikes that they compare with. Each has settings of its own: --model NAME --help."""
    preset: str | None = None
    """Start from train/presets/<preset>.toml (default: the data set's own)."""
    config: Path | None = None
    """Settings from a TOML file, over the preset."""
    resume: bool = False
    """Continue the run in --run-dir with its own settings; --epochs, and what runs it (device,
    threads, neurons), may be others."""
    force: bool = False
    """Write over an existing run; what was made of its model.pt goes with it."""


def parse(arguments: list[str]) -> Command:
    """The command line, on top of the preset or file it names.

    Raises:
        UserError: an unknown preset, data set or file, or a resumed run that is not there.
    """
    import tyro

    # What the defaults are depends on these few, so they are looked up first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--dataset")
    first.add_argument("--preset")
    first.add_argument("--model", choices=KINDS)
    first.add_argument("--config", type=Path)
    first.add_argument("--run-dir", type=Path)
    first.add_argument("--resume", action="store_true")
    try:
        known, _ = first.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    base = _base(known)
    kind = base.model.kind
    for argument in arguments:
        if argument.startswith("--"):
            flag = argument.split("=")[0]
            refuse_foreign(flag.replace("_", "-"), flag, kind)
    return tyro.cli(Command, args=arguments, default=Command(base, kind), prog="train-fsvae",
                    config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff))


def _base(known: argparse.Namespace) -> RunConfig:
    if known.dataset is not None and known.dataset not in DATASETS:
        raise UserError(f"unknown data set '{known.dataset}'{nearest(known.dataset, DATASETS)}; "
                        f"known: {', '.join(DATASETS)}")
    own, where = {}, str(known.config)
    if known.config is not None:
        own = read_toml(known.config, "--config takes a TOML file")
    if known.resume:
        return overlay(_resumed(known, kind_in(own, where)), own, where)
    shipped, name = presets(), known.preset or known.dataset or RunConfig.dataset
    if name not in shipped:
        raise UserError(f"unknown preset '{name}'{nearest(name, shipped)}; "
                        f"known: {', '.join(sorted(shipped))}")
    kind = known.model or kind_in(own, where) or "fsvae"
    # A data set's preset is for all models; what one wants otherwise, of any data set and of this
    # one, is in presets of its own.
    base = load_toml(shipped[name].read_text(), f"preset {name}", run_of(kind), of_all_models=True)
    for more in (kind, f"{kind}-{base.dataset}"):
        if more in presets("models"):
            base = load_toml(presets("models")[more].read_text(), f"preset {more}", base)
    return overlay(base, own, where)


def _resumed(known: argparse.Namespace, kind: str | None) -> RunConfig:
    """The settings of the run to resume; `kind` is the --model that --config names, if it does."""
    run_dir = known.run_dir or run_folder_of(
        known.model or kind or "fsvae", known.dataset or RunConfig.dataset, RunConfig.seed)
    config = stored_config(run_dir)
    if known.preset is not None:
        raise UserError(f"--preset {known.preset}: --resume keeps the run's own settings; leave it "
                        "out")
    for named in (known.model, kind):
        if named not in (None, config.model.kind):
            raise UserError(f"--model {named}: {run_dir / 'config.toml'} is of --model "
                            f"{config.model.kind}; --resume keeps the model, start another "
                            "--run-dir for a different one")
    return dataclasses.replace(config, run_dir=run_dir)
