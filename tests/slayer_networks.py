"""Random networks over the layers and neurons of NetX, written by SLAYER's own export_hdf5."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

FAMILIES = ("dense", "conv", "recurrent", "delays", "sdnn_dense", "sdnn_conv")
STEPS = 24


def random_network(family: str, seed: int, path: Path) -> tuple[str, tuple[int, ...]]:
    """Write a network of `family` to `path`: (what it takes: spikes, bias or delta; its shape)."""
    from lava.lib.dl import slayer

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    sdnn = family.startswith("sdnn")
    block = slayer.block.sigma_delta if sdnn else slayer.block.cuba
    maps = family.endswith("conv")
    shape = (int(rng.integers(1, 4)), *map(int, rng.integers(7, 11, 2))) if maps else (
        int(rng.integers(4, 12)),)
    neuron = _sdnn(rng) if sdnn else _cuba(rng)
    blocks = []
    with_input = sdnn or bool(rng.integers(2))
    if with_input:
        blocks.append(block.Input({**neuron}, weight=1, bias=0) if not sdnn
                      else block.Input({**neuron}))
    add = {"dense": _dense, "delays": _delays, "sdnn_dense": _dense, "conv": _conv,
           "sdnn_conv": _conv, "recurrent": _recurrent}[family]
    blocks += add(block, rng, shape, _sdnn if sdnn else _cuba)
    if sdnn and not maps:
        blocks.append(block.Output({**_sdnn(rng)}, _width(blocks), 3, weight_scale=2))
    _export(blocks, shape, path)
    with h5py.File(path, "r+") as file:
        if maps and not with_input:
            _put_input_first(file, len(blocks), shape)
        _put_biases(file, rng)
    return ("delta" if sdnn else "bias" if with_input else "spikes"), shape


def write_rgb_network(path: Path) -> list[np.ndarray]:
    """3 x 32 x 32 pixels into input neurons, a rectangular convolution, a dense layer: the integer
    weights of the last two, as they are in the file."""
    from lava.lib.dl import slayer

    torch.manual_seed(0)
    block, neuron = slayer.block.cuba, {"threshold": 1.0, "current_decay": 1.0,
                                        "voltage_decay": 0.1}
    blocks = [block.Input({**neuron}), block.Conv({**neuron}, 3, 16, (3, 5), stride=(2, 1),
                                                  padding=(1, 0)),
              block.Flatten(), block.Dense({**neuron}, 16 * 16 * 28, 10, weight_scale=40)]
    _export(blocks, (3, 32, 32), path)
    with h5py.File(path) as file:
        return [file[f"layer/{i}/weight"][()].astype(int) for i in (1, 3)]


def write_resonators(family: str, path: Path) -> None:
    """A dense layer of resonate-and-fire neurons, `family` rf or rf_iz, with complex weights."""
    from lava.lib.dl import slayer

    block = getattr(slayer.block, family)
    _export([block.Dense({"threshold": 1.0, "period": 10, "decay": 0.1}, 6, 4)], (6,), path)


def _export(blocks: list, shape: tuple[int, ...], path: Path) -> None:
    """Write blocks, each by its own method."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        x = torch.rand(1, *shape, STEPS)
        for part in blocks:  # a block learns its shape from its first input
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        with h5py.File(path, "w") as file:
            for i, part in enumerate(blocks):
                part.export_hdf5(file.create_group(f"layer/{i}"))


def _put_input_first(file: h5py.File, count: int, shape: tuple[int, ...]) -> None:
    """An input layer without neurons, which only says the shape."""
    for i in reversed(range(count)):
        file.move(f"layer/{i}", f"layer/{i + 1}")
    file["layer/0/shape"] = np.array(shape)
    file.create_dataset("layer/0/type", (1,), "S10", [b"input"])


def _put_biases(file: h5py.File, rng: np.random.Generator) -> None:
    """SLAYER exports them of blocks with a norm only; half of the others get some here."""
    for group in file["layer"].values():
        kind = group["type"][0]
        out = {b"conv": "outChannels", b"dense": "outFeatures"}.get(kind)
        sigma = "neuron/sigma_output" in group
        if out and "bias" not in group and not sigma and rng.integers(2):
            group["bias"] = rng.integers(-12, 13, group[out][()]).astype(np.float32)


def _cuba(rng: np.random.Generator) -> dict:
    return {"threshold": float(rng.uniform(0.3, 1.5)),
            "current_decay": float(rng.choice([1.0, rng.uniform(0.1, 0.9)])),
            "voltage_decay": float(rng.choice([0.03, rng.uniform(0.1, 0.9), 1.0]))}


def _sdnn(rng: np.random.Generator) -> dict:
    return {"threshold": float(rng.choice([0.0, 0.05, 0.2])),
            "activation": torch.nn.functional.relu}


def _width(blocks: list) -> int:
    return next(b.synapse.out_channels for b in reversed(blocks) if hasattr(b, "synapse"))


def _dense(block, rng: np.random.Generator, shape: tuple[int, ...], neuron: Callable) -> list:
    made, width = [], shape[0]
    for _ in range(int(rng.integers(1, 4))):
        wider = int(rng.integers(3, 14))
        made.append(block.Dense({**neuron(rng)}, width, wider,
                                weight_scale=float(rng.uniform(1, 4))))
        width = wider
    return made


def _delays(block, rng: np.random.Generator, shape: tuple[int, ...], neuron: Callable) -> list:
    made = []
    for width in (shape[0], 7):
        one = block.Dense({**neuron(rng)}, width, 7, weight_scale=3, delay=True)
        one.delay.max_delay = 62
        made.append(one)
    for one in made:
        one.register_forward_hook(lambda part, *_: _draw_delays(part, rng))
    return made


def _draw_delays(part, rng: np.random.Generator) -> None:
    part.delay.delay.data.copy_(torch.as_tensor(rng.uniform(0, 15, part.delay.delay.shape)))


def _recurrent(block, rng: np.random.Generator, shape: tuple[int, ...], neuron: Callable) -> list:
    return [block.Recurrent({**neuron(rng)}, shape[0], 6, weight_scale=4),
            block.Dense({**neuron(rng)}, 6, 4, weight_scale=3)]


def _conv(block, rng: np.random.Generator, shape: tuple[int, ...], neuron: Callable) -> list:
    made, (channels, *ends) = [], shape
    for _ in range(int(rng.integers(1, 3))):
        groups = int(rng.choice([1, channels]))
        wider = groups * int(rng.integers(1, 4))
        kernel, stride, padding, dilation = (tuple(map(int, rng.integers(low, high, 2)))
                                             for low, high in ((1, 4), (1, 3), (0, 2), (1, 3)))
        after = [(n + 2 * p - d * (k - 1) - 1) // s + 1
                 for n, k, s, p, d in zip(ends, kernel, stride, padding, dilation)]
        if min(after) < 1:
            break
        made.append(block.Conv({**neuron(rng)}, channels, wider, kernel, stride=stride,
                               padding=padding, dilation=dilation, groups=groups,
                               weight_scale=float(rng.uniform(1, 4))))
        channels, ends = wider, after
    made.append(block.Flatten())
    made.append(block.Dense({**neuron(rng)}, channels * int(np.prod(ends)), 5, weight_scale=3))
    return made
