"""Neurons in one pass of integers, as the chip's registers hold them, compiled for the CPU.

Strict: a synaptic sum that its 16-bit port cannot take, or a membrane beyond 24 bits, is an error
here, where Lava's CPU ports would silently widen.
"""

from __future__ import annotations

import numba
import numpy as np

PORT_MAX, STATE_MAX = 2**15 - 1, 2**23 - 1
BLOCK = 4096
"""Neurons taken at a time, which stay in the first cache."""
FINE, PORT, MEMBRANE = 0, 1, 2
OVERFLOWS = {PORT: f"a synaptic sum is beyond {PORT_MAX}",
             MEMBRANE: f"a membrane is beyond {STATE_MAX}"}

FIRE = "int64(int32[::1], float32[::1], int32[::1], int32, int64, int32, uint8[::1])"
FIRE_GATED = ("int64(int32[:,::1], uint8[:,::1], float32[:,::1], int32[::1], int64[::1], int64, "
              "int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], uint8[:,::1])")
"""Declared, so that they are compiled on import, before Lava forks its processes."""


@numba.njit
def _leak(v, keep):
    """v * keep / 4096, towards zero."""
    for i in range(len(v)):
        size = np.int32(abs(v[i]))
        high = np.int32((size >> 12) * keep)
        low = np.int32(np.int32(size & 4095) * keep)
        size = np.int32(high + (low >> 12))
        v[i] = np.int32(-size) if v[i] < 0 else size


@numba.njit
def _add_and_fire(v, sums, bias, threshold, spikes):
    most = largest = np.int32(0)
    for i in range(len(v)):
        total = np.int32(np.int32(sums[i]) + bias[i])
        membrane = np.int32(v[i] + np.int32(total << 6))
        most = max(most, np.int32(abs(total)))
        largest = max(largest, np.int32(abs(membrane)))
        fired = membrane > threshold
        spikes[i] = fired
        v[i] = np.int32(0) if fired else membrane
    if most > PORT_MAX:
        return PORT
    return MEMBRANE if largest > STATE_MAX else FINE


@numba.njit(FIRE, nogil=True, cache=True)
def fire(v, sums, bias, keep, leaks, threshold, spikes):
    """Leak, add the wave's sums, fire, reset; returns FINE, or which register overflowed.

    In 32 bits throughout, so that a vector instruction takes eight neurons: of a membrane's two
    halves 4096 * high + low each times `keep` fits.

    Args:
        v: membranes, int32 (n * B,), changed in place.
        sums: float32 (n * B,), integers.
        bias: int32 (n * B,).
        keep: 4096 - dv.
        leaks: timesteps since the wave before.
        threshold: in units of the membrane; STATE_MAX where the neurons do not fire.
        spikes: uint8 (n * B,), written.
    """
    state = FINE
    for start in range(0, len(v), BLOCK):
        part = v[start:start + BLOCK]
        for _ in range(leaks):
            _leak(part, keep)
        found = _add_and_fire(part, sums[start:start + BLOCK], bias[start:start + BLOCK],
                              threshold, spikes[start:start + BLOCK])
        state = state if found == FINE else found
    return state


@numba.njit
def _share(value, factor):
    """value * factor / 4096, towards zero."""
    if value < 0:
        return -((-value * factor) >> 12)
    return (value * factor) >> 12


@numba.njit(FIRE_GATED, nogil=True, cache=True)
def fire_gated(v, fired, sums, bias, keep, leaks, gain, leak, subtract, threshold, left, spikes):
    """As `fire`, for layers.Glif and (n, B), with bias int32 (n,); the arguments from `keep` to
    `left` are int64 (n,), `left` what a spike leaves of a membrane, in 1/4096; `fired` uint8
    (n, B), spikes of the wave before.
    """
    state = FINE
    for i in range(v.shape[0]):
        for lane in range(v.shape[1]):
            membrane = np.int64(v[i, lane])
            for _ in range(leaks):
                membrane = _share(membrane, keep[i])
            total = np.int64(sums[i, lane]) + bias[i]
            if abs(total) > PORT_MAX:
                state = PORT
            membrane += _share(64 * total, gain[i]) - leak[i]
            if fired[i, lane]:
                membrane -= subtract[i]
            if abs(membrane) > STATE_MAX and state == FINE:
                state = MEMBRANE
            over = membrane > threshold[i]
            fired[i, lane] = spikes[i, lane] = over
            v[i, lane] = _share(membrane, left[i]) if over else membrane
    return state
