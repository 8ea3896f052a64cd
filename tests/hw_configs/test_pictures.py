"""Pictures of any depth, mode and orientation end as the 8-bit pixels that a person would see."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hw_configs.files import UserError
from hw_configs.pictures import SUFFIXES, open_picture, pictures_in

RAMP = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(4, axis=0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_not_cut(tmp_path, suffix):
    file = tmp_path / f"deep{suffix}"
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(file)
    picture = open_picture(file)
    assert picture.mode == "L" and np.array_equal(np.asarray(picture), RAMP)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_modes_give_what_pil_shows(tmp_path, mode):
    file = tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    source = Image.fromarray(np.stack([RAMP, RAMP[:, ::-1], RAMP], -1)).convert(mode)
    source.save(file)
    picture = open_picture(file)
    with Image.open(file) as again:
        wanted = again.convert("L" if mode in ("1", "L") else "RGB")
    assert picture.mode == wanted.mode and picture.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    colour = np.zeros((4, 4, 4), np.uint8)
    colour[..., 0], colour[:2, :, 3] = 200, 255
    source = Image.fromarray(colour)
    options = {}
    if mode == "P":
        source, options = Image.fromarray(colour[..., :3]).quantize(4), {"transparency": 0}
    else:
        source = source.convert(mode)
    source.save(tmp_path / "a.png", **options)
    pixels = np.asarray(open_picture(tmp_path / "a.png").convert("RGB"))
    assert (pixels[2:] == 255).all()
    if mode != "P":  # there its only colour is the transparent one
        assert (pixels[:2] != 255).any()


def test_a_photograph_lies_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == (4, 32)


@pytest.mark.parametrize("content", [b"", b"no picture", "float"])
def test_unreadable(tmp_path, content):
    file = tmp_path / "a.tif"
    if content == "float":
        Image.fromarray(RAMP.astype(np.float32)).save(file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match="a.tif: not a readable image"):
        open_picture(file)


def test_split_of_a_folder(tmp_path):
    for i in range(23):
        (tmp_path / f"{i:02d}{SUFFIXES[i % len(SUFFIXES)]}").touch()
    (tmp_path / "notes.txt").touch()
    train, test = (pictures_in(tmp_path, split) for split in ("train", "test"))
    assert [f.name[:2] for f in test] == ["09", "19"] and len(train) == 21
    assert not set(train) & set(test)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="0 images, too few for a train set"):
        pictures_in(tmp_path / "empty", "train")
    with pytest.raises(UserError, match="no such folder"):
        pictures_in(tmp_path / "nowhere", "train")
