"""energy-report: read what a run cost, ask what a network would, compare two, check a record.

    energy-report runs/digits-0/generate
    energy-report runs/digits-0 --hw kapohopoint      # another board: modelled anew
    energy-report RUN --compare OTHER --fail-over 5%
    energy-report --fit net.toml --hw oheogulch       # cores, before anything is trained
    energy-report check RUN                           # everything recomputed from the raw files
    energy-report validate                            # the model against published measurements
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from hw_configs.files import UserError, run_command
from hw_configs.reading import sha256_of
from lava_models.net.pretrained import PRETRAINED
from lava_models.report.file_names import file_of

if TYPE_CHECKING:
    from lava_models.cost.estimates import Cost


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: energy_report_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Print the report of a run of run-lava and write it as Markdown and HTML beside the JSON.

    `energy-report check RUN` recomputes a record from its network, counts and images;
    `energy-report validate` prints the model beside published measurements.
    """

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A folder of run-lava, the run folder above it, or a report.json."""
    hw: str | None = None
    """Model cores, energy and time for this board: a name or a TOML file (default: the report's;
    with --fit the smallest Loihi 2 board that holds the network)."""
    constants: str | None = None
    """Energy constants of the headline: a name or a TOML file (default: the report's)."""
    convolutions: Literal["shared", "unrolled"] | None = None
    """Form of the convolutions (default: the report's, with --hw the one that takes fewer cores,
    with --fit chosen layer by layer)."""
    compare: Path | None = None
    """Another run: print the differences of every number and verdict."""
    fail_over: str | None = None
    """With --compare: exit code 1 when a number differs by more than this, e.g. 5%, or a verdict
    (equal, fits) differs at all."""
    different: bool = False
    """With --compare: the runs may be of another network, mode or board."""
    fit: Path | None = None
    """Instead of a run: a network description (TOML, JSON), a model.net, or any NetX file."""
    mode: Literal["generate", "reconstruct"] = "reconstruct"
    """With --fit and a model.net: which of its two graphs."""
    rate: float | None = None
    """With --fit: cost at this assumed firing rate, spikes per neuron and timestep (the rates of a
    report are per tick, which is D timesteps)."""
    timesteps: int | None = None
    """With --fit and --rate: timesteps per sample (default: what a model.net says; others 64)."""
    compiler: str | None = None
    """With --fit: whose core limits apply, by the date of a compiler that the chip's file knows,
    e.g. 2023-01 (default: what a description says, else the newest)."""
    num_layers: int | None = None
    """With --fit and a NetX file: entries of /layer to read (default: all)."""
    input_shape: tuple[int, int, int] | None = None
    """With --fit and a NetX file without an input layer: X Y CHANNELS of what comes in."""
    minimise: Literal["cores", "time", "energy"] | None = None
    """With --fit: choose each convolution's form for the fewest cores (default), or, with --rate,
    for the least time or energy of a sample."""
    describe: Path | None = None
    """With --fit: also write the network's description to this TOML file."""


NETX = "netx"
"""The mode of a record of any NetX file but a model.net."""


@dataclass(frozen=True)
class CheckCommand:
    """Recompute every number of a record from the network, counts and images beside it.

    Exit code 1 where something differs or is not there, or the record's own verdict is no.
    """

    run: tyro.conf.Positional[Path]
    """A folder of run-lava, the run folder above it, or a report.json."""
    data_dir: Path = Path("data")
    """Folder of the data set that was reconstructed."""
    hw: str | None = None
    """The TOML file of the record's board, where it is none of those that come along."""
    constants: str | None = None
    """The TOML file of the record's constants, likewise."""


def find_reports(run: Path) -> list[Path]:
    """The report.json files of a run.

    Raises:
        UserError: there is none.
    """
    if run.is_file():
        return [run]
    found = [p for p in (run / "report" / "report.json", run / "report.json") if p.is_file()]
    found = found or sorted(run.glob("*/report/report.json"))
    if not found:
        raise UserError(f"{run}: no report.json there; run-lava writes one")
    return found


def energy_report_command(arguments: list[str]) -> int:
    """Run the command; 1 where numbers differ by more than --fail-over, a verdict differs, a check
    fails or a network does not fit.

    Raises:
        UserError: no report, a damaged one, a wrong description or board.
    """
    if arguments[:1] == ["validate"] and len(arguments) == 1:
        from lava_models.cost.validation import page

        print(page(), end="")
        return 0
    if arguments[:1] == ["check"]:
        if len(arguments) < 2:
            raise UserError("check: expected one run or report.json after it")
        return _check(tyro.cli(CheckCommand, args=arguments[1:], prog="energy-report check"))
    command = tyro.cli(Command, args=arguments, prog="energy-report")
    if (command.run is None) == (command.fit is None):
        raise UserError("expected a run of run-lava, or --fit and a network; energy-report --help "
                        "says more")
    if command.fail_over is not None and command.compare is None:
        raise UserError(f"--fail-over {command.fail_over}: goes with --compare")
    if command.different and command.compare is None:
        raise UserError("--different: goes with --compare")
    if command.fit is not None:
        if command.compare is not None:
            raise UserError("--compare: compares two runs; it does not go with --fit")
        from lava_models.commands.fit_network import fit_network

        return fit_network(command)
    if any(x is not None for x in (command.rate, command.describe, command.timesteps,
                                   command.minimise)):
        raise UserError("--rate, --timesteps, --minimise and --describe go with --fit; a run has "
                        "spikes of its own")
    if any(x is not None for x in (command.compiler, command.num_layers, command.input_shape)):
        raise UserError("--compiler, --num-layers and --input-shape go with --fit")
    if command.compare is not None:
        return _compare(command)
    return _show(command)


# --- one run ----------------------------------------------------------------------------------


def _show(command: Command) -> int:
    from lava_models.commands.console import make_console
    from lava_models.cost.tables import write_tables
    from lava_models.report.record import read_report, write_report
    from lava_models.report.render import to_terminal

    console = make_console()
    for path in find_reports(command.run):
        record = read_report(path)
        if command.hw or command.constants or command.convolutions:
            record, cost = _modelled_anew(record, path, command)
            folder = path.parent / f"for-{_slug(record['fit']['board'])}"
            write_tables(cost, folder)
        else:
            folder = path.parent
        console.print(f"{path}")
        console.print(to_terminal(record))
        written = write_report(record, folder, _run_folder(path))
        console.print(f"page: {written.with_suffix('.html')}   Markdown: "
                      f"{written.with_suffix('.md')}\n")
    return 0


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def _modelled_anew(record: dict, path: Path, command: Command) -> tuple[dict, Cost]:
    """The record for another board, set of constants or form, and its cost."""
    from lava_models.cost.counts import load_counts
    from lava_models.cost.estimates import cost_of_run, load_hardware
    from lava_models.net.hdf5 import read_net
    from lava_models.report.record import with_cost

    net, counts = _inputs(record, path)
    for file, key in ((net, "net_sha256"), (counts, "counts_sha256")):
        _need_hash(file, record["inputs"][key], path)
    board, form = command.hw, command.convolutions
    if board is None:  # what is not asked for stays as it was
        form = form or record["fit"]["convolutions"]
    hardware = load_hardware(board or _shipped_board(record, path), command.constants or
                             _shipped_constants(record, path), form)
    if record["work"]["mode"] == NETX:
        from lava_models.report.netx_recheck import cost_of_netx_record

        cost = cost_of_netx_record(record, net, counts, hardware)
        return with_cost(record, cost), cost
    spikes, pixels = load_counts(counts)
    work = record["work"]
    cost = cost_of_run(read_net(net), work["mode"], work["samples"], spikes, pixels, hardware,
                       net.name)
    return with_cost(record, cost), cost


def _shipped_board(record: dict, path: Path) -> str:
    """The shipped board a record was modelled for."""
    from hw_configs import load_board, names

    wanted = record["fit"]["board"]
    for name in names("boards"):
        if load_board(name).name == wanted:
            return name
    raise UserError(f"{path}: was modelled for {wanted!r}, which is no board that comes along; "
                    "name its file with --hw")


def _shipped_constants(record: dict, path: Path) -> str:
    """The shipped constants of a record's headline."""
    from hw_configs import load_constants, names

    wanted = record["energy"]["constants"]
    for name in names("energy"):
        if load_constants(name).name == wanted:
            return name
    raise UserError(f"{path}: was modelled by {wanted!r}, no constants that come along; name their "
                    "file with --constants")


def _run_folder(path: Path) -> Path:
    """The folder of counts and images, above the report's; reports for other boards lie deeper."""
    return path.absolute().parents[2 if path.parent.name.startswith("for-") else 1]


def _inputs(record: dict, path: Path) -> tuple[Path, Path]:
    """model.net and the counts of a record; model.net also where the run folder was moved to."""
    folder = _run_folder(path)
    net = Path(record["inputs"]["net"])
    places = [net, folder.parent / net.name, PRETRAINED.parent / net.name]
    return (next((p for p in places if p.is_file()), net),
            file_of(folder, record["inputs"]["counts"]))


def _need_hash(file: Path, wanted: str, path: Path) -> None:
    if not file.is_file():
        raise UserError(f"{path}: {file}, which it was made from, is not there")
    if sha256_of(file) != wanted:
        raise UserError(f"{path}: {file} is not the file it was made from (SHA-256 differs); run "
                        "run-lava again")


def _check(command: CheckCommand) -> int:
    """Recompute every report of a run; 1 where one is not what its files give."""
    return 0 if all([_check_one(command, path) for path in find_reports(command.run)]) else 1


def _check_one(command: CheckCommand, path: Path) -> bool:
    """Print what was recomputed of one report; whether it all is as recorded, and its verdict yes.
    """
    from lava_models.commands.test_images import load_images
    from lava_models.cost.estimates import load_hardware
    from lava_models.report.netx_recheck import recheck_netx
    from lava_models.report.recheck import DIFFERS, OPEN, Files, recheck
    from lava_models.report.record import read_report

    record = read_report(path)
    net, counts = _inputs(record, path)

    def hardware():
        return load_hardware(command.hw or _shipped_board(record, path),
                             command.constants or _shipped_constants(record, path),
                             record["fit"]["convolutions"])

    def load(count: int, shape: tuple[int, int, int]):
        return load_images(record["inputs"]["dataset"], command.data_dir, count, shape)

    print(path)
    outcomes, files = [], Files(counts.parent, path.parent, net)
    findings = recheck_netx(record, files, hardware) if record["work"]["mode"] == NETX else (
        recheck(record, files, hardware, load))
    for found in findings:
        print(f"  {found.outcome:<13}  {found.item}: {found.text}")
        outcomes.append(found.outcome)
    wrong, left = outcomes.count(DIFFERS), outcomes.count(OPEN)
    print(f"{path}: " + (f"WRONG: {wrong} of {len(outcomes)} items" if wrong else
                         f"right: {len(outcomes) - left} items, {left} not rechecked"))
    return not wrong


# --- two runs ---------------------------------------------------------------------------------


def _compare(command: Command) -> int:
    from rich.table import Table
    from rich.text import Text

    from lava_models.commands.console import make_console
    from lava_models.report.differences import differences, parse_percent, unlike
    from lava_models.report.record import read_report

    limit = None if command.fail_over is None else parse_percent(command.fail_over)
    console, worst = make_console(), 0.0
    sides = [find_reports(run) for run in (command.run, command.compare)]
    if len(sides[0]) != len(sides[1]):
        raise UserError(f"{command.run} holds {len(sides[0])} reports, {command.compare} "
                        f"{len(sides[1])}; name one mode's folder each")
    turned = []
    for paths in zip(*sides):
        records = [read_report(path) for path in paths]
        names = f"{paths[0]} | {paths[1]}"
        other = unlike(*records)
        if other and not command.different:
            raise UserError(f"{names}: not two runs of the same ({'; '.join(other)}); compare them "
                            "nevertheless with --different")
        rows = differences(*records)
        head = "\n".join([names, *(f"different {o}" for o in other)])
        table = Table(title=Text(head), title_justify="left")
        for name in ("number", "first", "second", "difference"):
            table.add_column(name, justify="left" if name == "number" else "right")
        for row in rows:
            table.add_row(*map(Text, (row.name, row.first, row.second, row.shown)))
        console.print(table if rows else f"{head}: no number and no verdict differs")
        worst = max([worst, *(row.ratio for row in rows if not row.verdict)])
        turned += [row for row in rows if row.verdict]
    if limit is None:
        return 0
    for row in turned:
        console.print(f"{row.name}: {row.first} | {row.second}; no percentage lets that pass")
    if worst > limit:
        console.print(f"differs by up to {worst:.1%}, more than {limit:.1%}")
    return 1 if turned or worst > limit else 0


# --- a network before any run -----------------------------------------------------------------


