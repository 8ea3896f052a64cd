"""The Triton kernels as a backend: what they are launched with."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hw_configs.files import UserError
from train.backends.backend import SHAPES, Grid, Surrogate
from train.backends.loops import Loops

try:
    from train.backends import triton_kernels as kernels
except ImportError:  # it comes with torch on Linux
    kernels = None

TILE = 1024
"""Neurons a program takes at a time."""
WIDEST = 128
"""Channels of a tile at most: a warp's loads are contiguous from 32 on."""
SUM_TILES = 1024
"""About so many programs share a channel's sum: a few per multiprocessor."""
OLDEST = (7, 0)
"""Compute capability from which Triton compiles."""


def launch(kernel, grid: tuple[int, ...], *arguments, **constants) -> None:
    """The one place where kernels start."""
    if kernels.INTERPRETED:  # it writes every array back, which autograd must not take for a change
        arguments = [a.data if isinstance(a, Tensor) else a for a in arguments]
    kernel[grid](*arguments, **constants)


class TritonBlocks(Loops):
    """train.backends.backend.Backend."""

    name = "triton"

    def __init__(self) -> None:
        super().__init__(_Kernels())

    def takes(self, current: Tensor, norm: nn.Module | None) -> bool:
        """Float32 on a GPU that Triton compiles for; of norms tdBN, as the CPU's loops."""
        return (current.is_cuda and current.dtype == torch.float32
                and (norm is None or hasattr(norm, "affine")) and _missing(current.device) is None)

    def check(self, device: torch.device) -> None:
        """As Backend's."""
        missing = _missing(device)
        if missing is not None:
            raise UserError(f"--neurons triton: {missing}")


def _missing(device: torch.device) -> str | None:
    """What it would take for kernels to run on a device; None where they do."""
    if kernels is None:
        return "Triton is not installed (it comes with torch on Linux); use --neurons operators"
    if kernels.INTERPRETED:
        return None
    if device.type != "cuda":
        return ("kernels for CUDA; use --neurons compiled (TRITON_INTERPRET=1 runs them on the "
                "CPU, slowly, for tests)")
    if torch.cuda.get_device_capability(device) < OLDEST:
        return (f"needs compute capability {OLDEST[0]}.{OLDEST[1]} or more; use --neurons "
                "operators")
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return "needs a C compiler to launch its kernels; install gcc, or use --neurons operators"
    return None


@dataclass(frozen=True)
class _Tiles:
    """How rows and channels are divided among programs."""

    rows: int
    channels: int

    @property
    def size(self) -> dict[str, int]:
        """Rows and channels of a tile, powers of two."""
        wide = min(WIDEST, 1 << (self.channels - 1).bit_length())
        return {"BR": TILE // wide, "BC": wide}

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along rows and channels."""
        return -(-self.rows // self.size["BR"]), -(-self.channels // self.size["BC"])


class _Kernels:
    """train.backends.loops.Kernels."""

    def channel_sums(self, x: Tensor) -> Tensor:
        tiles = _Tiles(*x.shape)
        loops = -(-tiles.grid[0] // SUM_TILES)
        across = -(-tiles.grid[0] // loops)
        partial = x.new_empty((across, 2, tiles.channels), dtype=torch.float64)
        launch(kernels.channel_sums, (across, tiles.grid[1]), x, partial, *x.shape, loops,
               **tiles.size)
        return partial.sum(dim=0)

    def affine(self, grad: Tensor, x: Tensor, p: Tensor, q: Tensor, w: Tensor) -> None:
        tiles = _Tiles(*grad.shape)
        launch(kernels.affine, tiles.grid, grad, x, p, q, w, *grad.shape, **tiles.size)

    def fire(self, x: Tensor, gain: Tensor, shift: Tensor, r: Tensor, ticks: int, grid: Grid
             ) -> Tensor:
        tiles, spikes = _Tiles(*r.shape), r.new_empty((ticks, *r.shape))
        launch(kernels.fire, tiles.grid, x, gain, shift, r, spikes, *r.shape, r.numel(),
               grid.scale, grid.keep, grid.threshold, T=ticks, **_how(x, grid), **tiles.size)
        return spikes

    def fire_backward(self, x: Tensor, gain: Tensor, shift: Tensor, r0: Tensor,
                      grad_spikes: Tensor, grad_r: Tensor, grid: Grid, surrogate: Surrogate,
                      through: bool) -> tuple[Tensor, Tensor]:
        tiles, grad = _Tiles(*r0.shape), torch.empty_like(x)
        partial = x.new_empty((tiles.grid[0], 2, tiles.channels))
        launch(kernels.fire_backward, tiles.grid, x, gain, shift, r0, grad_spikes, grad_r, grad,
               _membranes(grad, grad_spikes), partial, *r0.shape, r0.numel(), grid.scale,
               grid.keep, grid.threshold, 1 / grid.scale, grid.keep_per_tick, surrogate.center,
               *_slope(surrogate), T=len(grad_spikes), SHAPE=SHAPES.index(surrogate.shape),
               THROUGH=through, BARRIER=not kernels.INTERPRETED, **_how(x, grid), **tiles.size)
        return grad, partial.sum(dim=0, dtype=torch.float64)

    def fire_gated(self, x: Tensor, u: Tensor, *values: Tensor) -> Tensor:
        ticks = len(values[-1])
        tiles, spikes = _Tiles(*u.shape), u.new_empty((ticks, *u.shape))
        launch(kernels.fire_gated, tiles.grid, x, u, spikes, *values, *u.shape, u.numel(), T=ticks,
               STILL=len(x) == 1, **tiles.size)
        return spikes

    def fire_gated_backward(self, x: Tensor, u0: Tensor, grad_spikes: Tensor, grad_u: Tensor,
                            fresh: bool, surrogate: Surrogate, *values: Tensor
                            ) -> tuple[Tensor, Tensor]:
        ticks = len(grad_spikes)
        tiles, grad = _Tiles(*u0.shape), torch.empty_like(x)
        partial = x.new_empty((tiles.grid[0], 5 + ticks, tiles.channels))
        launch(kernels.fire_gated_backward, tiles.grid, x, u0, grad_spikes, grad_u, grad,
               _membranes(grad, grad_spikes), partial, *values, *u0.shape, u0.numel(),
               *_slope(surrogate), T=ticks, STILL=len(x) == 1, FRESH=fresh,
               SHAPE=SHAPES.index(surrogate.shape), BARRIER=not kernels.INTERPRETED, **tiles.size)
        return grad, partial.sum(dim=0, dtype=torch.float64)


def _how(x: Tensor, grid: Grid) -> dict[str, bool | int]:
    """What the LIF kernels are compiled for."""
    narrow = grid.leaks == 1 and math.log2(grid.keep).is_integer()
    return {"STILL": len(x) == 1, "LEAKS": grid.leaks, "NARROW": narrow}


def _membranes(grad: Tensor, grad_spikes: Tensor) -> Tensor:
    """Room for a plane of membranes per tick: the gradient's own, if it has so many."""
    return grad if len(grad) == len(grad_spikes) else torch.empty_like(grad_spikes)


def _slope(s: Surrogate) -> tuple[float, float, float, float]:
    """Half width, height, and the steepness of triangle and exponential."""
    return s.width / 2, s.scale / s.width, 1 / s.width, 2 / s.width
