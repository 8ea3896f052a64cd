"""The learning curve of a model, through everything it started from, and where it points.

Validation errors are in every model.pt; the prediction is a power law in epochs through the epochs
at the present number of ticks. A learning rate that falls to its end flatters it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FEWEST = 3
"""Epochs at the present T that a fit needs."""
FARTHEST = 100
"""Times the epochs so far beyond which nothing is predicted."""


@dataclass(frozen=True)
class Point:
    """One epoch."""

    epoch: int
    """Counted through all stages, from 1."""
    error: float
    """Reconstruction error on the validation images, in [-1, 1]."""
    ticks: int


def learning_curve(config, state: dict) -> list[Point]:
    """Epochs of float training of a model and of what it started from, as far as that is there."""
    from train.checkpoint import load_model, start_of

    before: list[Point] = []
    start = start_of(config, state)
    if start is not None:
        before = learning_curve(*load_model(start)[1:])
    if config.model.integer:
        return before
    done = before[-1].epoch if before else 0
    return before + [Point(done + row["epoch"], row["validation_reconstruction"],
                           config.model.ticks) for row in state["metrics"]]


def predict_epochs(curve: list[Point], error: float) -> float | None:
    """Epochs in all after which the curve would reach `error`; None if it cannot be said."""
    mine = [p for p in curve if p.ticks == curve[-1].ticks] if curve else []
    if len(mine) < FEWEST:
        return None
    slope, offset = np.polyfit(np.log([p.epoch for p in mine]), np.log([p.error for p in mine]), 1)
    if slope >= 0:
        return None
    # Compared as logarithms: the epochs of a nearly flat curve overflow a float.
    log_epochs = (np.log(error) - offset) / slope
    if log_epochs >= np.log(FARTHEST * curve[-1].epoch):
        return None
    return float(np.exp(log_epochs))


def describe(curve: list[Point], name: str, error: float) -> str:
    """What the curve says about reaching a published error, in a sentence."""
    best = min(curve, key=lambda p: p.error)
    said = f"validation error {best.error:.4f} after {best.epoch} epochs"
    if best.error <= error:
        return f"{said}: {name}, {error:.3f}, is reached"
    epochs = predict_epochs(curve, error)
    if epochs is None:
        return f"{said}; whether it would reach {name}, {error:.3f}, the curve does not say"
    last = sum(p.ticks == curve[-1].ticks for p in curve)
    return (f"{said}; as a power law through its last {last} epochs the curve reaches {name}, "
            f"{error:.3f}, after about {epochs:.0f}")


def draw_curves(curves: dict[str, list[Point]], published: list[tuple[str, float]],
                path: Path) -> None:
    """Write the curves as one picture, published errors as lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from hw_configs.files import replacing

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for i, (name, curve) in enumerate(curves.items()):
        axes.plot([p.epoch for p in curve], [p.error for p in curve], color=f"C{i}", marker="o",
                  markersize=4, label=name)
        for a, b in zip(curve, curve[1:]):
            if a.ticks != b.ticks:
                axes.axvline((a.epoch + b.epoch) / 2, color=f"C{i}", linewidth=0.7, linestyle="--")
                axes.annotate(f"T = {b.ticks}", ((a.epoch + b.epoch) / 2, b.error), (4, 30),
                              textcoords="offset points", fontsize=8)
    for name, error in published:
        axes.axhline(error, color="gray", linewidth=0.8, linestyle=":")
        axes.annotate(name, (1, error), (2, 2), textcoords="offset points", fontsize=8)
    axes.set(xlabel="epoch, all stages", ylabel="reconstruction error, validation images",
             yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)
