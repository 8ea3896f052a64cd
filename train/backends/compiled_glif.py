"""Gated neurons (train.layers.glif) in compiled loops for the CPU, as compiled.py has LIF."""

from __future__ import annotations

import numpy as np

from train.backends.backend import SHAPES
from train.backends.compiled import flat_rows, jit, share_rows, slope_of, tile


def fire_gated(x: np.ndarray, u: np.ndarray, keep: np.ndarray, leak: np.ndarray,
               reset: np.ndarray, subtract: np.ndarray, threshold: np.ndarray,
               gain: np.ndarray) -> np.ndarray:
    """Spikes float32 (T, R, C) of gated neurons (train.layers.glif); u (R, C) is updated.

    Args:
        x: currents float32 (T or 1, R, C).
        u: membranes before the reset, float32.
        keep, leak, reset, subtract, threshold: of GlifValues, float32 (C,).
        gain: float32 (T, C).
    """
    rows, channels = u.shape
    spikes = np.empty((len(gain), rows, channels), np.float32)
    x, u, flat = flat_rows(x), u.reshape(-1), flat_rows(spikes)
    values = [tile(v) for v in (keep, leak, reset, subtract, threshold)]
    gain = np.stack([tile(row) for row in gain])
    share_rows(lambda a, b: _fire_gated(a * channels, b * channels, x, u, flat, *values, gain),
               rows, spikes.size)
    return spikes


def fire_gated_backward(x: np.ndarray, u0: np.ndarray, grad_spikes: np.ndarray,
                        grad_u: np.ndarray, fresh: bool,
                        surrogate: tuple[str, float, float, float],
                        *values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of `fire_gated` with respect to x and, summed per channel, to its values.

    Args:
        x, values: as in `fire_gated`.
        u0: membranes before the first tick.
        grad_spikes: float32 (T, R, C).
        grad_u: gradient of the membranes after the last tick, float32 (R, C); becomes that of the
            membranes before the first.
        fresh: whether there is nothing before the first tick, where no gradient goes.
        surrogate: as in `kernels.fire_backward`, its center counted from the threshold.

    Returns:
        the gradient of the shape of x, and float64 (5 + T, C): of keep, leak, reset, subtract,
        threshold and gain.
    """
    ticks, rows, channels = grad_spikes.shape
    grad = np.empty_like(x)
    x, above, out = (flat_rows(values) for values in (x, grad_spikes, grad))
    u0, carry = u0.reshape(-1), grad_u.reshape(-1)
    *values, gain = values
    tiled = [tile(v) for v in values]
    gain = np.stack([tile(row) for row in gain])
    shape, *sizes = surrogate
    slope = SHAPES.index(shape), *map(np.float32, sizes)
    sums = sum(share_rows(
        lambda a, b: _fire_gated_backward(a * channels, b * channels, x, u0, above, carry, out,
                                          fresh, *tiled, gain, *slope),
        rows, grad_spikes.size))
    return grad, sums.reshape(5 + ticks, -1, channels).sum(axis=1)


@jit
def _gated(u, current, keep, leak, reset, subtract, threshold):
    """The gated neuron's next membrane."""
    if u > threshold:
        return keep * (u * (np.float32(1) - reset)) - leak + current - subtract
    return keep * u - leak + current


@jit
def _fire_gated(begin, end, x, u, spikes, keep, leak, reset, subtract, threshold, gain):
    ticks = len(spikes)
    still = len(x) == 1
    for first in range(begin, end, len(keep)):
        size = min(len(keep), end - first)
        state = u[first:first + size]
        for t in range(ticks):
            here, factor = x[0 if still else t][first:first + size], gain[t]
            out = spikes[t][first:first + size]
            for m in range(size):
                v = _gated(state[m], factor[m] * here[m], keep[m], leak[m], reset[m], subtract[m],
                           threshold[m])
                out[m] = np.float32(1) if v > threshold[m] else np.float32(0)
                state[m] = v


@jit
def _fire_gated_backward(begin, end, x, u0, grad_spikes, grad_u, grad, fresh, keep, leak, reset,
                         subtract, threshold, gain, shape, center, width, area):
    ticks = len(grad_spikes)
    still = len(x) == 1
    zero, one = np.float32(0), np.float32(1)
    # Membranes before the first tick, then after each.
    v = np.empty((ticks + 1, len(keep)), np.float32)
    over, slope = np.empty(len(keep), np.float32), np.empty(len(keep), np.float32)
    plain = np.empty(len(keep), np.float32)
    sums = np.zeros((5 + ticks, len(keep)))
    for first in range(begin, end, len(keep)):
        size = min(len(keep), end - first)
        v[0, :size] = u0[first:first + size]
        for t in range(ticks):
            here, factor = x[0 if still else t][first:first + size], gain[t]
            before, after = v[t], v[t + 1]
            for m in range(size):
                after[m] = _gated(before[m], factor[m] * here[m], keep[m], leak[m], reset[m],
                                  subtract[m], threshold[m])
        # Gradient of the membrane one tick later, by its equation; that of the last from outside.
        carry = grad_u[first:first + size]
        later = np.zeros(size, np.float32)
        plain[:size] = 0
        for t in range(ticks - 1, -1 if fresh else -2, -1):
            values = v[t + 1]
            for m in range(size):
                over[m] = values[m] - threshold[m]
            slope_of(over[:size], slope, one, shape, center, width, area)
            for m in range(size):
                fired = one if over[m] > zero else zero
                after = later[m]
                above = grad_spikes[t][first + m] if t >= 0 else zero
                of_spike = above - after * (keep[m] * reset[m] * values[m] + subtract[m])
                stay = one - reset[m] * fired
                of_u = of_spike * slope[m] + after * keep[m] * stay
                if t == ticks - 1:
                    of_u += carry[m]
                sums[0, m] += after * values[m] * stay
                sums[2, m] -= after * keep[m] * values[m] * fired
                sums[3, m] -= after * fired
                sums[4, m] -= of_spike * slope[m]
                later[m] = of_u
            if t < 0:
                break
            here, factor = x[0 if still else t][first:first + size], gain[t]
            out, of_gain = grad[0 if still else t][first:first + size], sums[5 + t]
            for m in range(size):
                g = later[m]
                sums[1, m] -= g
                of_gain[m] += g * here[m]
                plain[m] += g * factor[m]
                out[m] = plain[m] if still else g * factor[m]
        carry[:] = later
    return sums
