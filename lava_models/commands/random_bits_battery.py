"""random-bits-battery: are the chip's random bits random enough for the latents?

    random-bits-battery                                   # the generator of the paper-size model
    random-bits-battery --source neighbours               # rejected, as it should be
    random-bits-battery --net runs/digits-0/model.net     # and the latents of a trained model

Every test gives p-values under independent fair bits; the smallest of a test is multiplied by
their number (Bonferroni), and the tests are judged together by Holm's method. A source passes if
nothing is rejected at the stated level, so that a perfect one fails with that probability.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from hw_configs.files import UserError, run_command
from lava_models.net.latents import HostBits
from lava_models.net.netfile import NetFile
from lava_models.net.ring import Ring
from lava_models.net.schedule import Schedule
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference

LAGS = 64
"""Ticks up to which correlations are looked for."""
LEVEL = 0.001
"""Probability that perfect bits fail the battery."""
EVENTS = 25
"""Rarer events of the latents are not compared: the normal approximation needs some."""
JOINT_BITS = 3
"""Leading bits of R in the test of the joint distribution of three R."""


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: battery_command(sys.argv[1:])))


@dataclass(frozen=True)
class Outcome:
    """One test of a battery."""

    name: str
    count: int
    """How many p-values the test looked at."""
    p: float
    """Smallest of them times their number, at most 1."""


def outcome(name: str, p_values: np.ndarray) -> Outcome:
    """Bonferroni within one test."""
    p_values = np.asarray(p_values)
    return Outcome(name, p_values.size, float(min(1.0, p_values.min() * p_values.size)))


def rejected(outcomes: list[Outcome], level: float = LEVEL) -> list[Outcome]:
    """The tests that fail together at `level` (Holm 1979)."""
    ordered = sorted(outcomes, key=lambda o: o.p)
    for i, of_test in enumerate(ordered):
        if of_test.p * (len(ordered) - i) > level:
            return ordered[:i]
    return ordered


def _two_sided(z: np.ndarray) -> np.ndarray:
    return 2 * stats.norm.sf(np.abs(z))


# --- tests of bits ----------------------------------------------------------------------------


def bit_tests(bits: np.ndarray, on_lag: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
    """The battery's tests of bits uint8 (n, C, b), one after the other.

    Args:
        on_lag: called after each of the LAGS + 1 lags of the slowest test.
    """
    n, channels, width = bits.shape
    streams = bits.reshape(n, -1)
    ones = streams.sum(axis=0, dtype=np.int64)
    yield outcome("monobit", _two_sided((2 * ones - n) / np.sqrt(n)))

    # Wald and Wolfowitz: the number of runs given the number of ones.
    changes = (streams[1:] != streams[:-1]).sum(axis=0, dtype=np.int64)
    product = 2.0 * ones * (n - ones)
    variance = product * (product - n) / (n**2 * (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (changes - product / n) / np.sqrt(variance)
    yield outcome("runs", _two_sided(np.where(variance > 0, z, np.inf)))

    serial, cross, spread = [], [], []
    signs = np.where(streams, 1, -1).astype(np.float32)  # products add up exactly below 2^24
    for lag in range(LAGS + 1):
        z = signs[:n - lag].T @ signs[lag:] / np.sqrt(n - lag)
        if lag:
            serial.append(np.diag(z))
            others = z[~np.eye(len(z), dtype=bool)]
        else:
            others = z[np.triu_indices(len(z), 1)]
        cross.append(np.abs(others).max() if others.size else 0)
        pairs = others.size
        # The z of different pairs are uncorrelated, and so are their squares: 2 - 2/n variance.
        squares = (others.astype(np.float64) ** 2).sum()
        spread.append((squares - pairs) / np.sqrt(pairs * (2 - 2 / (n - lag))))
        on_lag()
    yield outcome(f"serial correlation, lags 1 to {LAGS}", _two_sided(np.concatenate(serial)))
    smallest = _two_sided(np.max(cross))
    tests = streams.shape[1] * (streams.shape[1] - 1) * (LAGS + 0.5)
    yield Outcome(f"correlation of any two bits, lags 0 to {LAGS}", int(tests),
                  float(min(1.0, smallest * tests)))
    yield outcome("sum of all squared correlations per lag", _two_sided(np.array(spread)))

    top = min(width, JOINT_BITS)
    leading = _value(bits[:, :, width - top:])
    here, there = leading[0:n - 1:2], leading[1:n:2]  # no R in two triples
    cells = 2 ** (3 * top)
    triples = (here << 2 * top) | (there << top) | np.roll(here, -1, axis=1)
    yield outcome("joint distribution of R_c(t), R_c(t+1), R_c+1(t)", np.array(
        [_uniform(column, cells) for column in triples.T]))

    picks = _value(bits)
    yield outcome("uniform pick, per channel", np.array(
        [_uniform(column, 2**width) for column in picks.T]))
    yield outcome("uniform pick, all channels", np.array([_uniform(picks.ravel(), 2**width)]))


def _value(bits: np.ndarray) -> np.ndarray:
    """R from its bits: (..., b) to int64 (...)."""
    return (bits.astype(np.int64) << np.arange(bits.shape[-1])).sum(axis=-1)


def _uniform(values: np.ndarray, cells: int) -> float:
    """p of a chi-square test that `values` are uniform on 0..cells-1."""
    while len(values) < 5 * cells and cells > 2:  # too few to fill the cells: coarser ones
        values, cells = values >> 1, cells >> 1
    return stats.chisquare(np.bincount(values, minlength=cells)).pvalue


def repeats_within(ring: Ring, cells: np.ndarray, steps: int) -> bool:
    """Whether the ring started from `cells` comes back to an earlier state in `steps` steps
    (Brent 1980: a period p that begins after s steps is seen by step 2 max(s, p) + p)."""
    mark, since, limit = cells, 0, 1
    for _ in range(steps):
        cells = ring.step(cells)
        since += 1
        if np.array_equal(cells, mark):
            return True
        if since == limit:
            mark, since, limit = cells, 0, 2 * limit
    return False


# --- tests of latents -------------------------------------------------------------------------


def latent_tests(ours: np.ndarray, theirs: np.ndarray) -> Iterator[Outcome]:
    """Is z distributed alike in two sets of samples, bool (S, T, C) each?

    Samples are independent of each other, ticks within one are not: every statistic is averaged
    over a sample's ticks first, and the two means over samples are compared (Welch).
    """
    def rates(z: np.ndarray) -> np.ndarray:
        return z

    def pairs(z: np.ndarray) -> np.ndarray:
        upper = np.triu_indices(z.shape[2], 1)
        return z[:, :, upper[0]] & z[:, :, upper[1]]

    def returns(lag: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda z: z[:, lag:] & z[:, :-lag]

    def crossings(z: np.ndarray) -> np.ndarray:
        return z[:, 1:] & np.roll(z, 1, axis=2)[:, :-1]

    tests = {"rate per channel": rates, "pairs of channels that fire together": pairs,
             **{f"a channel fires again after {lag} tick{'s' * (lag > 1)}": returns(lag)
                for lag in (1, 2, 4) if lag < ours.shape[1]},
             "a channel fires one tick after its neighbour": crossings}
    for name, statistic in tests.items():
        yield outcome(name, _welch(_per_sample(ours, statistic), _per_sample(theirs, statistic)))


def _per_sample(z: np.ndarray, statistic) -> np.ndarray:
    """Events per sample: int (S, ...), in pieces to stay small."""
    return np.concatenate([statistic(piece).sum(axis=1) for piece in np.array_split(z, 20)])


def _welch(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    common = a.sum(axis=0) + b.sum(axis=0) >= EVENTS
    if not common.any():
        return np.ones(1)
    a, b = a[:, common], b[:, common]
    spread = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    difference = a.mean(axis=0) - b.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _two_sided(np.where(spread > 0, difference / spread,
                                   np.where(difference == 0, 0, np.inf)))


def draw_latents(net: NetFile, bits, samples: int, batch: int = 100,
                 on_batch: Callable[[int], None] = lambda n: None) -> np.ndarray:
    """z of `samples` generated samples of the integer reference: bool (S, T, C)."""
    reference, z = Reference(net, "generate"), []
    drawn = reference.program.draws[0].name
    for start in range(0, samples, batch):
        count = min(batch, samples - start)
        z.append(reference.run(bits.samples(start, count)).spikes[drawn])
        on_batch(count)
    return np.concatenate(z)


# --- sources ----------------------------------------------------------------------------------


class SharedLfsr:
    """A 16-bit LFSR whose state all channels read: what not to do."""

    def __init__(self, seed: int, ticks: int, channels: int, bits: int) -> None:
        self.seed, self.shape = seed, (ticks, channels, bits)

    def samples(self, first: int, count: int) -> np.ndarray:
        ticks, channels, width = self.shape
        state, out = self.seed % 65535 + 1, []
        for _ in range((first + count) * ticks):
            for _ in range(width):  # x^16 + x^14 + x^13 + x^11 + 1, period 65 535
                bit = (state ^ state >> 2 ^ state >> 3 ^ state >> 5) & 1
                state = state >> 1 | bit << 15
            out.append(state)
        states = np.array(out[first * ticks:])
        bits = (states[:, None, None] >> np.arange(width) & 1).repeat(channels, axis=1)
        return bits.reshape(count, ticks, channels, width).astype(np.uint8)


class BareCells(ChipBits):
    """Cells of the ring read as they are, `spacing` cells apart: what the mask is for."""

    def __init__(self, *args, spacing: int) -> None:
        super().__init__(*args)
        self.ring = Ring(self.channels * self.bits * spacing)
        self.spacing = spacing

    def samples(self, first: int, count: int) -> np.ndarray:
        n = self.channels * self.bits
        at = self.first + self.schedule.dilation * np.arange(
            first * self.schedule.ticks, (first + count) * self.schedule.ticks)
        cells = np.stack([self.cells_at(int(t)) for t in at])[:, :n * self.spacing:self.spacing]
        return cells.reshape(count, self.schedule.ticks, self.channels, self.bits).astype(np.uint8)


def make_source(name: str, seed: int, ticks: int, channels: int, width: int, dilation: int):
    """One of the sources of bits that the command knows, for one sample of `ticks` ticks."""
    schedule, first_draw = Schedule(ticks, 4 // dilation, dilation, {}), 5
    return {
        "chip": lambda: ChipBits(channels, width, schedule, first_draw, seed),
        "host": lambda: HostBits(seed, ticks, channels, width),
        "lfsr": lambda: SharedLfsr(seed, ticks, channels, width),
        "neighbours": lambda: BareCells(channels, width, schedule, first_draw, seed, spacing=1),
        "every-other": lambda: BareCells(channels, width, schedule, first_draw, seed, spacing=2),
    }[name]()


# --- command ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """Test the random bits that latents are drawn from, and the latents of a trained model."""

    source: Literal["chip", "host", "lfsr", "neighbours", "every-other"] = "chip"
    """chip: the generator that runs on the chip. host: SHAKE-256. The others are there to be
    rejected: a 16-bit LFSR shared by all channels; bare cells, neighbouring or every other one."""
    seed: int = 0
    """Seed of the bits."""
    ticks: int = 32768
    """Draws per channel."""
    channels: int = 128
    """Latent channels C."""
    random_bits: int = 8
    """Bits b per draw."""
    dilation: Literal[1, 2, 4] = 4
    """Timesteps per tick."""
    net: Path | None = None
    """A model.net whose latents are tested as well, against bits from the host; its channels,
    bits and dilation take the place of those above."""
    samples: int = 2000
    """Generated samples for the test of latents."""


def battery_command(arguments: list[str]) -> int:
    """Run the command; returns 1 when something is rejected.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    import tyro
    from rich.progress import Progress
    from rich.table import Table

    command = tyro.cli(Command, args=arguments, prog="random-bits-battery")
    for name, least, most in (("seed", 0, None), ("ticks", 1024, 2**22), ("channels", 2, 4096),
                              ("random_bits", 4, 12), ("samples", 100, 10**6)):
        value = getattr(command, name)
        if value < least or (most is not None and value > most):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected {least} or more"
                            + (f", at most {most}" if most else ""))
    from lava_models.commands.console import make_console
    from lava_models.net.hdf5 import read_net
    from lava_models.net.program import schedule_for

    channels, width, dilation = command.channels, command.random_bits, command.dilation
    net = None if command.net is None else read_net(command.net)
    if net is not None and net.rate is not None:
        raise UserError(f"--net {command.net}: has rate latents, whose prior draws from bits that "
                        "are held for a sample; only the chip has such, and there is nothing to "
                        "compare with; leave out --net, and give --channels and --random-bits")
    if net is not None:
        channels, width = net.latent, net.random_bits
        dilation = schedule_for(net, "generate").dilation
    console = make_console()
    console.print(f"{command.source}, seed {command.seed}: {command.ticks} ticks of {channels} "
                  f"channels x {width} bits, {dilation} timesteps per tick")
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("tests of bits", total=LAGS + 1)
        source = make_source(command.source, command.seed, command.ticks, channels, width, dilation)
        outcomes = list(bit_tests(source.samples(0, 1)[0], lambda: progress.advance(task)))
        if net is not None:
            task = progress.add_task("generated samples", total=2 * command.samples)
            ours, theirs = (
                draw_latents(net, bits, command.samples,
                             on_batch=lambda n: progress.advance(task, n))
                for bits in (make_source(command.source, command.seed, net.ticks, channels, width,
                                         dilation),
                             HostBits(command.seed + 1, net.ticks, channels, width)))
            outcomes += [Outcome(f"latents: {o.name}", o.count, o.p)
                         for o in latent_tests(ours, theirs)]
    failed = rejected(outcomes)
    table = Table(title=f"level {LEVEL} for all tests together (Holm); p of a test is Bonferroni's")
    table.add_column("test")
    for name in ("p-values", "p", "verdict"):
        table.add_column(name, justify="right")
    for o in outcomes:
        table.add_row(o.name, f"{o.count:,}", f"{o.p:.2g}", "REJECTED" if o in failed else "pass")
    console.print(table)
    repeats = False
    if isinstance(source, ChipBits):
        ring, steps = source.ring, 2 * command.ticks
        repeats = repeats_within(ring, source.cells_at(source.first), steps)
        console.print(f"the ring of {ring.cells} cells {'COMES' if repeats else 'does not come'} "
                      f"back to an earlier state within {steps} steps")
    console.print(f"verdict: {command.source} "
                  + ("is REJECTED" if failed or repeats else "passes"))
    return 1 if failed or repeats else 0
