"""export-netx: model.pt to a model.net that is proven before it is put in place.

    export-netx runs/digits-0/model.pt
    export-netx runs/mnist-0/model.pt --data-dir data --prove 8
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hw_configs.files import UserError, check_replaceable, run_command, temporary_beside

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from export.prove import Proof
    from export.translate import Translation
    from lava_models.net.netfile import NetFile
    from train.config import ModelConfig, RunConfig
    from train.models.base import Model


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: export_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Export a trained model as model.net: fold tdBN, quantise, bound every accumulator, write,
    read back, and compare Lava with the integer reference spike for spike."""

    model: Path
    """model.pt of train-fsvae."""
    out: Path | None = None
    """Where the file goes (default: model.net beside model.pt)."""
    data_dir: Path | None = None
    """Folder of the data set (default: the one it was trained from)."""
    prove: int = 4
    """Samples per mode that run on Lava for the proof."""
    images: int = 256
    """Test images for the reconstruction error before and after."""
    random_bits: int | None = None
    """Random bits per latent draw (default: exact if k is a power of two, else 8; 12 of Poisson
    latents)."""
    accept_error: bool = False
    """Export although the reconstruction error grows by more than a quarter."""
    seed: int = 0
    """Seed of the latents in proof and error."""


def export_command(arguments: list[str]) -> int:
    """Run the command; returns 1 when the proof fails.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    import tyro

    command = tyro.cli(Command, args=arguments, prog="export-netx",
                       config=(tyro.conf.PositionalRequiredArgs,))
    if command.prove < 1 or command.images < command.prove:
        raise UserError(f"--prove {command.prove} --images {command.images}: expected at least 1, "
                        "and as many images as proofs")
    return _export(command, arguments)


def _export(command: Command, arguments: list[str]) -> int:
    """Translate the model, prove the file beside its place, put it there."""
    # Heavy imports late, so that --help is quick.
    from export.table import layer_table
    from export.translate import seen_images
    from lava_models.commands.console import make_console
    from train.checkpoint import load_model
    from train.data import load_images, to_float
    from train.device import hide_cuda

    out = command.out or command.model.with_name("model.net")
    check_replaceable(out)
    hide_cuda()
    console = make_console()
    model, config, state = load_model(command.model)
    if command.data_dir is not None:
        config = replace(config, data_dir=command.data_dir)
    images = to_float(load_images(config, "test", command.images)).numpy()
    seen = seen_images(config)
    _check_model(command.model, config.model)
    if len(images) < command.prove:
        raise UserError(f"--prove {command.prove}: the test set has {len(images)} images")
    console.print(f"exporting {command.model} (epoch {state['epoch']}, {config.dataset}) -> {out}")
    translation = _translated(command, arguments, model, config, state, seen)
    console.print(layer_table(translation))

    candidate = temporary_beside(Path(os.path.realpath(out)), "unproven")
    try:
        net = _written(translation.net, candidate, out)
        proof = _proven(command, model, translation, net, images, seen, console)
        _print_proof(console, proof, "as trained" if config.model.integer else "float",
                     command.prove)
        if not _accepted(proof, command, out, console):
            return 1
        _put_in_place(candidate, out)
    finally:
        candidate.unlink(missing_ok=True)
    console.print(f"verdict: equal. {out} ({out.stat().st_size / 2**20:.1f} MiB)")
    console.print(f"next: run-lava {out}")
    return 0


def _check_model(path: Path, model: ModelConfig) -> None:
    """Raises:
        UserError: a model that no chip runs.
    """
    from train.config import SpikingConfig

    if model.kind == "ann":
        raise UserError(f"{path}: a model of --model ann does not spike; export-netx "
                        "takes --model fsvae, esvae, glif and poisson")
    if isinstance(model, SpikingConfig) and model.readout == "tanh-per-tick":
        raise UserError(f"{path}: --readout tanh-per-tick: no neuron takes a tanh at "
                        "every tick; export-netx takes tanh-of-sum")


def _translated(command: Command, arguments: list[str], model: Model, config: RunConfig,
                state: dict, seen: np.ndarray) -> Translation:
    """The model as integers, with where it came from.

    Args:
        state: of model.pt.
        seen: training images (N, C, H, W) in [-1, 1].
    """
    from export.translate import default_random_bits, translate
    from hw_configs import load_chip
    from train.checkpoint import provenance, sha256_of

    bits = command.random_bits or default_random_bits(config.model)
    origin = {"exported": provenance(["export-netx", *arguments]), "trained": state["provenance"],
              "model_sha256": sha256_of(command.model),
              "dataset": config.dataset, "epoch": state["epoch"]}
    return translate(model, load_chip(), random_bits=bits, images=seen, provenance=origin)


def _written(net: NetFile, candidate: Path, out: Path) -> NetFile:
    """Write a network to `candidate`; what is read back.

    Raises:
        UserError: a field is not what it was.
    """
    from lava_models.net.hdf5 import read_net, write_net

    write_net(net, candidate)
    read = read_net(candidate)
    for field in fields(read):
        if not _same(getattr(read, field.name), getattr(net, field.name)):
            raise UserError(f"{out}: '{field.name}' did not survive writing and reading; "
                            "not written")
    return read


def _proven(command: Command, model: Model, translation: Translation, net: NetFile,
            images: np.ndarray, seen: np.ndarray, console: Console) -> Proof:
    """Compare and measure; shows progress.

    Args:
        images: of the test set, float32 (N, C, H, W) in [-1, 1].
        seen: of the training set, that the integers were chosen by.
    """
    from rich.progress import Progress

    from export.prove import Proof, deployment_error, prove
    from export.twin import compare_twin, make_twin

    twin = make_twin(model, translation, seen)
    twins = {mode: compare_twin(twin, net, mode, images, command.prove, command.seed)
             for mode in net.modes}
    with Progress(console=console, transient=True) as progress:
        error_task = progress.add_task("reconstruction error, float and integer", total=None)
        draws = max(1, -(-256 // len(images)))
        error = deployment_error(model, net, images, command.seed, draws,
                                 lambda: progress.advance(error_task))
        progress.remove_task(error_task)
        tasks = {}

        def on_step(mode: str, done: int, total: int) -> None:
            if mode not in tasks:
                tasks[mode] = progress.add_task(f"proof on Lava ({mode}), timesteps")
            progress.update(tasks[mode], completed=done, total=total)

        return Proof(error, twins, prove(net, images, command.prove, command.seed, on_step))


def _print_proof(console: Console, proof: Proof, before: str, samples: int) -> None:
    """Print what `_proven` found.

    Args:
        before: what the integers are compared with.
        samples: of the proof, per mode.
    """
    error = proof.error
    console.print(f"reconstruction error (mean squared, [-1, 1], {error.images} test images x "
                  f"{error.draws} draws): {before} {error.float_model:.5f}, integer "
                  f"{error.integer:.5f} ({error.change:+.1%})")
    for mode, verdict in proof.twins.items():
        console.print(f"the model in integers, layer by layer, against the reference, {mode}, "
                      f"{samples} samples: {verdict}")
    for mode, verdict in proof.lava.items():
        console.print(f"Lava (stock processes, CPU simulator) against the reference, {mode}, "
                      f"{samples} samples: {verdict}")


def _accepted(proof: Proof, command: Command, out: Path, console: Console) -> bool:
    """Whether the file may be put in place; says why not."""
    from export.prove import MOST_CHANGE

    kept = f"{out} was not written; nothing of yours was changed"
    if not proof.equal:
        idle = any(verdict.idle_parts and not verdict.differing for verdict in proof.lava.values())
        remedy = (f" More samples may make it fire (--prove {4 * command.prove}), or more training"
                  if idle else "")
        console.print(f"verdict: NO. {kept}.{remedy}")
        return False
    if not (proof.error.acceptable or command.accept_error):
        console.print(f"verdict: NO. In integers the reconstruction error grows by "
                      f"{proof.error.change:.0%}, expected at most {MOST_CHANGE:.0%}; {kept}. "
                      "Train on in integers with finetune-fsvae, or export with --accept-error")
        return False
    return True


def _put_in_place(candidate: Path, out: Path) -> None:
    """Raises:
        UserError: `out` cannot be written.
    """
    try:
        os.replace(candidate, os.path.realpath(out))
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from None


def _same(a, b) -> bool:
    """Equality of NetFile values, arrays included."""
    import numpy as np

    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(
            _same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return a == b
