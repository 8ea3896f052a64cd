"""A record made anew from the files it speaks of, and held against what it says.

Counts come from counts.npz and the network, cores, energy and time from the counts and the board,
images and the generator's spikes from the integer reference and the seed, pages from the record.
Nothing is taken from the record but what was run: mode, samples, seed, board, constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs.files import UserError
from hw_configs.reading import PAGE, map_array, read_bytes, sha256_of
from lava_models.cost.baselines import baseline_section
from lava_models.cost.counts import count_run, load_counts, pixels_used
from lava_models.cost.estimates import Hardware, cost_of_run
from lava_models.graph.compare import Comparison, sent_by
from lava_models.net.hdf5 import read_net
from lava_models.net.netfile import NetFile
from lava_models.net.program import RING_COUNTED_FROM, Program, build_program
from lava_models.net.ring import POPULATIONS
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, decode_images, encode_images
from lava_models.report.file_names import file_of
from lava_models.report.record import counted_sections, with_cost, work_section
from lava_models.report.render import to_html, to_markdown
from lava_models.report.results import IMAGES, pixels_sha256, quality

SAME, DIFFERS, OPEN = "same", "DIFFERS", "not rechecked"
RERUN = 64
"""Samples that the reference runs again: all of a short run, the first ones of a long one."""
SAME_NUMBER = 1e-9
"""Relative; another machine adds up in another order."""
SAME_PIXEL = 1e-6
"""Another machine's tanh; the file itself is held to its hash."""
SAME_MEAN = 1e-5
"""Relative, of a mean of float32."""
HOST_CPU = "this simulator, CPU"
ONCE = ("when and by which command, commit and versions it was made; wall time and joules of the "
        "machine it ran on")


@dataclass(frozen=True)
class Finding:
    """What became of one item of a record."""

    item: str
    outcome: str
    """SAME, DIFFERS (also where what it needs is not there) or OPEN."""
    text: str


@dataclass(frozen=True)
class Files:
    """Where a record's run lies."""

    folder: Path
    """Holds counts, images and pictures."""
    report: Path
    """Holds report.json, .md and .html."""
    net: Path


@dataclass(frozen=True)
class _Run:
    """What the items share."""

    record: dict
    files: Files
    net: NetFile
    images: np.ndarray | None
    """Test images float32 (S, C, H, W), where the run had some and they are here."""
    held: bool
    """The same image for all samples: a chip's, which is not sent again."""

    @property
    def mode(self) -> str:
        return self.record["work"]["mode"]

    @property
    def samples(self) -> int:
        return self.record["work"]["samples"]

    @property
    def program(self) -> Program:
        return build_program(self.net, self.mode)

    @property
    def bits(self) -> ChipBits:
        return ChipBits.of(self.net, self.mode, self.record["run"]["seed"])


def recheck(record: dict, files: Files, hardware: Callable[[], Hardware],
            load: Callable[[int, tuple[int, ...]], np.ndarray]) -> Iterator[Finding]:
    """Every item of a valid record.

    Args:
        hardware: the board, constants and form that the record names; raises a UserError where
            they are not known here.
        load: the first n images of a shape (C, H, W) of the record's data set; raises a UserError
            where it is not here.
    """
    known, counted, *others = file_findings(record, files)
    yield from (known, counted, *others)
    counts = file_of(files.folder, record["inputs"]["counts"])
    if known.outcome != SAME:
        yield Finding("numbers", DIFFERS, "cannot be recomputed without the network")
        return
    net = read_net(files.net)
    decoded, found = _decoded(record, files.folder, net)
    yield found
    if decoded is None:  # a made-up number of samples would have the rest run for ever
        yield Finding("numbers", DIFFERS, f"are not recomputed without {IMAGES}")
        return
    images, held, found = _test_images(record, lambda count: load(count, net.image_shape))
    run = _Run(record, files, net, images, held)
    if run.mode == "reconstruct":
        yield found
    yield _work(run)
    if record["target"]["backend"] == "sim":
        yield _compared_again(run)
    if counted.outcome == SAME:
        yield from _from_counts(run, counts, hardware)
    else:
        yield Finding("counts and costs", DIFFERS, f"cannot be recomputed without {counts.name}")
    yield _baselines(run)
    yield from _from_images(run, decoded, counted.outcome == SAME)
    if record["measured"]:
        yield Finding("measurements", OPEN, "a chip's power and time are measured once")
    yield Finding("circumstances", OPEN, ONCE)


def file_findings(record: dict, files: Files) -> Iterator[Finding]:
    """What any record says of its files and pages: network and counts first, then its verdict."""
    inputs = record["inputs"]
    counts = file_of(files.folder, inputs["counts"])
    yield hash_finding("network", files.net, inputs["net_sha256"])
    yield hash_finding(counts.name, counts, inputs["counts_sha256"])
    yield _verdict(record["check"], record["work"]["samples"])
    for name, wanted in record["outputs"].items():
        yield hash_finding(name, file_of(files.folder, name), wanted)
    for name, text in (("report.md", to_markdown(record)),
                       ("report.html", to_html(record, files.folder))):
        yield _page(files.report / name, text)


def _verdict(check: dict, samples: int) -> Finding:
    if check["equal"] is None:
        return Finding("verdict", DIFFERS, f"Lava and the reference: {check['verdict']}")
    if not check["equal"] or "NOT equal" in check["verdict"]:
        return Finding("verdict", DIFFERS, f"the record itself says no: {check['verdict']}")
    if not 1 <= check["samples_compared"] <= samples:
        return Finding("verdict", DIFFERS, f"{check['samples_compared']} samples compared of "
                                           f"{samples}")
    apart = [p["name"] for p in check["populations"] if p["differing"]]
    if apart or not check["populations"]:
        return Finding("verdict", DIFFERS, "equal, but its populations say: "
                       + (f"{', '.join(apart)} differ" if apart else "nothing was compared"))
    return Finding("verdict", SAME, f"the record says yes: {check['verdict']}")


def _compared_again(run: _Run) -> Finding:
    """The verdict that follows from the populations: none where a part was idle."""
    check, program, item = run.record["check"], run.program, "verdict's counts"
    try:
        verdict = Comparison.of_section(check, program, run.record["target"]["lanes"])
    except ValueError as error:
        return Finding(item, DIFFERS, f"check.populations: {error}")
    made = {"equal": verdict.equal, "verdict": verdict.verdict(program),
            "samples_compared": verdict.samples(program), **verdict.section()}
    return compared(item, "check", check, made, "the verdict again, from every population's",
                    exact=True)


def hash_finding(item: str, file: Path, wanted: str) -> Finding:
    """Whether a file is the one that a record was made with."""
    if not file.is_file():
        return Finding(item, DIFFERS, f"{file} is not there")
    if sha256_of(file) != wanted:
        return Finding(item, DIFFERS, f"{file} is not the file of this run (SHA-256 differs)")
    return Finding(item, SAME, "SHA-256")


def _page(file: Path, text: str) -> Finding:
    if not file.is_file():
        return Finding(file.name, DIFFERS, f"{file} is not there; energy-report RUN writes it")
    if read_bytes(file, PAGE) != text.encode():
        return Finding(file.name, DIFFERS, "is not what this release makes of the record; "
                                           "energy-report RUN writes it again")
    return Finding(file.name, SAME, "rendered again from the record")


def _test_images(record: dict, load: Callable[[int], np.ndarray]
                 ) -> tuple[np.ndarray | None, bool, Finding]:
    """(the run's test images or None, whether one was held, what is to be said of it)."""
    wanted, samples = record["inputs"]["images_sha256"], record["work"]["samples"]
    if wanted is None or record["inputs"]["dataset"] is None:
        return None, False, Finding("test images", DIFFERS, "the record has no data set or no hash "
                                    "of them")
    # A chip can hold its first image for all samples.
    ways = (False, True) if record["target"]["backend"] == "loihi2" else (False,)
    problem, loaded = "", False
    for held in ways:
        try:
            images = load(1 if held else samples)
        except UserError as error:
            problem = problem or str(error)
            continue
        loaded = True
        images = np.repeat(images, samples, axis=0) if held else images
        if pixels_sha256(images) == wanted:
            return images, held, Finding("test images", SAME, "SHA-256 of their pixels")
    if not loaded:
        return None, False, Finding("test images", OPEN, problem)
    return None, False, Finding("test images", DIFFERS, "those here are not the run's (SHA-256 "
                                "differs); name their folder with --data-dir")


def _work(run: _Run) -> Finding:
    work, target = run.record["work"], run.record["target"]
    schedule, readout = run.program.schedule, run.program.readout.phase
    steps = work["timesteps_run"]  # of a chip: with what its adapters take
    if target["backend"] == "sim":
        steps = schedule.run_length(readout, math.ceil(run.samples / target["lanes"]))
    made = work_section(run.mode, run.samples, work["first_sample"], schedule, readout, steps)
    return compared("timesteps", "work", work, made, "the network's schedule")


def _from_counts(run: _Run, file: Path, hardware: Callable[[], Hardware]) -> Iterator[Finding]:
    record, name = run.record, file.name
    try:
        spikes, pixels = load_counts(file)
        made = counted_sections(count_run(run.net, run.mode, run.samples, spikes, pixels),
                                run.samples)
        most = max(int(n.max(initial=0)) for n in spikes.values())
    except (UserError, KeyError, ValueError, IndexError, TypeError) as error:
        yield Finding("counts", DIFFERS, f"{name} is not of this network and mode ({error})")
        return
    yield compared("counts", "", {key: record[key] for key in made}, made,
                    f"counted again from {name} and the network", exact=True)
    if most > run.samples:
        yield Finding("samples", DIFFERS, f"a neuron of {name} spikes {most} times at one timestep "
                                          f"of {run.samples} samples")
    yield _generator(run, spikes)
    if run.images is not None:
        sent = pixels_used(encode_images(run.net, run.images))
        sent = np.zeros_like(sent) if run.held else sent
        same = pixels is not None and np.array_equal(pixels, sent)
        yield Finding("input spikes", SAME if same else DIFFERS, "counted again from the test "
                      "images" if same else f"those of {name} are not of the test images")
    try:
        cost = cost_of_run(run.net, run.mode, run.samples, spikes, pixels, hardware(),
                           run.files.net.name)
    except UserError as error:
        yield Finding("cores, energy, time", DIFFERS, str(error))
        return
    again = with_cost(record, cost)
    for item, key in (("cores", "fit"), ("energy", "energy"), ("time", "time")):
        yield compared(item, key, record[key], again[key],
                        f"estimated again for {record['fit']['board']} by "
                        f"{record['energy']['constants']}")


def _generator(run: _Run, spikes: Mapping[str, np.ndarray]) -> Finding:
    """The spikes of the random bits follow from seed and samples alone."""
    first, period = run.record["work"]["first_sample"], run.bits.schedule.period
    bits, since = run.bits, RING_COUNTED_FROM - 1
    made = {name: 0 for name in POPULATIONS}
    for start in range(0, run.samples, RERUN):
        count = min(RERUN, run.samples - start)
        for name, raster in bits.rasters(first + start, since + count * period):
            made[name] = made[name] + raster[since:].reshape(count, period, -1).sum(axis=0)
    wrong = [name for name in POPULATIONS if not np.array_equal(spikes[name], made[name])]
    said = f"seed {run.record['run']['seed']}, {run.samples} samples"
    if wrong:
        return Finding("seed and samples", DIFFERS, f"{said}: {wrong[0]} would have other spikes")
    return Finding("seed and samples", SAME, f"{said}: every spike of the random bits again")


def _baselines(run: _Run) -> Finding:
    """But for the joules of the machine, which were measured."""
    mine = run.record["baselines"]
    cpu = next((b["energy_per_sample_j"] for b in mine if b["name"] == HOST_CPU), None)
    if cpu is None:
        return Finding("beside it", DIFFERS, f"baselines: no row '{HOST_CPU}'")
    made = baseline_section(run.net, run.mode, run.samples, cpu, run.files.net)
    made = [b | {"energy_per_sample_j": cpu} if b["name"] == HOST_CPU else b for b in made]
    return compared("beside it", "baselines", mine, made, "the network's arithmetic again")


def _decoded(record: dict, folder: Path, net: NetFile) -> tuple[np.ndarray | None, Finding]:
    """(the run's images or None, what is to be said of their number)."""
    wanted = (record["work"]["samples"], *net.image_shape)
    if IMAGES not in record["outputs"]:
        return None, Finding("number of images", DIFFERS, f"outputs: {IMAGES} is not among them")
    try:
        decoded = map_array(file_of(folder, IMAGES))
    except UserError as error:
        return None, Finding("number of images", DIFFERS, str(error))
    if decoded.shape != wanted or decoded.dtype != np.float32:
        return None, Finding("number of images", DIFFERS, f"{IMAGES} holds {decoded.dtype} "
                             f"{decoded.shape}, the record speaks of float32 {wanted}")
    return decoded, Finding("number of images", SAME, f"{wanted[0]} samples")


def _from_images(run: _Run, decoded: np.ndarray, counted: bool) -> Iterator[Finding]:
    if run.mode == "reconstruct" and run.images is None:
        yield Finding("images", OPEN, "the reference needs the test images")
        yield Finding("reconstruction error", OPEN, "needs the test images")
        return
    yield from _rerun(run, decoded, counted)
    yield compared("reconstruction error", "quality", run.record["quality"],
                    quality(run.images, decoded), f"from {IMAGES} and the test images"
                    if run.images is not None else "there is none", within=SAME_MEAN)


def _rerun(run: _Run, decoded: np.ndarray, counted: bool) -> Iterator[Finding]:
    """The reference again: images, and all spikes of a run that is short enough."""
    count = min(RERUN, run.samples)
    graded = None if run.images is None else encode_images(run.net, run.images[:count])
    result = Reference(run.net, run.mode).run_samples(
        run.bits, run.record["work"]["first_sample"], count, graded)
    apart = np.abs(decode_images(run.net, result.voltage) - decoded[:count])
    wrong = np.argwhere(~(apart <= SAME_PIXEL))
    if len(wrong):
        yield Finding("images", DIFFERS, f"{IMAGES}: sample {wrong[0][0]} is not what the reference"
                                         " gives for this network and seed")
    else:
        yield Finding("images", SAME, f"the reference again, {count} of {run.samples} samples")
    if counted and count == run.samples:
        name = _other_spikes(run, result.spikes)
        yield Finding("spikes", *((DIFFERS, f"the reference has other spikes in {name}") if name
                                  else (SAME, f"the reference again, all {count} samples")))
    else:
        yield Finding("spikes", OPEN, f"the reference runs again for at most {RERUN} samples; "
                                      "the random bits were, for all")


def _other_spikes(run: _Run, spikes: Mapping[str, np.ndarray]) -> str | None:
    """The first population whose stored counts are not those of the reference's spikes."""
    program, schedule = run.program, run.program.schedule
    stored, _ = load_counts(file_of(run.files.folder, run.record["inputs"]["counts"]))
    for population in (p for p in program.waves if p.spiking):
        made = np.zeros((schedule.period, population.size), np.int64)
        sent = sent_by(population, spikes[population.like])
        made[schedule.dilation * np.arange(schedule.ticks)] = sent.sum(axis=0)
        if not np.array_equal(stored.get(population.name), made):
            return population.name
    return None


def compared(item: str, path: str, mine, made, how: str, exact: bool = False,
              within: float = SAME_NUMBER) -> Finding:
    """Whether what a record says at `path` is what was made again, `how`."""
    where = first_difference(mine, made, path, 0.0 if exact else within)
    return Finding(item, DIFFERS, where) if where else Finding(item, SAME, how)


def first_difference(mine, made, path: str, within: float) -> str | None:
    """Where two JSON values differ first, in words, or None.

    Args:
        mine: what the record says.
        made: what it should say.
        path: of both.
        within: relative difference up to which numbers are the same.
    """
    if isinstance(mine, dict) and isinstance(made, dict):
        for key in dict.fromkeys((*made, *mine)):
            here = f"{path}.{key}".lstrip(".")
            if key not in mine or key not in made:
                return f"{here} is {'missing' if key in made else 'not expected'}"
            found = first_difference(mine[key], made[key], here, within)
            if found:
                return found
        return None
    if isinstance(mine, (list, tuple)) and isinstance(made, (list, tuple)):
        if len(mine) != len(made):
            return f"{path} has {len(mine)} entries, recomputed {len(made)}"
        found = (first_difference(a, b, f"{path}[{i}]", within)
                 for i, (a, b) in enumerate(zip(mine, made)))
        return next(filter(None, found), None)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (mine, made))
    if numbers and (mine == made or math.isclose(mine, made, rel_tol=within)):
        return None
    if not numbers and type(mine) is type(made) and mine == made:
        return None
    return f"{path} is {mine}, recomputed {made}"
