"""What the extension's loggers measured in a run, as the report's entries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_configs import Board
from hw_configs.files import UserError

FEWEST_READINGS = 10
"""Of the power meter, below which no power is stated."""


@dataclass(frozen=True)
class Profilers:
    """The extension's loggers of one run."""

    power: object
    time: object
    activity: object
    memory: object

    @classmethod
    def make(cls, steps: int) -> Profilers:
        """Loggers for a run of `steps` timesteps.

        Raises:
            UserError: the extension lacks one.
        """
        from lava_models.loihi.extension import load

        return cls(load("Loihi2Power")(num_steps=steps), load("Loihi2ExecutionTime")(),
                   load("Loihi2Activity")(), load("Loihi2Memory")())

    @property
    def all(self) -> tuple:
        return self.power, self.time, self.activity, self.memory


def measured_section(profilers: Profilers, steps: int, period: int, board: Board
                     ) -> dict[str, dict]:
    """Measured numbers as the report's entries, each with mean, spread (standard deviation) and n.

    Static power is the board's, less that of chips on which the memory logger saw no core in use;
    dynamic power is what is above the board's.

    Args:
        steps: timesteps run.
        period: timesteps per sample.

    Raises:
        UserError: the meter gave too few readings, a logger lacks a series, or the board's file
            has fewer chips than the network is on.
    """
    what = f"{steps} timesteps on {board.name}"
    timestep = _timestep(profilers.time, what)
    return {"timestep_us": timestep,
            **_power(profilers, board, steps, period * timestep["value"] * 1e-6, what),
            **_activity(profilers, steps, what)}


def _power(profilers: Profilers, board: Board, steps: int, seconds: float, what: str
           ) -> dict[str, dict]:
    """Entries of power, and of energy in a sample of so many seconds."""
    power = profilers.power
    total, static = (_series(power, name) for name in ("total_power", "static_total_power"))
    n = min(len(total), len(static))
    if n < FEWEST_READINGS:
        raise UserError(f"--backend loihi2: the power meter gave {n} readings in {steps} "
                        f"timesteps, expected at least {FEWEST_READINGS}; run longer with "
                        "--power-timesteps, or without power by --no-profile")
    share, less = _used_chips(profilers, board)
    own_static = static * share
    entries = {
        "power_total_w": _entry(total, f"{what}, idle chips included"),
        "power_static_w": _entry(own_static, what + less),
        "energy_static_per_sample_j": _times(_entry(own_static, what + less), seconds, n)}
    for rail in ("vdd", "vddm", "vddio"):
        entries[f"power_{rail}_w"] = _entry(_series(power, f"{rail}_power"),
                                            f"{what}, rail {rail.upper()}")
    dynamic, noise = float(total.mean() - static.mean()), board.chip.power_noise.value
    if dynamic < noise:
        why = (f"dynamic power came out as {1e3 * dynamic:.1f} mW, within the meter's noise of "
               f"{1e3 * noise:g} mW")
        hole = {"value": None, "basis": "unavailable", "why": why,
                "fix": "keep the chip busy: --hold in reconstruct mode, generate, or more cores"}
        names = "power_dynamic_w", "energy_dynamic_per_sample_j", "energy_per_sample_j"
        return entries | {name: dict(hole) for name in names}
    above = {"value": dynamic, "basis": "measured", "what": f"{what}, total less static",
             "spread": float(np.hypot(total.std(), static.std())), "n": n}
    whole = {**above, "value": dynamic + float(own_static.mean()), "what": what + less}
    return entries | {
        "power_dynamic_w": above,
        "energy_dynamic_per_sample_j": _times({**above, "what": what}, seconds, n),
        "energy_per_sample_j": _times(whole, seconds, n)}


def _used_chips(profilers: Profilers, board: Board) -> tuple[float, str]:
    """The share of the board's chips that the network is on, and what was subtracted, in words."""
    chips = len(np.unique(_series(profilers.memory, "chip_idx")))
    on_board = int(board.chips.value)
    if chips > on_board:
        raise UserError(f"--backend loihi2: the network ran on {chips} chips, {board.name} has "
                        f"{on_board}; name the board it ran on with --hw")
    idle = on_board - chips
    less = f", {idle} of {on_board} chips idle and subtracted" if idle else ""
    return chips / on_board, less


def _activity(profilers: Profilers, steps: int, what: str) -> dict[str, dict]:
    """Entries of events per timestep, and of the memory in use."""
    entries = {}
    for name, series in (("synops_per_timestep", "syn_ops"),
                         ("neuron_passes_per_timestep", "dendrite_updates")):
        counts = _series(profilers.activity, series)
        entries[name] = {"value": float(counts.sum()) / steps, "basis": "measured",
                         "n": len(counts), "what": f"{what}, sum over cores (n)"}
    memory = 100 * _series(profilers.memory, "total_mpds")
    return entries | {"memory_percent": _entry(memory,
                                               "mean over cores, as the extension counts")}


def _times(entry: dict, factor: float, n: int) -> dict:
    """The entry's value and spread times `factor`."""
    return {**entry, "value": entry["value"] * factor, "spread": entry["spread"] * factor, "n": n}


def _series(logger, name: str) -> np.ndarray:
    """A logger's numbers as float64 (n,)."""
    try:
        values = np.atleast_1d(np.asarray(getattr(logger, name), dtype=np.float64)).ravel()
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"--backend loihi2: {type(logger).__name__} has no series {name!r}; "
                        "the installed release is not the one we know "
                        "(lava_models/loihi/extension.py)") \
            from None
    if not len(values) or not np.isfinite(values).all():
        raise UserError(f"--backend loihi2: {type(logger).__name__}.{name} is empty or not finite; "
                        "run again, or without power by --no-profile")
    return values


def _timestep(time, what: str) -> dict:
    """Time per timestep in us: the logger's mean; spread from its time of spiking per timestep.

    The other phases of a timestep (management, host) have series of their own, which no public code
    adds up.
    """
    mean = float(_series(time, "avg_time_per_step").mean())
    spiking = _series(time, "execution_time_per_step")
    return {"value": mean, "basis": "measured", "spread": float(spiking.std()), "n": len(spiking),
            "what": f"{what}; spread of its spiking phase"}


def _entry(series: np.ndarray, what: str) -> dict:
    return {"value": float(series.mean()), "basis": "measured", "what": what,
            "spread": float(series.std()), "n": len(series)}
