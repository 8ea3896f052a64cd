"""energy-report: read what a run cost.

    energy-report runs/digits-0/generate
    energy-report runs/digits-0          # every mode that ran
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lava_models.files import UserError, run_command


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: energy_report_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Print the report of a run of run-lava, and write it as Markdown beside the JSON."""

    run: Path
    """A folder of run-lava, the run folder above it, or a report.json."""


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
    """Run the command.

    Raises:
        UserError: no report, or a damaged one.
    """
    import tyro

    command = tyro.cli(Command, args=arguments, prog="energy-report",
                       config=(tyro.conf.PositionalRequiredArgs,))

    from lava_models.console import make_console
    from lava_models.report import read_report, to_terminal, write_report

    console = make_console()
    for path in find_reports(command.run):
        record = read_report(path)
        console.print(f"{path}")
        console.print(to_terminal(record))
        write_report(record, path.parent)
        console.print(f"Markdown: {path.with_suffix('.md')}\n")
    return 0
