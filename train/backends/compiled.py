"""tdBN and LIF neurons in one pass each way, for the CPU: compiled loops (numba) over plain arrays.

PyTorch's own operators read and write memory a dozen times per tick and neuron; these do it three
times forward and six backward, keep a block of neurons in the cache over all ticks, and save
nothing for the backward pass but the currents (membranes are computed again).
train.backends.operators is the same in PyTorch, which runs on other devices and checks this.

Arrays are C-contiguous: currents (T or 1, R, C), R rows of C channels per tick; a single tick of
currents stands for T equal ones. Work is shared out over torch's number of threads in ranges of
rows, in a fixed order, so that results depend on nothing but that number.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numba
import numpy as np
import torch

from train.backends.backend import SHAPES

BLOCK = 4096
"""Neurons a kernel takes at a time: all their ticks stay in the second cache."""
SERIAL = 1 << 16
"""Below so many values threads cost more than they bring."""

jit = numba.njit(nogil=True, cache=True, error_model="numpy")


def keep_memory() -> None:
    """Tell the C library to keep large freed blocks instead of returning them to the system.

    A training step frees and takes the same gigabytes over and over; fetching them anew, page by
    page, costs about a quarter of a step (benchmarks/RESULTS.md). Only glibc can be told.
    """
    mmap_max, trim_threshold = -4, -1  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def share_rows(work: Callable[[int, int], object], rows: int, values: int) -> list:
    """Call work(first, last) on ranges of rows that together are all of them; results in order."""
    threads = 1 if values < SERIAL else min(torch.get_num_threads(), rows)
    if threads == 1:
        return [work(0, rows)]
    cuts = [rows * i // threads for i in range(threads + 1)]
    return list(_pool(threads).map(work, cuts[:-1], cuts[1:]))


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Sum and sum of squares per channel of x float32 (rows, C): float64 (2, C)."""
    return sum(share_rows(lambda a, b: _channel_sums(x[a:b]), len(x), x.size))


def fire(x: np.ndarray, gain: np.ndarray, shift: np.ndarray, r: np.ndarray, ticks: int,
         scale: float, keep: float, threshold: float, leaks: int = 1) -> np.ndarray:
    """Spikes float32 (T, R, C) of currents gain * x + shift; r (R, C) in grid units is updated.

    Args:
        x: float32 (T or 1, R, C).
        gain, shift: float32 (C,).
        scale: grid units per 1; `threshold` and r are in grid units.
        keep: fraction of the membrane kept per leak, a multiple of 1/4096.
        leaks: leaks per tick, 1, 2 or 4, each truncated.
    """
    rows, channels = r.shape
    spikes = np.empty((ticks, rows, channels), np.float32)
    x, r, flat = flat_rows(x), r.reshape(-1), flat_rows(spikes)
    gain, shift = tile(gain), tile(shift)

    share_rows(lambda a, b: _fire(a * channels, b * channels, x, gain, shift, r, flat, scale, keep,
                              threshold, leaks, _narrow(keep)), rows, spikes.size)
    return spikes


def flat_rows(x: np.ndarray) -> np.ndarray:
    """(T, R, C) as (T, R * C)."""
    return x.reshape(len(x), -1)


def tile(values: np.ndarray) -> np.ndarray:
    """Per-channel values repeated to a block."""
    return np.tile(values, max(1, BLOCK // len(values)))


def _narrow(keep: float) -> bool:
    return math.log2(keep).is_integer()


def fire_backward(x: np.ndarray, gain: np.ndarray, shift: np.ndarray, r0: np.ndarray,
                  grad_spikes: np.ndarray, grad_r: np.ndarray, scale: float, keep: float,
                  threshold: float, leaks: int, surrogate: tuple[str, float, float, float],
                  through: bool) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of `fire` with respect to gain * x + shift, of the shape of x.

    Args:
        x, gain, shift, scale, keep, threshold, leaks: as in `fire`.
        r0: membranes before the first tick, grid units (R, C).
        grad_spikes: float32 (T, R, C).
        grad_r: gradient of the membranes after the last tick (in units of 1), float32 (R, C);
            becomes that of the membranes before the first.
        surrogate: shape, center, width and scale of train.backends.backend.Surrogate.
        through: whether the gradient goes through the reset.

    Returns:
        the gradient, and float64 (2, C): its sum per channel, and that of gradient * x.
    """
    ticks, rows, channels = grad_spikes.shape
    grad = np.empty_like(x)
    x, above, out = (flat_rows(values) for values in (x, grad_spikes, grad))
    r0, carry = r0.reshape(-1), grad_r.reshape(-1)
    gain, shift = tile(gain), tile(shift)

    shape, *sizes = surrogate
    slope = SHAPES.index(shape), *map(np.float32, sizes)
    sums = sum(share_rows(
        lambda a, b: _fire_backward(a * channels, b * channels, x, gain, shift, r0, above, carry,
                                    out, scale, keep, threshold, leaks, _narrow(keep), *slope,
                                    through),
        rows, grad_spikes.size))
    return grad, sums.reshape(2, -1, channels).sum(axis=1)


def affine(grad: np.ndarray, x: np.ndarray, p: np.ndarray, q: np.ndarray, w: np.ndarray) -> None:
    """grad <- p * grad + q * x + w, all per channel; grad, x float32 (rows, C)."""
    share_rows(lambda a, b: _affine(grad[a:b], x[a:b], p, q, w), len(grad), grad.size)


@jit
def _channel_sums(x):
    rows, channels = x.shape
    out = np.zeros((2, channels))
    for i in range(rows):
        for c in range(channels):
            value = np.float64(x[i, c])
            out[0, c] += value
            out[1, c] += value * value
    return out


# The two loops below run over blocks of neurons that lie next to each other, whole rows of them;
# gain and shift come tiled to a block, so that the inner loops are long and plain: LLVM vectorises
# them as long as the arrays are contiguous, hence `begin` and `end` in place of slices.


@jit
def _membrane(before, current, scale, keep, leaks, narrow):
    """The membrane after a tick, in grid units. Membranes are integers: float32 holds them and
    their product with a power of two; for any other fraction kept the product needs float64."""
    if narrow and leaks == 1:
        leaked = np.trunc(before * np.float32(keep))
    else:
        wide = np.trunc(np.float64(before) * keep)
        if leaks > 1:  # no loop: one with a variable end would not vectorise
            wide = np.trunc(wide * keep)
        if leaks > 2:
            wide = np.trunc(np.trunc(wide * keep) * keep)
        leaked = np.float32(wide)
    return leaked + np.trunc(current * scale)


@jit
def _fire(begin, end, x, gain, shift, r, spikes, scale, keep, threshold, leaks, narrow):
    ticks = len(spikes)
    still = len(x) == 1
    scale, threshold = np.float32(scale), np.float32(threshold)
    for first in range(begin, end, len(gain)):
        size = min(len(gain), end - first)
        state = r[first:first + size]
        for t in range(ticks):
            here = x[0 if still else t][first:first + size]
            out = spikes[t][first:first + size]
            for m in range(size):
                v = _membrane(state[m], gain[m] * here[m] + shift[m], scale, keep, leaks, narrow)
                over = v > threshold
                out[m] = np.float32(1) if over else np.float32(0)
                state[m] = np.float32(0) if over else v


@jit
def slope_of(v, out, unit, shape, center, width, area):
    """backend.Surrogate.derivative of membranes in grid units: a plain loop per shape, as LLVM does
    not vectorise one that chooses. `area` is the surrogate's scale."""
    one, two = np.float32(1), np.float32(2)
    half, height, steep, decay = width / two, area / width, one / width, two / width
    if shape == 0:
        for m in range(len(v)):
            out[m] = height if abs(v[m] * unit - center) < half else np.float32(0)
    elif shape == 1:
        for m in range(len(v)):
            distance = abs(v[m] * unit - center)
            out[m] = (one - distance * steep) * height if distance < width else (
                np.float32(0))
    else:
        for m in range(len(v)):
            out[m] = height * np.exp(-abs(v[m] * unit - center) * decay)


@jit
def _fire_backward(begin, end, x, gain, shift, r0, grad_spikes, grad_r, grad, scale, keep,
                   threshold, leaks, narrow, shape, center, width, area, through):
    ticks = len(grad_spikes)
    still = len(x) == 1
    unit, scale, threshold = np.float32(1 / scale), np.float32(scale), np.float32(threshold)
    fraction, one = np.float32(keep**leaks), np.float32(1)
    v = np.empty((ticks, len(gain)), np.float32)
    state, slope = np.empty(len(gain), np.float32), np.empty(len(gain), np.float32)
    plain, times_x = np.empty(len(gain), np.float32), np.empty(len(gain), np.float32)
    sums = np.zeros((2, len(gain)))
    for first in range(begin, end, len(gain)):
        size = min(len(gain), end - first)
        state[:size] = r0[first:first + size]
        for t in range(ticks):  # the membranes again
            here, out = x[0 if still else t][first:first + size], v[t]
            for m in range(size):
                value = _membrane(state[m], gain[m] * here[m] + shift[m], scale, keep, leaks,
                                  narrow)
                out[m] = value
                state[m] = np.float32(0) if value > threshold else value
        carry = grad_r[first:first + size]
        plain[:size] = 0
        times_x[:size] = 0
        for t in range(ticks - 1, -1, -1):
            here, values = x[0 if still else t][first:first + size], v[t]
            above = grad_spikes[t][first:first + size]
            out = grad[0 if still else t][first:first + size]
            slope_of(values[:size], slope, unit, shape, center, width, area)
            for m in range(size):
                stay = one
                if through:
                    stay = ((np.float32(0) if values[m] > threshold else stay)
                            - slope[m] * (values[m] * unit))
                g = above[m] * slope[m] + carry[m] * stay
                carry[m] = g * fraction
                out[m] = g
            # Loops of their own: with more arrays in one LLVM gives up on vectorising it.
            for m in range(size):
                plain[m] += out[m]
            for m in range(size):
                times_x[m] += out[m] * here[m]
            if still:
                out[:] = plain[:size]
        for m in range(size):
            sums[0, m] += plain[m]
            sums[1, m] += times_x[m]
    return sums


@jit
def _affine(grad, x, p, q, w):
    rows, channels = grad.shape
    for i in range(rows):
        for c in range(channels):
            grad[i, c] = p[c] * grad[i, c] + q[c] * x[i, c] + w[c]
