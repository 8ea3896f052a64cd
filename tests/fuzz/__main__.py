"""`make fuzz`: damaged files of every kind for ten minutes; 1 where one ends as none may."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from fuzz.campaign import campaign, merged, table
from fuzz.kinds import KINDS, import_all, make_base


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--trials", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS))
    parser.add_argument("--base", type=Path, help="sound files; made if they are not there")
    parser.add_argument("--jobs", type=int, default=2, help="processes; seeds follow each other")
    given = parser.parse_args()
    import_all()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        base = given.base or Path(temporary) / "base"
        if not base.is_dir():
            base.mkdir(parents=True)
            make_base(base)
        with ProcessPoolExecutor(given.jobs, get_context("fork")) as pool:
            done = merged(list(pool.map(partial(
                campaign, seconds=given.seconds, kinds=tuple(given.kinds),
                most=given.trials // given.jobs, say=_say, base=base),
                range(given.seed, given.seed + given.jobs))))
    print(table(done))
    print(f"{done.trials} trials, seed {done.seed}: {len(done.bad)} ended as none may")
    return 1 if done.bad else 0


if __name__ == "__main__":
    sys.exit(main())
