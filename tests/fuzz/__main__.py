"""`make fuzz`: damaged files of every kind for ten minutes; 1 where one ends as none may."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzz.campaign import campaign, table
from fuzz.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--trials", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS))
    parser.add_argument("--base", type=Path, help="sound files; made if they are not there")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    done = campaign(given.seed, given.seconds, tuple(given.kinds), given.trials,
                    lambda text: print(text, flush=True), given.base)
    print(table(done))
    print(f"{done.trials} trials, seed {done.seed}: {len(done.bad)} ended as none may")
    return 1 if done.bad else 0


if __name__ == "__main__":
    sys.exit(main())
