"""run-lava: run a model.net, or any NetX file, as a Lava process graph; pictures and a report.

    run-lava                             # 8 digits of the network that comes with the package
    run-lava runs/digits-0/model.net --mode reconstruct --dataset digits
    run-lava runs/mnist-0/model.net --samples 16 --seed 3
    run-lava runs/mnist-0/model.net --backend loihi2 --dry-run
    run-lava network.net --input data.npy --steps 64      # any NetX file: commands/run_netx.py
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hw_configs.files import UserError, check_folder, holding, run_command
from lava_models.commands.run_loihi import ChipOptions, check_options, run_loihi
from lava_models.commands.run_netx import NetxCommand, run_netx
from lava_models.commands.run_sim import run_sim
from lava_models.net.pretrained import BEST, NETWORKS


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: run_lava_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Run a model.net, or any other NetX file, as a Lava process graph; report what it did."""

    net: Annotated[Path | None, tyro.conf.Positional] = None
    """model.net of export-netx; or a network that comes with this package, by its name: mnist-rate
    (default), fashion-rate, mnist; or any NetX file, with --input."""
    backend: Literal["sim", "loihi2"] = "sim"
    """sim: Lava's CPU simulator. loihi2: a chip, needs Intel's Loihi extension."""
    mode: Literal["generate", "reconstruct"] = "generate"
    """generate: images from the prior. reconstruct: test images through encoder and posterior."""
    samples: int | None = None
    """Images to run, back to back (default: 8); of a NetX file, samples of --input."""
    seed: int = 0
    """Seed of the random bits: same seed, same spikes, same images."""
    graph: Literal["fused", "stock", "reference"] = "fused"
    """fused: one numpy model per layer, fast. stock: Lava's own processes only, as a chip's
    compiler sees them. Same spikes. reference: of a NetX file, the integer reference without Lava,
    fastest."""
    convolutions: Literal["unrolled", "shared"] | None = None
    """In the stock graph: every synapse in a matrix (Sparse), or the kernel's weights shared (Conv;
    a transposed convolution as its sub-pixel form). Same spikes, slower to simulate (default:
    unrolled; with --backend loihi2 the form that takes fewer cores)."""
    lanes: int | None = None
    """Samples that run side by side in the fused graph (default: chosen; same images)."""
    dataset: str | None = None
    """Test images for reconstruct (default: the data set the network was trained on)."""
    data_dir: Path = Path("data")
    """Folder of the data set."""
    hw: str | None = None
    """Board that the report's cores, energy and time are modelled for: a name (oheogulch,
    kapohopoint, vpx, halapoint, nahuku) or a TOML file (default: the smallest Loihi 2 board that
    holds the network)."""
    constants: str | None = None
    """Energy constants of the report's headline: a name (loihi1-davies2018, loihi1-sanafe,
    loihi2-pilotnet-lif, ...) or a TOML file (default: loihi1-davies2018)."""
    out: Path | None = None
    """Where results go (default: a folder named after the mode, beside model.net; for a network
    that comes with the package, in runs/pretrained-NAME)."""
    force: bool = False
    """Write over earlier results in that folder."""
    check: bool = True
    """Compare the recorded spikes (all of them in short runs) with the integer reference."""
    netx: tyro.conf.OmitArgPrefixes[NetxCommand] = NetxCommand()
    chip: tyro.conf.OmitArgPrefixes[ChipOptions] = ChipOptions()


def run_lava_command(arguments: list[str]) -> int:
    """Run the command; returns 1 when Lava and the reference differ.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    command = tyro.cli(Command, args=arguments, prog="run-lava")
    command, beside = _named(command)
    if command.samples is not None and command.samples < 1:
        raise UserError(f"--samples {command.samples}: expected at least 1")
    if command.seed < 0:
        raise UserError(f"--seed {command.seed}: expected 0 or more")
    if command.lanes is not None and command.lanes < 1:
        raise UserError(f"--lanes {command.lanes}: expected at least 1")
    if command.graph == "stock" and command.lanes not in (None, 1):
        raise UserError(f"--lanes {command.lanes}: the stock graph runs one sample at a time; "
                        "use --graph fused")
    if command.backend == "sim" and command.graph == "fused" and (
            command.convolutions is not None):
        raise UserError(f"--convolutions {command.convolutions}: is for the stock graph; add "
                        "--graph stock")
    check_options(command.chip, command.backend, command.mode)
    if command.out is not None:
        check_folder(command.out)
    if _is_other_netx(command.net, command.netx.input is not None):
        return run_netx(command, arguments)
    for name, value in vars(command.netx).items():
        if value != getattr(NetxCommand(), name):
            raise UserError(f"--{name.replace('_', '-')}: is for other NetX files than the "
                            "model.net of this project")
    if command.graph == "reference":
        raise UserError("--graph reference: is for other NetX files than the model.net of this "
                        "project")
    command = replace(command, samples=command.samples or 8)
    on_chip = command.backend == "loihi2"
    if command.graph == "stock" and not on_chip:
        command = replace(command, convolutions=command.convolutions or "unrolled")
    if on_chip and command.lanes not in (None, 1):
        raise UserError(f"--lanes {command.lanes}: a chip runs one sample at a time")
    if on_chip and not command.chip.dry_run:
        from lava_models.loihi.board import require_extension

        require_extension()
    from lava_models.cost.estimates import load_hardware
    from lava_models.net.hdf5 import read_net
    from lava_models.net.netfile import origin_of

    hardware = load_hardware(command.hw, command.constants, command.convolutions)
    net = read_net(command.net)
    out = command.out or beside / command.mode
    report = out / "report" / "report.json"
    if report.exists() and not command.force and not command.chip.dry_run:
        raise UserError(f"{out}: already holds results; replace them with --force or choose "
                        "another --out")
    dataset = None
    if command.mode == "reconstruct":
        dataset = command.dataset or origin_of(net, "dataset")
        if dataset is None:
            raise UserError("--mode reconstruct: the file does not say what it was trained on; "
                            "name a data set with --dataset")
    run = run_loihi if on_chip else run_sim
    with nullcontext() if command.chip.dry_run else holding(out):
        return run(command, arguments, net, out, dataset, hardware)


def _named(command: Command) -> tuple[Command, Path]:
    """The command with the path of its network, and the folder in which results go by default."""
    name = BEST if command.net is None else str(command.net)
    if name in NETWORKS and not Path(name).is_file():
        return replace(command, net=NETWORKS[name]), Path("runs") / f"pretrained-{name}"
    return command, command.net.parent


def _is_other_netx(path: Path, has_input: bool) -> bool:
    """Whether a file is a NetX file and no model.net of this project; what --input comes with is
    none of ours, even where it cannot be read."""
    from lava_models.cost.networks import is_model_net
    from lava_models.net.netx import is_netx

    return (has_input or is_netx(path)) and not (path.is_file() and is_model_net(path))
