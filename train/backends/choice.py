"""The one place that chooses what runs a layer's neurons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from train.backends.backend import Backend
from train.backends.loops import CompiledLoops
from train.backends.operators import Operators

BACKENDS: tuple[Backend, ...] = (CompiledLoops(), Operators())
"""Fastest first; the last takes anything."""
_allowed = BACKENDS


def backend_for(current: Tensor, norm: nn.Module | None = None) -> Backend:
    """The first backend that takes this current and norm."""
    return next(backend for backend in _allowed if backend.takes(current, norm))


@contextmanager
def only(name: str) -> Iterator[None]:
    """Inside, that backend alone: to compare one with another.

    Raises:
        ValueError: there is none of that name.
    """
    global _allowed
    chosen = tuple(backend for backend in BACKENDS if backend.name == name)
    if not chosen:
        raise ValueError(f"backend {name!r}, known are {[b.name for b in BACKENDS]}")
    before, _allowed = _allowed, chosen
    try:
        yield
    finally:
        _allowed = before
