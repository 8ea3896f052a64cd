"""Writes NetX files with NetX's own field names, as lava-dl's blocks export them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import replacing

Entry = Mapping[str, object]
"""Of /layer: `type`, then fields; `neuron` is a mapping of its own."""


def write_netx(entries: Sequence[Entry], path: Path) -> None:
    """Write the entries of /layer to `path`, whole or not at all."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for i, entry in enumerate(entries):
            group = file.create_group(f"layer/{i}")
            group.create_dataset("type", (1,), "S10", [str(entry["type"]).encode("ascii")])
            for key, value in entry.items():
                if key == "neuron":
                    for name, number in value.items():
                        group[f"neuron/{name}"] = number
                elif key != "type":
                    group[key] = np.asarray(value)
