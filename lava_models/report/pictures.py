"""Pictures of a run: image grids and a spike raster of the latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hw_configs.files import replacing

GRID_COLUMNS = 16
MIN_SIDE = 64
"""Small images are enlarged (without smoothing) to at least this many pixels."""


def save_grid(images: np.ndarray, path: Path, columns: int = GRID_COLUMNS) -> None:
    """Write images (N, C, H, W) in [-1, 1] as one PNG, row by row."""
    n, c, h, w = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows * (h + 1) + 1, columns * (w + 1) + 1, c), 96, np.uint8)
    pixels = np.clip((images + 1) * 127.5, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    for i, image in enumerate(pixels):
        y, x = (i // columns) * (h + 1) + 1, (i % columns) * (w + 1) + 1
        sheet[y:y + h, x:x + w] = image
    picture = Image.fromarray(sheet[..., 0] if c == 1 else sheet)
    zoom = max(1, -(-MIN_SIDE // h))
    with replacing(path) as file:
        picture.resize((picture.width * zoom, picture.height * zoom), Image.NEAREST).save(
            file, format="PNG")


def save_pairs(inputs: np.ndarray, outputs: np.ndarray, path: Path) -> None:
    """Write inputs beside their reconstructions: pairs (in, out) row by row."""
    pairs = np.stack([inputs, outputs], axis=1).reshape(-1, *inputs.shape[1:])
    save_grid(pairs, path)


def save_raster(latents: np.ndarray, path: Path, title: str) -> None:
    """Write the latent spikes bool (S, T, C) of up to 8 samples as a raster."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = latents[:8]
    samples, ticks, channels = shown.shape
    at, channel = np.nonzero(shown.reshape(samples * ticks, channels))
    figure, axes = plt.subplots(figsize=(10, 3.5), layout="constrained")
    axes.scatter(at + 1, channel, s=max(1.0, 300 / channels), marker="|", color="black")
    for i in range(1, samples):
        axes.axvline(i * ticks + 0.5, color="tab:blue", linewidth=0.8)
    axes.set(xlim=(0.5, samples * ticks + 0.5), ylim=(-1, channels),
             xlabel=f"tick (a line every T = {ticks}: next sample)", ylabel="latent channel",
             title=title)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
    plt.close(figure)


MOST_ROWS = 2000
"""Neurons of a layer that a raster shows, evenly spread."""


def save_layer_rasters(rasters: dict[str, np.ndarray], path: Path, title: str) -> None:
    """Write what each layer sends in one sample, (T, n) by name: dark is a message."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(len(rasters), figsize=(10, 1 + 1.1 * len(rasters)),
                                layout="constrained", sharex=True, squeeze=False)
    for axes, (name, sent) in zip(rows[:, 0], rasters.items()):
        shown = (sent[:, ::-(-sent.shape[1] // MOST_ROWS)] != 0).T
        axes.imshow(shown, aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest",
                    extent=(0.5, sent.shape[0] + 0.5, sent.shape[1], 0))
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_yticks([0, sent.shape[1]])
    rows[-1, 0].set_xlabel("timestep of the sample, from each layer's first on")
    figure.suptitle(title)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
    plt.close(figure)


def save_readout(readout: np.ndarray, path: Path, what: str) -> None:
    """Write what every sample's output says, (S, n), as a picture: samples by neurons."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 3.5), layout="constrained")
    if min(readout.shape) == 1:
        values = readout.ravel()
        axes.plot(np.arange(values.size), values, marker="o", linewidth=0.8)
        axes.set(xlabel="output neuron" if len(readout) == 1 else "sample", ylabel=what)
    else:
        shown = axes.imshow(readout, aspect="auto", interpolation="nearest")
        figure.colorbar(shown, label=what)
        axes.set(xlabel="output neuron", ylabel="sample")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
    plt.close(figure)
