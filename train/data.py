"""Images as uint8 tensors (N, C, H, W) in memory, and their way to [-1, 1].

Torchvision reads the public data sets; `digits` comes with scikit-learn and needs no download.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Generator, Tensor
from torchvision import datasets
from torchvision.transforms import functional as TF

from hw_configs.files import UserError
from hw_configs.pictures import open_picture, pictures_in
from hw_configs.reading import DATA, check_input
from train.config import RunConfig

Split = Literal["train", "test"]
DIGITS_TRAIN = 1500
"""The first 1 500 of scikit-learn's 1 797 digits train, the rest test."""
_TORCHVISION = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST,
                "cifar10": datasets.CIFAR10, "celeba": datasets.CelebA}
_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "cifar-10-batches-py",
            "celeba": "celeba"}


def load_images(config: RunConfig, split: Split, limit: int | None = None) -> Tensor:
    """Images of a split: uint8 (N, C, H, W), resized as the paper does (PIL, bilinear).

    Args:
        limit: read only the first so many.

    Raises:
        UserError: the data is not there (says how to get it), or an image cannot be read.
    """
    m, each = config.model, max(config.crops, 1)
    pictures = _pictures(config, split)
    count = len(pictures) * each if limit is None else min(limit, len(pictures) * each)
    out = torch.empty((count, m.image_channels, m.image_size, m.image_size),
                      dtype=torch.uint8)
    mode = "L" if m.image_channels == 1 else "RGB"
    for i in track(range(count), f"reading {config.dataset} ({split})", transient=True,
                   disable=count < 5000):
        picture = pictures[i // each].convert(mode)
        if config.dataset == "celeba":
            picture = TF.center_crop(picture, 148)
        if config.crops:
            picture = _cut(picture, m.image_size, i)
        elif config.dataset == "folder":
            picture = TF.center_crop(picture, min(picture.size))
        picture = TF.resize(picture, [m.image_size, m.image_size])
        array = np.asarray(picture).reshape(m.image_size, m.image_size, -1)
        out[i] = torch.from_numpy(array.copy()).permute(2, 0, 1)
    return out


def to_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def augmentation(config: RunConfig) -> bool:
    """Whether training flips images left to right (as the paper: CIFAR-10 and CelebA)."""
    return config.flip or config.dataset in ("cifar10", "celeba")


def split_validation(images: Tensor, share: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """(training, validation) images, split at random."""
    order = torch.randperm(len(images), generator=generator)
    held = max(1, round(share * len(images)))
    return images[order[held:]], images[order[:held]]


def _cut(picture: Image.Image, size: int, number: int) -> Image.Image:
    """A square of `size` at a place that follows from the crop's number.

    Raises:
        UserError: the picture is smaller.
    """
    if min(picture.size) < size:
        raise UserError(f"--crops: an image of {picture.width} x {picture.height} holds no square "
                        f"of {size}; use a smaller --image-size")
    room = torch.tensor([picture.width - size + 1, picture.height - size + 1])
    left, top = (torch.rand(2, generator=Generator().manual_seed(number)) * room).long().tolist()
    return picture.crop((left, top, left + size, top + size))


class _Pictures:
    """len() and [i] -> PIL image, whatever is behind."""

    def __init__(self, length: int, get) -> None:
        self._length, self._get = length, get

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Image.Image:
        return self._get(index)


def _pictures(config: RunConfig, split: Split) -> _Pictures:
    if config.dataset == "digits":
        from sklearn.datasets import load_digits

        every = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
        mine = every[:DIGITS_TRAIN] if split == "train" else every[DIGITS_TRAIN:]
        return _Pictures(len(mine), lambda i: Image.fromarray(mine[i]))
    if config.dataset == "folder":
        files = pictures_in(config.data_dir, split)
        return _Pictures(len(files), lambda i: open_picture(files[i]))
    which = {"split": split} if config.dataset == "celeba" else {"train": split == "train"}
    root = config.data_dir / _FOLDERS[config.dataset]
    for file in root.glob("*" if config.dataset == "celeba" else "**/*"):
        if not file.is_dir():
            check_input(file, DATA)
    try:
        source = _TORCHVISION[config.dataset](config.data_dir, download=config.download, **which)
    except (ValueError, TypeError, AssertionError, LookupError, EOFError):
        # torchvision's ways to say that bytes are damaged
        raise UserError(f"{root}: not the data set as published (damaged or cut short); fetch it "
                        "again") from None
    except (RuntimeError, OSError) as error:
        if "not found or corrupted" not in str(error) and config.download:
            raise UserError(f"{config.data_dir}: downloading {config.dataset} failed: "
                            f"{str(error).splitlines()[0]}") from None
        raise UserError(
            f"{config.data_dir}: no {config.dataset} there (expected torchvision's layout); give "
            "its folder with --data-dir, or let torchvision fetch it with --download") from None
    if config.dataset == "celeba":
        return _Pictures(len(source), lambda i: open_picture(
            root / "img_align_celeba" / source.filename[i]))
    return _Pictures(len(source), lambda i: source[i][0])
