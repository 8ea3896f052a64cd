"""The random bits of a run, spike for spike as the ring (lava_models.net.ring) draws them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lava_models.net.netfile import NetFile
from lava_models.net.populations import Gates
from lava_models.net.program import build_program
from lava_models.net.ring import POPULATIONS, Ring, random_bits, spare_bits
from lava_models.net.schedule import Schedule

CHECKPOINT = 1024
"""Every so many steps a stream's cells are kept, so that going back is cheap."""


class ChipBits:
    """The random bits of a run as the chip draws them.

    Samples that follow each other take consecutive stretches of one stream, so sample i has the
    same bits whether it runs in one lane after i others or in a lane of its own that was started
    from the ring as it stands then (`start`).

    Args:
        channels, bits: C latent channels of b bits each.
        schedule: timing of the network that reads them.
        first_draw: timestep of the first draw.
        seed: any integer.
        spare: how many more bits there are, that are held (`held`).
        stages: timesteps, one after the other, at which some of these are taken for a sample.
        first_spare: the first of them.
    """

    def __init__(self, channels: int, bits: int, schedule: Schedule, first_draw: int, seed: int,
                 spare: int = 0, stages: int = 0, first_spare: int = 0) -> None:
        self.channels, self.bits, self.schedule, self.seed = channels, bits, schedule, seed
        self.spare, self.stages, self.first_spare = spare, stages, first_spare - 2
        self.ring = Ring(channels * bits + spare)
        self.first = first_draw - 2
        """Timestep of the cells behind the first draw: cell -> bits -> selection."""
        self._streams = {0, 1} if schedule.dilation % 2 else {self.first % 2}
        self._marks: dict[int, list[np.ndarray]] = {}  # cells after every CHECKPOINT steps
        self._last: dict[int, tuple[int, np.ndarray]] = {}  # where the last call arrived

    @classmethod
    def of(cls, net: NetFile, mode: str, seed: int) -> ChipBits:
        """The random bits of `net` in `mode` ("reconstruct" or "generate")."""
        program = build_program(net, mode)
        draw, spare = program.draws[0], program.draws[0].kind.spare
        gates = program.of(Gates) if spare else []
        return cls(net.latent, net.random_bits, program.schedule, draw.phase, seed, spare,
                   len(gates), gates[0].phase if gates else 0)

    def cells_at(self, timestep: int) -> np.ndarray:
        """Cells that fire at `timestep` (1-based): bool (N,)."""
        stream, step = timestep % 2, (timestep - 1) // 2
        if stream not in self._streams:
            return np.zeros(self.ring.cells, bool)
        marks = self._marks.setdefault(stream, [self.ring.start(self.seed, stream)])
        mark = min(step // CHECKPOINT, len(marks) - 1)
        at, cells = self._last.get(stream, (0, marks[0]))
        if not mark * CHECKPOINT <= at <= step:
            at, cells = mark * CHECKPOINT, marks[mark]
        while at < step:
            cells, at = self.ring.step(cells), at + 1
            if at == len(marks) * CHECKPOINT:
                marks.append(cells)
        self._last[stream] = step, cells
        return cells

    def start(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """Cells at the first two timesteps of a run that begins with `sample`."""
        offset = sample * self.schedule.period
        return self.cells_at(1 + offset), self.cells_at(2 + offset)

    def samples(self, first: int, count: int) -> np.ndarray:
        """Bits of `count` samples from `first` on: uint8 (count, T, C, b)."""
        ticks = np.arange(first * self.schedule.ticks, (first + count) * self.schedule.ticks)
        cells = np.stack([self.cells_at(self.first + self.schedule.dilation * int(tick))
                          for tick in ticks])
        return random_bits(self.ring.observe(cells), self.channels, self.spare).reshape(
            count, self.schedule.ticks, self.channels, self.bits)

    def held(self, first: int, count: int) -> np.ndarray:
        """Bits that are held for `count` samples from `first` on, M for each stage: bool (count,
        stages, M)."""
        period = self.schedule.period
        cells = np.stack([self.cells_at(self.first_spare + period * sample + stage)
                          for sample in range(first, first + count)
                          for stage in range(self.stages)])
        bits = spare_bits(self.ring.observe(cells), self.spare).reshape(count, self.stages, -1)
        each = self.spare // -(-self.stages // self.schedule.ticks)
        return np.stack([bits[:, stage, (at := stage // self.schedule.ticks * each):at + each]
                         for stage in range(self.stages)], axis=1)

    def rasters(self, sample: int, steps: int) -> Iterator[tuple[str, np.ndarray]]:
        """Every spike of the generator in the first `steps` (>= 2) timesteps of a lane that
        begins with `sample`: (population, bool (steps, n))."""
        offset = sample * self.schedule.period
        cells = np.stack([self.cells_at(offset + t) for t in range(1, steps + 1)])
        before = np.concatenate([np.zeros_like(cells[:1]), cells[:-1]])
        rule = self.ring.rule(before)
        # The second stream enters through `any`, one timestep before its first cells fire.
        rule[0, :self.ring.cells] = cells[1]
        yield from zip(POPULATIONS, (cells, rule, self.ring.observe(before)), strict=True)
