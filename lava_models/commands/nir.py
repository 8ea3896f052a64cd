"""import-nir, export-nir: networks to and from the Neuromorphic Intermediate Representation.

    import-nir network.nir            # -> network.net, for run-lava, energy-report and stock NetX
    export-nir network.net            # -> network.nir; of a model.net, its encoder
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from hw_configs.files import UserError, check_replaceable, run_command


def import_main() -> None:
    """Console script import-nir."""
    sys.exit(run_command(lambda: import_command(sys.argv[1:])))


def export_main() -> None:
    """Console script export-nir."""
    sys.exit(run_command(lambda: export_command(sys.argv[1:])))


@dataclass(frozen=True)
class ImportCommand:
    """Make a NetX file of a NIR graph: a chain of linear nodes and neurons, in 8-bit integers."""

    graph: tyro.conf.Positional[Path]
    """The NIR file."""
    out: Path | None = None
    """The NetX file (default: beside the graph)."""
    timestep: float = 1e-4
    """Length of a timestep in the unit of the graph's time constants."""


@dataclass(frozen=True)
class ExportCommand:
    """Make a NIR graph of a NetX file, or of the encoder of a model.net."""

    net: tyro.conf.Positional[Path]
    """The NetX file."""
    out: Path | None = None
    """The NIR file (default: beside the network)."""
    timestep: float = 1e-4
    """Length of a timestep in the unit that time constants are written in."""
    num_layers: int | None = None
    """Entries of /layer to write (default: all)."""
    skip_layers: int = 0
    """Entries of /layer to leave out at the start."""


def _check_timestep(timestep: float) -> None:
    if not (math.isfinite(timestep) and timestep > 0):
        raise UserError(f"--timestep {timestep}: expected more than 0")


def import_command(arguments: list[str]) -> int:
    """Run import-nir.

    Raises:
        UserError: whatever is wrong with the graph, in one line.
    """
    from lava_models.net.netx import read_netx
    from lava_models.net.netx_write import write_netx
    from lava_models.net.nir_import import read_nir

    command = tyro.cli(ImportCommand, args=arguments, prog="import-nir")
    _check_timestep(command.timestep)
    out = command.out or command.graph.with_suffix(".net")
    check_replaceable(out)
    entries, rounded = read_nir(command.graph, command.timestep)
    write_netx(entries, out)
    net = read_netx(out)
    for layer, row in zip(net.layers, rounded, strict=True):
        kept = "as they are" if row.scale == 1 and not row.error else (
            f"times {row.scale:.4g}, rounded by at most {row.error:.2%} of the largest weight")
        print(f"{row.name}: {layer.type} {layer.shape}, {layer.neuron}; weights {kept}")
    print(f"{out}: {len(net.layers)} layers; decays and gains by forward Euler, a timestep of "
          f"{command.timestep:g}")
    return 0


def export_command(arguments: list[str]) -> int:
    """Run export-nir.

    Raises:
        UserError: what NIR cannot say, by layer and field.
    """
    from lava_models.cost.networks import is_model_net
    from lava_models.net.netx import NetxOptions, read_netx
    from lava_models.net.nir_export import LEFT_OUT, write_nir

    command = tyro.cli(ExportCommand, args=arguments, prog="export-nir")
    _check_timestep(command.timestep)
    out = command.out or command.net.with_suffix(".nir")
    check_replaceable(out)
    net = read_netx(command.net, NetxOptions(command.num_layers, command.skip_layers))
    left_out = LEFT_OUT if is_model_net(command.net) else ()
    write_nir(net, out, command.timestep, left_out)
    print(f"{out}: {len(net.layers)} layers")
    for line in left_out:
        print(f"left out, and named in the graph's metadata: {line}")
    return 0
