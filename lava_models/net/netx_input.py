"""The input of a NetX file, from an array in Lava's order of axes: (x, y, channel, timestep)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_configs.files import UserError
from hw_configs.reading import map_array
from lava_models.net.netx import NetxFile
from lava_models.net.netx_layers import Cuba


@dataclass(frozen=True)
class NetxInput:
    """What each of S samples gets; the same value in every timestep, or one for each."""

    values: np.ndarray
    """(S, 1 or T, n) in the order of the file's maps: bool, or int32."""

    @property
    def samples(self) -> int:
        return len(self.values)

    def bias(self, first: int, count: int) -> np.ndarray:
        """Of samples from `first` on: (count, n)."""
        return self.values[first:first + count, 0]

    def sent(self, first: int, count: int, timesteps: int) -> np.ndarray:
        """Of samples from `first` on: (timesteps, count, n)."""
        part = self.values[first:first + count]
        if part.shape[1] == 1:
            part = np.broadcast_to(part, (count, timesteps, part.shape[2]))
        return part[:, :timesteps].transpose(1, 0, 2)


def read_input(path: Path, net: NetxFile, samples: int | None, timesteps: int, pixels: bool
               ) -> NetxInput:
    """Read a .npy file.

    Args:
        samples: S of an array whose first axis are samples; None where it is one sample without
            that axis.
        timesteps: per sample.
        pixels: turn values into biases with the input layer's own weight and bias.

    Raises:
        UserError: no such file, or an array that the network does not take; says which it does.
    """
    array = map_array(path, "expected a .npy array")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise UserError(f"{path}: holds {array.dtype}, expected numbers")
    constant = net.enters_neurons and isinstance(net.layers[0].neuron, Cuba)
    values = _laid_out(array, path, net, samples, timesteps, constant)
    if pixels:
        values = _to_bias(values, path, net)
    if not np.isfinite(values).all() or np.any(values != np.round(values)):
        raise UserError(f"{path}: holds fractions, expected whole numbers"
                        + (" (or --pixels)" if constant and not pixels else ""))
    top = max(int(values.max()), -int(values.min()))
    if top >= 2**23:
        raise UserError(f"{path}: reaches {top}, a message has 24 bits")
    if not constant and net.layers[0].synapses is not None and not net.layers[0].synapses.graded:
        return NetxInput(values != 0)
    if constant and top > 2**15 - 1:
        raise UserError(f"{path}: reaches {top} as a bias, expected at most {2**15 - 1}")
    return NetxInput(values.astype(np.int32))


def _laid_out(array: np.ndarray, path: Path, net: NetxFile, samples: int | None, timesteps: int,
              constant: bool) -> np.ndarray:
    """(S, 1 or T, n) of an array as Lava lays it out."""
    rest = array if samples is None else array[0] if array.ndim and len(array) else array
    shapes = {net.input_shape[::-1], (net.input_size,)}
    known = next((s for s in shapes if rest.shape[:len(s)] == s and rest.ndim <= len(s) + 1), None)
    timed = known is not None and rest.ndim == len(known) + 1
    enough = samples is None or len(array) >= samples
    if known is None or not enough or (timed and constant and rest.shape[-1] != 1):
        first = () if samples is None else (f"at least {samples} samples",)
        axes = " or ".join(str((*first, *s)).replace("'", "")
                           for s in sorted(shapes, key=len)[::-1])
        more = "" if constant else ", and timesteps as a last axis where they differ"
        raise UserError(f"{path}: array of shape {array.shape}; {net.name} takes {axes}{more}: "
                        "axes (x, y, channel) as in Lava")
    if timed and not constant and rest.shape[-1] < timesteps:
        raise UserError(f"{path}: {rest.shape[-1]} timesteps, a sample takes {timesteps}; give all "
                        "of them (zeros where nothing comes in), or run fewer")
    batch = array[None] if samples is None else array[:samples]
    if not timed:
        batch = batch[..., None]
    axes = (0, batch.ndim - 1, *range(batch.ndim - 2, 0, -1))
    return batch.transpose(axes).reshape(len(batch), batch.shape[-1], -1)[:, :max(timesteps, 1)]


def _to_bias(values: np.ndarray, path: Path, net: NetxFile) -> np.ndarray:
    transform = net.layers[0].transform
    if transform is None or not isinstance(net.layers[0].neuron, Cuba):
        raise UserError(f"--pixels: {net.name} begins with no input layer of LIF neurons, whose "
                        "weight and bias would turn pixels into biases")
    weight, bias = transform
    return np.floor(weight * values.astype(float) + bias + 0.5)
