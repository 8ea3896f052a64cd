"""Test images for the running side, without torch: the same pixels as train/data.py gives.

A model.net says its image shape; everything else (which split, which resize) follows the paper:
PIL's bilinear filter to the network's size, pixels to [-1, 1].
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import math
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hw_configs.files import UserError
from hw_configs.pictures import open_picture, pictures_in
from hw_configs.reading import DATA, LIST, read_bytes, read_text

DIGITS_TRAIN = 1500
_CIFAR10_TEST_MD5 = "40351d587109b95175f43aff81a1287e"
_CELEBA_TEST = "2"
"""Split number in CelebA's list_eval_partition.txt."""


def load_images(dataset: str, data_dir: Path, count: int, shape: tuple[int, int, int]
                ) -> np.ndarray:
    """The first `count` test images in [-1, 1], float32 (count, C, H, W).

    Args:
        dataset: a key of `DATASETS`.
        data_dir: folder of the data set, in torchvision's layout or a folder of images.
        shape: (C, H, W) of the network.

    Raises:
        UserError: unknown data set, data not there, too few images, or a size that does not fit.
    """
    if dataset not in DATASETS:
        close = difflib.get_close_matches(dataset, DATASETS, 1)
        raise UserError(f"unknown data set '{dataset}'"
                        + (f" (did you mean '{close[0]}'?)" if close else "")
                        + f"; known: {', '.join(DATASETS)}")
    channels, height, width = shape
    if height != width or channels not in (1, 3):
        raise UserError(f"the network takes {channels} x {height} x {width} images; data sets are "
                        "read as square images of 1 or 3 channels")
    pictures, colour = DATASETS[dataset](Path(data_dir), count)
    if colour != (channels == 3) and dataset != "folder":
        raise UserError(f"{dataset} has {'3 channels' if colour else '1 channel'}, the network "
                        f"takes {channels}; use a network trained on it")
    if len(pictures) < count:
        raise UserError(f"{dataset}: {count} images wanted, the test set has {len(pictures)}; "
                        "ask for fewer with --samples")
    mode = "L" if channels == 1 else "RGB"
    arrays = [np.asarray(picture().convert(mode).resize((width, height), Image.BILINEAR))
              for picture in pictures]
    stacked = np.stack(arrays).reshape(count, height, width, channels).transpose(0, 3, 1, 2)
    return stacked.astype(np.float32) / np.float32(127.5) - 1


_Pictures = tuple[list[Callable[[], Image.Image]], bool]
"""Functions that open the pictures, and whether they are in colour."""


def _digits(_: Path, count: int) -> _Pictures:
    from sklearn.datasets import load_digits

    every = np.round(load_digits().images[DIGITS_TRAIN:] * (255 / 16)).astype(np.uint8)
    return [lambda a=a: Image.fromarray(a) for a in every[:count]], False


def _idx(folder: str) -> Callable[[Path, int], _Pictures]:
    """Reader of LeCun's IDX files: magic 0x00000803, three big-endian sizes, bytes."""
    def read(data_dir: Path, count: int) -> _Pictures:
        raw = data_dir / folder / "raw" / "t10k-images-idx3-ubyte"
        packed = raw.with_name(raw.name + ".gz")
        if not raw.exists() and not packed.exists():
            raise UserError(f"{raw}: not there; give the folder that holds {folder}/raw with "
                            "--data-dir, or fetch it with train-fsvae --download")
        data = read_bytes(raw, DATA) if raw.exists() else _unpacked(packed)
        magic, *shape = struct.unpack(">4i", data[:16]) if len(data) >= 16 else (0, 0)
        if magic != 0x803 or min(shape) < 1 or len(data) != 16 + math.prod(shape):
            raise UserError(f"{raw}: not an IDX image file (or cut short); fetch it again")
        pixels = np.frombuffer(data, np.uint8, offset=16).reshape(shape)
        return [lambda a=a: Image.fromarray(a) for a in pixels[:count]], False

    return read


def _unpacked(file: Path) -> bytes:
    """Of a .gz: not more than an IDX file has."""
    packed = io.BytesIO(read_bytes(file, DATA))
    try:
        with gzip.open(packed) as opened:
            data = opened.read(DATA.most + 1)
    except (OSError, EOFError, zlib.error):
        raise UserError(f"{file}: damaged; fetch it again") from None
    if len(data) > DATA.most:
        raise UserError(f"{file}: holds more than {DATA.most} bytes; fetch it again")
    return data


def _cifar10(data_dir: Path, count: int) -> _Pictures:
    file = data_dir / "cifar-10-batches-py" / "test_batch"
    data = read_bytes(file, DATA, "give the folder that holds cifar-10-batches-py with --data-dir, "
                      "or fetch it with train-fsvae --download")
    if hashlib.md5(data).hexdigest() != _CIFAR10_TEST_MD5:  # it is a pickle: only the known one
        raise UserError(f"{file}: not the published file (its md5 differs); fetch it again")
    pixels = pickle.loads(data, encoding="bytes")[b"data"].reshape(-1, 3, 32, 32)
    return [lambda a=a: Image.fromarray(a) for a in pixels[:count].transpose(0, 2, 3, 1)], True


def _celeba(data_dir: Path, count: int) -> _Pictures:
    partition = data_dir / "celeba" / "list_eval_partition.txt"
    text = read_text(partition, LIST, "give the folder that holds celeba/ (torchvision's layout) "
                     "with --data-dir")
    rows = (line.split() for line in text.splitlines())
    names = [row[0] for row in rows if len(row) == 2 and row[1] == _CELEBA_TEST][:count]
    folder = data_dir / "celeba" / "img_align_celeba"
    return [lambda n=n: _crop(open_picture(folder / n), 148) for n in names], True


def _folder(data_dir: Path, count: int) -> _Pictures:
    files = pictures_in(data_dir, "test")[:count]
    return [lambda f=f: _crop(open_picture(f)) for f in files], True


def _crop(picture: Image.Image, side: int | None = None) -> Image.Image:
    """The central square (torchvision's rounding)."""
    side = side or min(picture.size)
    left, top = (round((n - side) / 2) for n in picture.size)
    return picture.crop((left, top, left + side, top + side))


DATASETS: dict[str, Callable[[Path, int], _Pictures]] = {
    "digits": _digits, "mnist": _idx("MNIST"), "fashion-mnist": _idx("FashionMNIST"),
    "cifar10": _cifar10, "celeba": _celeba, "folder": _folder,
}
