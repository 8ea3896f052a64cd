"""Pictures of a linear decoder's dictionary and of its units' rates."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid


def draw_dictionary(features: Tensor, columns: int = 32) -> Image.Image:
    """Features (K, C, H, W) as tiles, gray where 0, each scaled by its largest value."""
    size = features.abs().flatten(1).amax(dim=1).clamp(min=1e-12)
    tiles = (features / size[:, None, None, None] + 1) / 2
    grid = make_grid(tiles, nrow=columns, padding=1, pad_value=1.0)
    return to_pil_image(grid.clamp(0, 1).to(torch.float32))


def draw_rates(prior: np.ndarray, posterior: np.ndarray, silent: float) -> Image.Image:
    """Histograms of prior rates (K,) and of posterior rates (N, K), both per image and unit."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    low = max(min(prior.min(), np.quantile(posterior, 0.001)), 1e-7)
    bins = np.geomspace(low, max(posterior.max(), prior.max()), 60)
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for values, name in ((posterior.ravel(), "posterior, all images"), (prior, "prior")):
        axes.hist(values, bins=bins, weights=np.full(values.size, 100 / values.size), alpha=0.6,
                  label=name)
    axes.set(xscale="log", xlabel="rate: expected spikes per image and unit", ylabel="% of units",
             title=f"{len(prior)} units, {silent:.0%} silent, {posterior.sum(1).mean():.1f} spikes "
                   "per image")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return Image.open(buffer)
