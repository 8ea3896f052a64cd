"""Any NetX file as a network description: what stock lava.lib.dl.netx loads, and our model.net.

Only shapes and weight bits are read: enough to say what the network takes on a chip.
"""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError
from lava_models.cost.describe import describe, read_description
from lava_models.cost.description import LayerDescription, Network
from lava_models.net.hdf5 import read_net, says_model_net

SYNAPSES = ("dense", "conv")


def read_network(path: Path, mode: str) -> Network:
    """A description (TOML, JSON), a model.net in `mode`, or a NetX file.

    Raises:
        UserError: none of these, or with a layer that neither NetX nor we know.
    """
    if path.suffix in (".toml", ".json"):
        return read_description(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a description (.toml, .json) or a NetX "
                        "file")
    try:
        with h5py.File(path, "r") as file:
            ours = says_model_net(file)
            if not ours:
                return _read_netx(file, path)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a readable NetX file: {error}") from None
    return describe(read_net(path), mode, name=path.name)


def _read_netx(file: h5py.File, path: Path) -> Network:
    if "layer" not in file:
        raise UserError(f"{path}: has no group /layer; expected a NetX file")
    group, layers = file["layer"], []
    for i in range(len(group)):
        entry = group[str(i)]
        kind = bytes(np.ravel(entry["type"][()])[0]).decode("ascii", "replace")
        name = f"layer.{i}"
        if kind == "flatten":
            continue
        if kind == "input":
            shape = tuple(int(n) for n in entry["shape"][()])
            # NetX maps are (x, y, channel), ours (C, H, W).
            layers.append(LayerDescription(name, "input", shape[::-1] if len(shape) == 3 else (
                math.prod(shape),), on_chip=False))
        elif kind == "dense":
            weight = entry["weight"][()]
            if not layers:
                layers.append(LayerDescription("input", "input", (weight.shape[1],),
                                               on_chip=False))
            layers.append(LayerDescription(name, "dense", (weight.shape[0],),
                                           weight_bits=(_bits(weight),)))
        elif kind == "conv":
            if int(np.ravel(entry["groups"][()])[0]) != 1 if "groups" in entry else False:
                raise UserError(f"{path}: /layer/{i}: groups other than 1 are not modelled")
            weight = entry["weight"][()]  # (out, in, y, x)
            pair = {key: _pair(entry, key) for key in ("stride", "padding")}
            if not layers:
                shape = tuple(int(n) for n in entry["inShape"][()]) if "inShape" in entry else None
                if shape is None:
                    raise UserError(f"{path}: /layer/{i}: a convolution without an input layer "
                                    "before it")
                layers.append(LayerDescription("input", "input", shape[::-1], on_chip=False))
            layers.append(LayerDescription(
                name, "conv", channels=weight.shape[0], kernel=tuple(weight.shape[2:]),
                weight_bits=(_bits(weight),), **pair))
        else:
            raise UserError(f"{path}: /layer/{i}: type '{kind}'; NetX loads {', '.join(SYNAPSES)}, "
                            "input and flatten")
    if not layers:
        raise UserError(f"{path}: /layer is empty")
    return Network(path.name, tuple(layers))


def _pair(entry: h5py.Group, key: str) -> tuple[int, int]:
    """(y, x) of a field that NetX stores as one number or (x, y)."""
    values = np.ravel(entry[key][()]) if key in entry else np.array([key == "stride"])
    return (int(values[-1]), int(values[0]))


def _bits(weight: np.ndarray) -> int:
    """Bits NetX finds for integer weights: common powers of two go to the exponent."""
    whole = np.abs(np.asarray(weight, np.int64)).ravel()
    top = int(whole.max(initial=0))
    if top == 0:
        return 1
    shift = min(int(n & -n).bit_length() - 1 for n in whole[whole > 0])
    signed = bool((weight < 0).any() and (weight > 0).any())
    return min(8, (top >> shift).bit_length() + signed)
