"""Damaged files by the hundred: each is read in another process, which may hang or die.

What may become of one is "refused" (a UserError of one line) or "same" (nothing of it changed).
"""

from __future__ import annotations

import multiprocessing
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from hw_configs.files import UserError

REFUSED, SAME = "refused", "same"
Mutant = tuple[str, bytes]
"""What was done, and the bytes of the file after it."""


def survey(file: Path, mutants: Iterator[Mutant], judge: Callable[[Path], str],
           seconds: float = 20) -> Counter[str]:
    """How many of the mutants met which end; each in turn is written to `file`.

    Args:
        judge: reads the file; a UserError is a refusal, what it returns is the end otherwise.

    Raises:
        AssertionError: an end is neither of the two, or a file took longer than `seconds`, or
            ended the process. The last file stays where it is.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_read_all, args=(theirs, file, mutants, judge), daemon=True)
    process.start()
    theirs.close()
    ends, what = Counter(), "the first one"
    try:
        while ours.poll(seconds):
            what, end = ours.recv()
            if what is None:
                return ends
            if end is not None:
                ends[end] += 1
                assert end in (REFUSED, SAME), f"{what}: {end}"
        raise AssertionError(f"{what}: hangs; {file}")
    except EOFError:
        process.join(seconds)
        raise AssertionError(f"{what}: ends the process ({process.exitcode}); {file}") from None
    finally:
        process.kill()
        process.join()


def _read_all(pipe, file: Path, mutants: Iterator[Mutant], judge: Callable[[Path], str]) -> None:
    try:
        for what, data in mutants:
            pipe.send((what, None))
            file.write_bytes(data)
            pipe.send((what, _end(file, judge)))
        pipe.send((None, None))
    except Exception:
        pipe.send(("the making of a mutant", traceback.format_exc()))


def _end(file: Path, judge: Callable[[Path], str]) -> str:
    try:
        return judge(file)
    except UserError as error:
        return REFUSED if len(str(error).splitlines()) == 1 else f"more than a line: {error}"
    except Exception:
        return traceback.format_exc()


def damaged_bytes(data: bytes, draw: random.Random, count: int) -> Iterator[Mutant]:
    """The file with one byte changed, mostly; else cut short, or a stretch of it set to zero."""
    for _ in range(count):
        at = draw.randrange(len(data))
        how = draw.random()
        if how < 0.9:
            mask = draw.choice([1 << draw.randrange(8), draw.randrange(1, 256)])
            yield f"byte {at} ^ {mask}", data[:at] + bytes([data[at] ^ mask]) + data[at + 1:]
        elif how < 0.95:
            yield f"cut at {at}", data[:at]
        else:
            yield f"16 zeros at {at}", data[:at] + bytes(16) + data[at + 16:]
