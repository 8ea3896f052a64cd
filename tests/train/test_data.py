"""Data sets: what is there loads, what is not says how to get it; both loaders agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hw_configs.files import UserError
from lava_models.commands.test_images import load_images as load_without_torch
from train.cli import parse
from train.data import load_images, split_validation, to_float


def _config(dataset, data_dir="data", *more):
    return parse(["--dataset", dataset, "--data-dir", str(data_dir), *more]).run


@pytest.fixture()
def image_folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(30):
        pixels = rng.integers(0, 256, (20 + i % 3, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def test_digits():
    train, test = (load_images(_config("digits"), s) for s in ("train", "test"))
    assert (train.shape, test.shape) == ((1500, 1, 16, 16), (297, 1, 16, 16))
    assert train.dtype == torch.uint8
    assert train.max() == 255
    assert to_float(train).min() == -1


def test_folder(image_folder):
    config = _config("folder", image_folder)
    assert load_images(config, "train").shape == (27, 3, 32, 32)
    assert load_images(config, "test").shape == (3, 3, 32, 32)


@pytest.mark.parametrize("dataset", ["digits", "folder"])
def test_both_loaders_give_the_same_pixels(dataset, image_folder):
    config = _config(dataset, image_folder)
    ours = to_float(load_images(config, "test"))[:3].numpy()
    theirs = load_without_torch(dataset, image_folder, 3, ours.shape[1:])
    assert np.array_equal(ours, theirs)


def test_both_loaders_on_real_mnist(shared_data):
    ours = to_float(load_images(_config("mnist", shared_data), "test"))[:50].numpy()
    assert np.array_equal(ours, load_without_torch("mnist", shared_data, 50, (1, 32, 32)))


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist", "cifar10", "celeba", "folder"])
def test_absent_data_says_how_to_get_it(dataset, tmp_path):
    where = tmp_path / "nothing"
    with pytest.raises(UserError, match="--data-dir") as error:
        load_images(_config(dataset, where), "train")
    assert str(where) in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_image(image_folder):
    (image_folder / "00.png").write_text("no image")
    with pytest.raises(UserError, match="00.png: not a readable image"):
        load_images(_config("folder", image_folder), "train")


def test_validation_split_is_a_partition():
    images = torch.arange(100).view(100, 1, 1, 1)
    train, held = split_validation(images, 0.1, torch.Generator().manual_seed(0))
    assert (len(train), len(held)) == (90, 10)
    assert sorted([*train.flatten().tolist(), *held.flatten().tolist()]) == list(range(100))
