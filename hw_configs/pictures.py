"""Picture files, read the same wherever a command takes them: folders for training, test images.

Lowest of all packages, so that training and running, which do not know each other, see the same
pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hw_configs.files import UserError
from hw_configs.reading import DAMAGED, PICTURE, read_bytes

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TEST_EVERY = 10
"""Every tenth picture of a folder (by name) is kept for testing."""
MOST_PIXELS = 2**25
"""Of a picture: one of 8K (7680 x 4320) and more. Unpacked, in four channels, it takes 128 MB."""
BACKGROUND = "white"
"""What shows through where a picture is transparent, as on a page."""


def pictures_in(folder: Path, split: str) -> list[Path]:
    """The pictures of a folder and those in it, by name: its "train" or its "test" part.

    Raises:
        UserError: no such folder, or too few pictures.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of images with --data-dir")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    mine = [f for i, f in enumerate(files)
            if (i % TEST_EVERY == TEST_EVERY - 1) == (split == "test")]
    if not mine:
        raise UserError(f"{folder}: {len(files)} images, too few for a {split} set; expected "
                        f"{TEST_EVERY} or more ({', '.join(SUFFIXES)})")
    return mine


def open_picture(file: Path) -> Image.Image:
    """A picture of 8 bits per channel, modes L or RGB.

    Raises:
        UserError: it cannot be read.
    """
    data = io.BytesIO(read_bytes(file, PICTURE))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's words about damaged metadata
            with Image.open(data) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise UserError(f"{file}: has {opened.width} x {opened.height} pixels, "
                                    f"expected at most {MOST_PIXELS}; make it smaller")
                opened.load()  # the pixels, too: a file that is cut short opens
                return plain(ImageOps.exif_transpose(opened))
    except (*DAMAGED, IndexError, AttributeError, struct.error, Image.DecompressionBombError):
        # PIL's ways to say that bytes are damaged
        raise UserError(f"{file}: not a readable image; remove it or fetch it again") from None


def plain(picture: Image.Image) -> Image.Image:
    """Without transparency, palette or depth: 16 bits are scaled to 8, where PIL would cut them."""
    if picture.mode.startswith("I"):
        return Image.fromarray(np.round(np.asarray(picture).clip(0, 65535) / 257).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        over = Image.new("RGBA", picture.size, BACKGROUND)
        return Image.alpha_composite(over, picture.convert("RGBA")).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
