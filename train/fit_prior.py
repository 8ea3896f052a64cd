"""fit-prior: give a network with rate latents a prior, so that it generates.

    train-fsvae --model esvae --dataset mnist --data-dir data
    fit-prior runs/esvae-mnist-0/model.pt     ->  runs/esvae-mnist-0/prior.pt
    export-netx runs/esvae-mnist-0/model.pt   takes it along

One to four minutes on a CPU, most of it encoding the training set. An interrupted one leaves what
was there before.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from hw_configs.files import UserError, check_replaceable, replacing, run_command

CODES_PER_KIND = 128
"""Makes 256 kinds of Fashion-MNIST's 57 000 codes: a Fréchet distance of 5.2, 128 kinds 5.8."""
MOST_KINDS = 2**12
"""Each is a neuron of almost every stage: more than a core holds are no prior for a chip."""


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: fit_prior_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Fit a generator of threshold neurons to the codes of the training set."""

    model: Path
    """model.pt of train-fsvae --model esvae."""
    kinds: int | None = None
    """Kinds of codes, a power of two; the kind is drawn first, all equally likely. Default: one per
    128 training images."""
    groups: int = 4
    """Groups of channels that are drawn one after the other, each a stage of the generator."""
    steps: int = 2000
    """Steps of gradient descent, for each of two orders of the channels."""
    data_dir: Path | None = None
    """Folder of the data set (default: the one it was trained from)."""
    seed: int = 0
    """Seed of the steps."""


def fit_prior_command(arguments: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    import tyro

    command = tyro.cli(Command, args=arguments, prog="fit-prior",
                       config=(tyro.conf.PositionalRequiredArgs,))
    if command.steps < 1:
        raise UserError(f"--steps {command.steps}: expected at least 1")
    kinds = 1 if command.kinds is None else command.kinds
    if not 1 <= kinds <= MOST_KINDS or kinds & (kinds - 1):
        raise UserError(f"--kinds {kinds}: expected a power of two, 1 to {MOST_KINDS}")
    return _fit(command)


def _fit(command: Command) -> int:
    # Heavy imports late, so that --help is quick.
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from train.checkpoint import sha256_of
    from train.models.prior import NAME, fit

    console = Console(soft_wrap=True)
    out = command.model.with_name(NAME)
    check_replaceable(out)
    with Progress(console=console, transient=True) as progress:
        codes = _codes(command, progress)
        kinds = command.kinds or _kinds_for(len(codes[0]))
        if kinds > len(codes[0]):
            raise UserError(f"--kinds {kinds}: expected at most as many as the {len(codes[0])} "
                            "training images")
        task = progress.add_task("fitting", total=2 * command.steps)
        prior = fit(*codes, kinds, command.groups, command.steps,
                    torch.Generator().manual_seed(command.seed), sha256_of(command.model),
                    lambda: progress.advance(task))
    buffer = io.BytesIO()
    torch.save(prior.state(), buffer)
    with replacing(out) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    console.print(f"{out}: {kinds} kinds, {len(prior.stages)} stages, {prior.bits} random bits "
                  f"each; held-out codes {prior.validation_nats:.1f} nats (independent channels: "
                  f"{_independent_nats(*codes):.1f})")
    console.print(f"next: export-netx {command.model}")
    return 0


def _kinds_for(codes: int) -> int:
    """So many kinds that each has enough codes to learn from."""
    return 1 << max(codes // CODES_PER_KIND, 1).bit_length() - 1


def _codes(command: Command, progress):
    """Codes of the training set and of the held-out images: float32 (N, C), 0 or 1.

    Raises:
        UserError: the model has no rates, or not so many channels; no data set.
    """
    import torch

    from train.checkpoint import load, load_model
    from train.data import load_images, split_validation, to_float
    from train.streams import stream

    kind = load(command.model)["config"]["model"].get("kind")
    if kind != "esvae":
        raise UserError(f"{command.model}: --model {kind} has a prior of its own; fit-prior takes "
                        "--model esvae")
    model, config, _ = load_model(command.model, with_prior=False)
    channels = config.model.latent
    if not 1 <= command.groups <= channels or channels % command.groups:
        raise UserError(f"--groups {command.groups}: expected a divisor of the {channels} channels")
    if command.data_dir is not None:
        config = replace(config, data_dir=command.data_dir)
    images = split_validation(load_images(config, "train"), config.validation,
                              stream(config.seed, "split"))
    task = progress.add_task("codes of the training set", total=sum(map(len, images)))
    codes = []
    with torch.no_grad():
        for part in images:
            found = []
            for batch in part.split(256):
                found.append((model.encode(to_float(batch)).mean(dim=0) > 0.5).float())
                progress.advance(task, len(batch))
            codes.append(torch.cat(found))
    return codes


def _independent_nats(codes, held) -> float:
    """Mean negative log likelihood of held-out codes if every channel were drawn on its own."""
    import torch

    rate = codes.mean(dim=0).clamp(1e-3, 1 - 1e-3)
    return float(-(held * rate.log() + (1 - held) * torch.log1p(-rate)).sum(dim=1).mean())
