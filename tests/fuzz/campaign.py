"""Thousands of trials, and the table of what became of them."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fuzz import damage
from fuzz.kinds import KINDS, Kind, import_all, make_base
from fuzz.trials import ACCEPTED, CRASH, HANG, MEMORY, REFUSED, TRACEBACK, Outcome, run_trial

BEFORE, ANOTHER, SILENT = "as before", "another value", "changed silently"
ENDS = (REFUSED, BEFORE, ANOTHER, TRACEBACK, CRASH, HANG, MEMORY, SILENT)
GOOD = (REFUSED, BEFORE, ANOTHER)
SECONDS = 150.0
"""After which a trial that waits for something hangs."""


@dataclass
class Campaign:
    """What became of all trials."""

    seed: int
    ends: dict[str, Counter] = field(default_factory=lambda: {k: Counter() for k in KINDS})
    bad: list[str] = field(default_factory=list)
    """What was done and said, of trials that ended otherwise than they may."""

    @property
    def trials(self) -> int:
        return sum(c.total() for c in self.ends.values())


def campaign(seed: int, seconds: float, kinds: tuple[str, ...] = tuple(KINDS), most: int = 10**9,
             say: Callable[[str], None] = lambda text: None, base: Path | None = None) -> Campaign:
    """Damage files of all kinds in turn, for so long or so many trials.

    Args:
        say: gets every trial that ended as none may.
        base: a folder of sound files, made if it is not there (default: a new one).
    """
    import_all()
    done = Campaign(seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        base = base or Path(temporary) / "base"
        if not base.is_dir():
            base.mkdir(parents=True)
            make_base(base)
        sound = {}
        for kind in kinds:
            try:
                sound[kind] = {f: _sound(base, temporary, KINDS[kind], f)
                               for f in KINDS[kind].files}
            except AssertionError as error:
                done.bad.append(str(error))
                say(str(error))
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end and done.trials < most:
            for kind in sound:
                name = f"{seed}/{number}/{kind}"
                try:
                    _one(done, kind, base, Path(temporary) / "trial", sound[kind], name, say)
                except Exception:
                    done.bad.append(f"{name}: the suite itself: {traceback.format_exc()}")
                    say(done.bad[-1])
            number += 1
    return done


def merged(parts: list[Campaign]) -> Campaign:
    """Campaigns as one; the seed is the first one's."""
    whole = Campaign(parts[0].seed)
    for part in parts:
        whole.bad += part.bad
        for kind, ends in part.ends.items():
            whole.ends[kind] += ends
    return whole


def _sound(base: Path, temporary: str, kind: Kind, file: str) -> str:
    """What a command says of the file before it is damaged."""
    found = _in_a_copy(base, Path(temporary) / "trial", kind, file, lambda folder: None)
    if found.end != ACCEPTED:
        raise AssertionError(f"{file}: the sound file is not accepted: {found}")
    return found.said


def _in_a_copy(base: Path, folder: Path, kind: Kind, file: str, change: Callable[[Path], None]
               ) -> Outcome:
    shutil.copytree(base, folder, symlinks=True)
    try:
        change(folder)
        return run_trial(lambda: kind.command(file), folder, SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _one(done: Campaign, name: str, base: Path, folder: Path, sound: dict[str, str], seed: str,
         say: Callable[[str], None]) -> None:
    kind, draw, whats, raw = KINDS[name], random.Random(seed), [], []
    file = draw.choice(kind.files)
    way = draw.choice((damage.any_bytes, damage.any_bytes, *kind.ways) if draw.random() < 0.9 else (
        damage.any_node,))

    def change(copied: Path) -> None:
        whats.append(f"{way.__name__}: {way(copied / file, draw)}")
        raw.append(way is damage.any_bytes)
        if not raw[0]:
            kind.after(copied, draw)

    found = _in_a_copy(base, folder, kind, file, change)
    end = found.end
    if end == ACCEPTED:
        same = _comparable(found.said) == _comparable(sound[file])
        found_out = "found by check" in found.said or "WRONG" in found.said
        end = REFUSED if found_out else BEFORE if same else (
            SILENT if raw[0] and kind.checksum else ANOTHER)
    done.ends[name][end] += 1
    if end not in GOOD:
        text = f"{end}: {file}, trial {seed}: {whats[0]}\n{found.said[-1500:]}"
        done.bad.append(text)
        say(text)


def _comparable(said: str) -> str:
    """What is printed, but for how long it took."""
    return "\n".join(line for line in said.splitlines() if " s" not in line[-3:])


def table(done: Campaign) -> str:
    """The table, in Markdown."""
    head = ("input", "tried", *ENDS)
    rows = [[name, ends.total(), *(ends[end] for end in ENDS)]
            for name, ends in done.ends.items() if ends.total()]
    rows.append(["all", done.trials, *(sum(c[end] for c in done.ends.values()) for end in ENDS)])
    return "\n".join([f"| {' | '.join(head)} |", f"|-{'|-:' * (len(head) - 1)}|",
                      *(f"| {' | '.join(map(str, row))} |" for row in rows)])
