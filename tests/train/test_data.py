"""Data sets: what is there loads, what is not says how to get it; both loaders agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hw_configs.files import UserError
from lava_models.commands.test_images import load_images as load_without_torch
from train.cli import parse
from train.data import augmentation, load_images, split_validation, to_float
from train.settings import from_dict, to_dict
from train.trainer import Trainer


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
def test_flips_only_when_asked_to(dataset, image_folder, tmp_path):
    """A folder may hold letters; with --flip about half of a batch is mirrored."""
    small = ["--model", "ann", "--hidden", "4", "8", "--latent", "4", "--batch-size", "20",
             "--device", "cpu"]
    plain, flipped = (Trainer(_config(dataset, image_folder, *small, *more), tmp_path / "run")
                      for more in ([], ["--flip"]))
    a, b = plain._batch(0, 0), flipped._batch(0, 0)
    there = {image.numpy().tobytes() for image in to_float(plain.training)}
    assert all(image.contiguous().numpy().tobytes() in there for image in a)
    mirrored = (b == a.flip(-1)).flatten(1).all(1) & (a != a.flip(-1)).flatten(1).any(1)
    assert 0.2 < mirrored.float().mean() < 0.8
    assert torch.equal(b[~mirrored], a[~mirrored])


def test_the_papers_flips_stay_and_so_do_those_of_old_runs():
    assert augmentation(_config("cifar10")) and augmentation(_config("celeba"))
    assert not augmentation(_config("mnist")) and not augmentation(_config("folder"))
    stored = to_dict(_config("folder"))
    assert not augmentation(from_dict(stored, "it"))
    del stored["flip"]  # as written before there was the setting
    assert augmentation(from_dict(stored, "it"))


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


@pytest.mark.parametrize("bytes_left", [0, 300])
def test_broken_image(image_folder, bytes_left):
    whole = (image_folder / "00.png").read_bytes()
    (image_folder / "00.png").write_bytes(whole[:bytes_left])
    with pytest.raises(UserError, match="00.png: not a readable image"):
        load_images(_config("folder", image_folder), "train")


def test_validation_split_is_a_partition():
    images = torch.arange(100).view(100, 1, 1, 1)
    train, held = split_validation(images, 0.1, torch.Generator().manual_seed(0))
    assert (len(train), len(held)) == (90, 10)
    assert sorted([*train.flatten().tolist(), *held.flatten().tolist()]) == list(range(100))
