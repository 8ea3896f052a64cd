"""The record of a NetX file's run made anew from the files it speaks of (see recheck)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hw_configs.files import UserError
from hw_configs.reading import map_array
from lava_models.cost.baselines import netx_baselines
from lava_models.cost.counts import count_program, load_counts
from lava_models.cost.estimates import Cost, Hardware
from lava_models.graph.netx_run import run_samples
from lava_models.net.netx import NetxFile, NetxOptions, read_netx
from lava_models.net.netx_input import read_input
from lava_models.net.netx_program import build_netx_program
from lava_models.net.program import Program
from lava_models.report.file_names import file_of
from lava_models.report.netx_results import cost_of_netx, netx_quality, readout_of
from lava_models.report.recheck import (
    DIFFERS,
    HOST_CPU,
    ONCE,
    OPEN,
    RERUN,
    SAME,
    Files,
    Finding,
    compared,
    file_findings,
    hash_finding,
)
from lava_models.report.record import counted_sections, with_cost, work_section
from lava_models.report.results import OUTPUTS, READOUT


def netx_of(record: dict, net_path: Path) -> tuple[NetxFile, Program]:
    """The network and program that a record of a NetX file speaks of.

    Raises:
        UserError: the file is not there, or does not suit the options.
    """
    given = dict(record["inputs"]["netx"]["options"])
    if given.get("input_shape") is not None:
        given["input_shape"] = tuple(given["input_shape"])
    try:
        net = read_netx(net_path, NetxOptions(**given))
    except TypeError as error:
        raise UserError(f"inputs.netx.options: {error}") from None
    waves = record["inputs"]["netx"]["samples"] is not None
    return net, build_netx_program(net, record["work"]["timesteps_per_sample"], waves)


def cost_of_netx_record(record: dict, net_path: Path, counts: Path, hardware: Hardware) -> Cost:
    """The cost of a recorded run, from its counts."""
    net, program = netx_of(record, net_path)
    spikes, _ = load_counts(counts)
    return cost_of_netx(net, program, record["work"]["samples"], spikes, hardware)


def recheck_netx(record: dict, files: Files, hardware: Callable[[], Hardware]) -> Iterator[Finding]:
    """Every item of a valid record of a NetX file's run."""
    known, counted, *more = file_findings(record, files)
    yield from (known, counted, *more)
    given = record["inputs"]["netx"]
    there = hash_finding("input", Path(given["input"]), given["input_sha256"])
    yield there
    if known.outcome != SAME:
        yield Finding("numbers", DIFFERS, "cannot be recomputed without the network")
        return
    net, program = netx_of(record, files.net)
    work = record["work"]
    yield compared("work", "work", work, work_section(
        work["mode"], work["samples"], 0, program.schedule, program.readout.phase,
        work["timesteps_run"]), "from the network's schedule", exact=True)
    if counted.outcome == SAME:
        yield from _from_counts(record, files, program, hardware)
    yield _baselines(record, net)
    if there.outcome == SAME:
        yield from _rerun(record, files, net, program)
    else:
        yield Finding("messages", OPEN, "the reference needs the input")
    yield Finding("circumstances", OPEN, ONCE)


def _from_counts(record: dict, files: Files, program: Program,
                 hardware: Callable[[], Hardware]) -> Iterator[Finding]:
    counts = file_of(files.folder, record["inputs"]["counts"])
    samples = record["work"]["samples"]
    spikes, _ = load_counts(counts)
    sections = counted_sections(count_program(program, samples, spikes, None), samples)
    for key, made in sections.items():
        yield compared(key, key, record[key], made, "counted again", exact=True)
    try:
        again = with_cost(record, cost_of_netx_record(record, files.net, counts, hardware()))
    except UserError as error:
        yield Finding("cores, energy, time", DIFFERS, str(error))
        return
    for item, key in (("cores", "fit"), ("energy", "energy"), ("time", "time")):
        yield compared(item, key, record[key], again[key], "estimated again for "
                       f"{record['fit']['board']} by {record['energy']['constants']}")


def _baselines(record: dict, net: NetxFile) -> Finding:
    """But for the joules of the machine, which were measured."""
    mine = record["baselines"]
    cpu = next((b["energy_per_sample_j"] for b in mine if b["name"] == HOST_CPU), None)
    if cpu is None:
        return Finding("beside it", DIFFERS, f"baselines: no row '{HOST_CPU}'")
    made = [b | {"energy_per_sample_j": cpu} if b["name"] == HOST_CPU else b
            for b in netx_baselines(net, record["work"]["timesteps_per_sample"],
                                    record["work"]["samples"], cpu)]
    return compared("beside it", "baselines", mine, made, "the network's arithmetic again")


def _rerun(record: dict, files: Files, net: NetxFile, program: Program) -> Iterator[Finding]:
    """The reference again, of as many samples as are soon run."""
    given, samples = record["inputs"]["netx"], record["work"]["samples"]
    count = min(RERUN, samples)
    inputs = read_input(Path(given["input"]), net, None if given["samples"] is None else count,
                        program.schedule.period, given["pixels"])
    run = run_samples(net, program, inputs, graph="reference", lanes=1)
    for name, made in ((OUTPUTS, run.messages), (READOUT, readout_of(net, run)[0])):
        try:
            stored = map_array(file_of(files.folder, name))
        except UserError as error:
            yield Finding(name, DIFFERS, str(error))
            continue
        same = len(stored) == samples and np.array_equal(stored[:count], made)
        yield Finding(name, SAME if same else DIFFERS, f"the reference again, {count} of {samples} "
                      "samples" if same else "is not what the reference gives")
    if count == samples:
        spikes, _ = load_counts(file_of(files.folder, record["inputs"]["counts"]))
        wrong = [name for name, made in run.counts.items()
                 if not np.array_equal(spikes.get(name), made)]
        yield Finding("messages", DIFFERS if wrong else SAME, "the reference has other counts in "
                      f"{wrong[0]}" if wrong else f"the reference again, all {count} samples")
    try:
        messages, readout = (map_array(file_of(files.folder, name)) for name in (OUTPUTS, READOUT))
    except UserError as error:
        yield Finding("output", DIFFERS, str(error))
        return
    yield compared("output", "quality", record["quality"], netx_quality(messages, readout),
                   f"from {OUTPUTS} and {READOUT}")
