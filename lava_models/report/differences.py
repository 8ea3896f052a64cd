"""Two records by numbers and verdicts; modelled against measured where one lacks the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hw_configs.files import UserError

LEFT_OUT = ("run", "host_wall_s", "samples_compared", "timesteps_run")
"""What differs between two equal runs."""
MEASURED_FOR = {"energy.energy_per_sample_j": "energy.measured_j",
                "time.chip_timestep_us": "time.measured_timestep_us"}
"""Modelled numbers, and where a chip's measurement of the same stands."""

VERDICTS: dict[str, Callable[[dict], bool | None]] = {
    "check.equal": lambda record: record["check"]["equal"],
    "fit.fits": lambda record: record["fit"]["fits"]}


@dataclass(frozen=True)
class Difference:
    """One number or verdict that is not the same on both sides."""

    name: str
    first: str
    second: str
    ratio: float
    """|second / first - 1|; infinite where only one side has it or the first is 0, and of a
    verdict: no percentage lets it pass."""
    verdict: bool = False

    @property
    def shown(self) -> str:
        if self.verdict:
            return "verdict"
        return "-" if self.ratio == float("inf") else f"{self.ratio:.2%}"


def parse_percent(text: str) -> float:
    """"5%" or "0.05" as a fraction.

    Raises:
        UserError: neither.
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UserError(f"--fail-over {text}: expected a percentage like 5%, or a fraction")
    return value


def unlike(first: dict, second: dict) -> list[str]:
    """What makes two records no two runs of the same: network, mode, board, in words."""
    def board(record: dict) -> str:
        return f"{record['fit']['board']} ({record['fit']['board_sha256'][:8]})"

    def network(record: dict) -> str:
        return f"{record['inputs']['net']} ({record['inputs']['net_sha256'][:8]})"

    found = []
    for name, key, shown in (
            ("network", lambda r: r["inputs"]["net_sha256"], network),
            ("mode", lambda r: r["work"]["mode"], lambda r: r["work"]["mode"]),
            ("board", lambda r: r["fit"]["board_sha256"], board)):
        if key(first) != key(second):
            found.append(f"{name} {shown(first)} | {shown(second)}")
    return found


def differences(first: dict, second: dict) -> list[Difference]:
    """Verdicts and numbers of two records that differ, numbers per sample where they grow with
    the samples.

    Modelled energy and time stand beside the other record's measurement where that has one.
    """
    mine, other = dict(_numbers(first)), dict(_numbers(second))
    for modelled, measured in MEASURED_FOR.items():
        for a, b in ((mine, other), (other, mine)):
            if f"{measured}.value" in a and f"{measured}.value" not in b:
                b[f"{measured}.value"] = b[f"{modelled}.value"]
    rows = []
    for name, get in VERDICTS.items():
        a, b = get(first), get(second)
        if a != b:
            rows.append(Difference(name, _word(a), _word(b), float("inf"), True))
    for name in dict.fromkeys((*mine, *other)):
        a, b = mine.get(name), other.get(name)
        if a == b:
            continue
        both = a is not None and b is not None
        ratio = abs(b / a - 1) if both and a else float("inf")
        rows.append(Difference(name, *("-" if v is None else f"{v:.6g}" for v in (a, b)), ratio))
    return rows


def _word(verdict: bool | None) -> str:
    return {True: "yes", False: "NO", None: "not compared"}[verdict]


def _numbers(record: dict) -> Iterator[tuple[str, float]]:
    """Every number of a record under its path; lists of named entries by their names."""
    samples = record["work"]["samples"]

    def walk(value, path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
        if path and path[-1] in LEFT_OUT:
            return
        if isinstance(value, dict):
            for key, item in value.items():
                yield from walk(item, (*path, key))
        elif isinstance(value, list):
            for i, item in enumerate(value):
                name = item.get("name", str(i)) if isinstance(item, dict) else str(i)
                yield from walk(item, (*path, name))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            totals = path[0] in ("layers", "parts", "totals") and (
                not path[-1].endswith("_per_sample") and path[-1] not in ("neurons", "synapses"))
            yield ".".join(path), value / samples if totals else value

    yield from walk(record, ())
