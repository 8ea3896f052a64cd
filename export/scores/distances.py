"""Scores of generated images: Fréchet distance of autoencoder codes, FID, Inception Score.

`Frechet` follows the FSVAE authors' scorer, `Inception` is torchmetrics' with weights that the user
supplies. Both take images (N, C, H, W) in [-1, 1].
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import linalg
from torch import Tensor, nn

from export.scores.autoencoder import Autoencoder
from hw_configs.files import UserError
from hw_configs.reading import CHECKPOINT, check_input
from train.torch_file import read_torch

SAMPLES = 5120
"""Images scored: 20 batches of 256 (the paper says 5 000)."""


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features, float64."""

    mean: np.ndarray
    """(d,)."""
    covariance: np.ndarray
    """Unbiased, (d, d)."""

    @classmethod
    def of(cls, features: Tensor) -> "Gaussian":
        """Of features (N, d).

        Raises:
            UserError: fewer than two images.
        """
        if len(features) < 2:
            raise UserError(f"{len(features)} images: a Fréchet distance needs at least 2")
        values = features.numpy()
        return cls(values.mean(axis=0), np.cov(values, rowvar=False))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|mean difference|^2 + tr(A + B - 2 sqrt(A B)).

    The trace of the root is the sum of the roots of AB's eigenvalues, which are real and not
    negative up to rounding.
    """
    roots = np.sqrt(linalg.eigvals(a.covariance @ b.covariance).astype(complex)).real.sum()
    return float(np.sum((a.mean - b.mean) ** 2)
                 + np.trace(a.covariance) + np.trace(b.covariance) - 2 * roots)


@dataclass(frozen=True)
class FrechetScore:
    """Distance to the test set, in two modes of the autoencoder's batch normalisation."""

    train_bn: float
    """Normalised by each batch of 256, as every published figure was: depends on the batches."""
    eval_bn: float
    """Normalised by trained statistics: depends on the images alone."""
    images: int


class Frechet:
    """Scores against one reference set.

    Args:
        autoencoder: of export.scores.autoencoder.
        reference: the test set, in its order (batches matter in train mode).

    Raises:
        UserError: the images do not fit the autoencoder.
    """

    def __init__(self, autoencoder: Autoencoder, reference: Tensor) -> None:
        if tuple(reference.shape[1:]) != autoencoder.image_shape:
            raise UserError(f"the autoencoder takes images of {autoencoder.image_shape}, these "
                            f"are {tuple(reference.shape[1:])}; train one for them with "
                            "train-autoencoder")
        self.autoencoder = autoencoder
        self._references = {mode: self._gaussian(reference, mode) for mode in (True, False)}

    def _gaussian(self, images: Tensor, batch_statistics: bool) -> Gaussian:
        return Gaussian.of(self.autoencoder.features(images, batch_statistics=batch_statistics))

    def score(self, images: Tensor) -> FrechetScore:
        """Distances of generated images to the reference set."""
        train, evaluation = (frechet_distance(self._gaussian(images, mode), reference)
                             for mode, reference in self._references.items())
        return FrechetScore(train, evaluation, len(images))


@dataclass(frozen=True)
class InceptionScore:
    """Scores in Inception v3's features; on MNIST a mere convention."""

    fid: float
    inception_score: float
    """Mean over 10 splits."""
    images: int


class Inception:
    """FID and Inception Score through torchmetrics.

    Args:
        features: (N, 3, H, W) uint8 -> (N, d).
        logits: (N, 3, H, W) uint8 -> (N, classes).
        reference: the test set.
        device: where they run.
    """

    def __init__(self, features: nn.Module, logits: nn.Module, reference: Tensor,
                 device: torch.device | str = "cpu") -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.inception import InceptionScore as Score

        self._fid = FrechetInceptionDistance(feature=features, reset_real_features=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it keeps the logits: 20 MB
            self._score = Score(feature=logits, splits=10)
        self._device = device
        self._fid, self._score = self._fid.to(device), self._score.to(device)
        for batch in reference.split(256):
            self._fid.update(_to_rgb(batch).to(device), real=True)

    @classmethod
    def from_weights(cls, path: Path, reference: Tensor, device: torch.device | str = "cpu"
                     ) -> "Inception":
        """With torch-fidelity's Inception v3 (`weights-inception-2015-12-05-6726825d.pth`).

        Raises:
            UserError: the file is missing or is something else.
        """
        check_input(path, CHECKPOINT, "FID and Inception Score need Inception v3's weights, "
                    "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's release v0.2.0 "
                    "(91 MB, not downloaded here)")
        from torchmetrics.image.fid import NoTrainInceptionV3

        try:
            read_torch(path, "tensors", checksums=False)  # torch-fidelity would run what is in it
            networks = [NoTrainInceptionV3("inception-v3-compat", [layer], str(path))
                        for layer in ("2048", "logits_unbiased")]
        except Exception as error:  # whatever unpickling a stranger's file raises
            raise UserError(f"{path}: not torch-fidelity's Inception v3 weights "
                            f"({type(error).__name__})") from None
        return cls(*networks, reference, device)

    def score(self, images: Tensor) -> InceptionScore:
        """Scores of generated images."""
        self._fid.reset()  # keeps the reference
        self._score.reset()
        for batch in images.split(256):
            pixels = _to_rgb(batch).to(self._device)
            self._fid.update(pixels, real=False)
            self._score.update(pixels)
        # torchmetrics shuffles with torch's global generator: give it one of its own.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            mean, _ = self._score.compute()
        return InceptionScore(self._fid.compute().item(), mean.item(), len(images))


def _to_rgb(images: Tensor) -> Tensor:
    """[-1, 1] to uint8, gray repeated to three channels."""
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1)
