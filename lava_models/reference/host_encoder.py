"""What the host computes of a Poisson VAE, in floating point: the encoder and its exponential.

A chip has no exponential of a real number; the decoder, the counts and, to generate, everything run
on it.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lava_models.net.netfile import HostLayer, NetFile

LOG_RATIO_MAX, RATE_MIN = 10.0, 1.2e-7
"""As train.models.poisson's."""


def host_rates(net: NetFile, images: np.ndarray) -> np.ndarray:
    """Expected counts float64 (B, K) of images float (B, C, H, W) in [-1, 1]."""
    x = (np.asarray(images, np.float64) + 1) / 2
    for layer in net.poisson.encoder:
        if layer.weight.ndim == 4 and x.ndim == 2:  # whitened pixels, a map again
            x = x.reshape(-1, *net.image_shape)
        x = _run(layer, x)
    log_ratio = _soft_clamp(x, LOG_RATIO_MAX)
    log_rate = _soft_clamp(net.poisson.log_prior + log_ratio, net.poisson.log_rate_max)
    return np.exp(log_rate) + RATE_MIN


def host_chances(net: NetFile, images: np.ndarray) -> np.ndarray:
    """Chance of a spike per tick, in 1/2^b: int32 (B, K)."""
    return net.selection.chances(host_rates(net, images), net.ticks)


def _soft_clamp(x: np.ndarray, most: float) -> np.ndarray:
    return most - np.logaddexp(0, most - x)


def _run(layer: HostLayer, x: np.ndarray) -> np.ndarray:
    if layer.weight.ndim == 2:
        y = x.reshape(len(x), -1) @ layer.weight.T + layer.bias
    else:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
        y = np.tensordot(windows, layer.weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        y = y + layer.bias[:, None, None]
    return np.where(y > 0, y, layer.slope * y)
