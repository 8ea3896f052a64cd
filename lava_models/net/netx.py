"""Any NetX file: read as stock lava.lib.dl.netx.hdf5.Network 0.6 reads it, or refused by name.

    /layer/0, 1, ...   type: input, conv, flatten, dense, dense_rec
        shape          (channel, y, x); pairs (stride, padding, dilation) are (y, x)
        weight, bias, delay, weight_rec
        neuron/        type CUBA (LOIHI is the same) or SDNN, and its numbers

Field by field what stock NetX does, its silences included (it takes no notice of refDelay,
gradedSpike and delays of convolutions: `NetxFile.notes` says so of a file that has them).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError
from lava_models.net.hdf5_input import LFS, entry_of, open_hdf5
from lava_models.net.netx_entry import LayerEntry
from lava_models.net.netx_layers import (
    DECAY_ONE,
    ConvSynapses,
    Cuba,
    Delta,
    DenseSynapses,
    NetxLayer,
    NetxNeuron,
    Reset,
    Sigma,
    SigmaDelta,
    bits_of,
    scaled_down,
    stock_weights,
)

MOST_DELAY = 62
MISSING_NEURON = Cuba(current_decay=0, voltage_decay=DECAY_ONE, threshold=1 << 17)
"""Of a dense layer without one; NetX's default."""
BIAS_MAX = 2**15 - 1
"""Of Lava's process; a chip's biases have 13 bits."""


@dataclass(frozen=True)
class NetxOptions:
    """What stock Network takes beside the file, under its names."""

    num_layers: int | None = None
    """Entries of /layer to read (default: all)."""
    skip_layers: int = 0
    """Entries to leave out at the start; the input is then what they would send."""
    input_message_bits: int = 0
    """Of what comes in from outside: 0 for spikes, else graded."""
    input_shape: tuple[int, int, int] | None = None
    """(x, y, channel), where the file has no input layer."""
    reset_interval: int | None = None
    """Timesteps between resets of LIF neurons; each layer's comes a timestep after the last's."""
    reset_offset: int = 0
    spike_exp: int = 6
    """Binary places of graded messages after the point."""


@dataclass(frozen=True)
class NetxFile:
    """A network: what comes in, and its layers in order, each fed by the one before."""

    name: str
    input_shape: tuple[int, ...]
    """Of what comes in from outside: (n,) or (C, H, W)."""
    layers: tuple[NetxLayer, ...]
    options: NetxOptions = NetxOptions()
    notes: tuple[str, ...] = ()
    """What the file says that stock NetX takes no notice of."""

    @property
    def input_size(self) -> int:
        return math.prod(self.input_shape)

    @property
    def enters_neurons(self) -> bool:
        """Whether the input goes to an input layer's neurons (as a bias, or into a Delta), not
        through synapses."""
        return self.layers[0].synapses is None


def is_netx(path: Path) -> bool:
    """Whether a file is HDF5 with a group /layer, or a pointer to one that is not here."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        if file.read(len(LFS)) == LFS:
            return True
    try:
        with open_hdf5(path, "NetX file") as file:
            return "layer" in file
    except UserError:  # damaged, or none: whoever reads it says so
        return False


def read_netx(path: Path, options: NetxOptions | None = None) -> NetxFile:
    """Read a NetX file.

    Raises:
        UserError: no such file, a git-lfs pointer, damaged, or with something that stock NetX does
            not load; names layer, type and field.
    """
    with open_hdf5(path, "NetX file") as file:
        layers = entry_of(file, "layer")
        if not isinstance(layers, h5py.Group) or not len(layers):
            raise UserError(f"{path}: has no layers in /layer; expected a NetX file")
        return _Reader(layers, path, options or NetxOptions()).read()


class _Reader:
    """Goes through /layer in order, as Network._create does."""

    def __init__(self, group: h5py.Group, path: Path, options: NetxOptions) -> None:
        self.group, self.path, self.options = group, path, options
        self.layers: list[NetxLayer] = []
        self.notes: list[str] = []
        shape = options.input_shape
        self.shape: tuple[int, ...] | None = None if shape is None else tuple(shape[::-1])
        """Of what the next layer gets."""
        self.entry_shape = self.shape
        self.graded = options.input_message_bits > 0

    def read(self) -> NetxFile:
        count = len(self.group)
        if self.options.num_layers is not None:
            count = min(count, self.options.num_layers)
        for i in range(count):
            self._entry(LayerEntry(self.group, i, self.path), i >= self.options.skip_layers)
        if not self.layers:
            raise UserError(f"{self.path}: no layer with neurons among the {count} read")
        first = self.layers[0]
        if first.synapses is None:
            shape = first.shape
        elif math.prod(self.entry_shape or ()) == first.synapses.inputs and self.entry_shape:
            shape = self.entry_shape
        else:
            shape = (first.synapses.inputs,)
        return NetxFile(self.path.name, shape, tuple(self.layers), self.options,
                        tuple(self.notes))

    def _entry(self, entry: LayerEntry, kept: bool) -> None:
        if entry.type == "flatten":
            self.shape = self.shape and (math.prod(self.shape),)
            return
        if entry.type == "input" and not entry.has("neuron"):
            if entry.has("shape"):
                self.shape = self.entry_shape = entry.shape
            return
        makers = {"input": self._input, "conv": self._conv, "dense": self._dense,
                  "dense_rec": self._dense}
        if entry.type not in makers:
            raise entry.error("type", f"{entry.type!r}; stock NetX loads input, conv, flatten, "
                              "dense and dense_rec" + (
                                  "; leave it out with --num-layers "
                                  f"{entry.number}" if entry.number else ""))
        layer = makers[entry.type](entry)
        self.notes += entry.notes
        if kept:
            self.layers.append(layer)
        else:
            self.entry_shape = layer.shape
        self.shape, self.graded = layer.shape, layer.graded

    def _reset(self) -> Reset | None:
        """Of the next layer: a timestep after the last one's."""
        o = self.options
        if o.reset_interval is None:
            return None
        return Reset(o.reset_interval, (o.reset_offset + 1 + len(self.layers)) % o.reset_interval)

    # --- layers ---

    def _input(self, entry: LayerEntry) -> NetxLayer:
        if self.layers:
            raise entry.error("type", "an input layer that is not the first")
        shape = entry.shape
        transform = tuple(entry.whole_at(key, default) for key, default in (
            ("weight", 64), ("bias", 0)))
        return NetxLayer(entry.name, entry.type, shape, self._neuron(entry, is_input=True),
                         np.zeros(math.prod(shape), np.int32), None, transform=transform)

    def _dense(self, entry: LayerEntry) -> NetxLayer:
        if entry.has("weight/imag"):
            raise entry.error("weight/imag", "complex weights, which are for resonate-and-fire "
                              "neurons; these are not supported")
        size = math.prod(entry.shape)
        made, recurrent = self._matrices(entry, size)
        neuron = self._neuron(entry) if entry.has("neuron") else dataclasses.replace(
            MISSING_NEURON, reset=self._reset())
        return NetxLayer(entry.name, entry.type, (size,), neuron,
                         self._bias(entry, (size,), neuron), made, recurrent)

    def _matrices(self, entry: LayerEntry, size: int) -> tuple[DenseSynapses, DenseSynapses | None]:
        """From the layer before, and from its own neurons; NetX scales both by one exponent."""
        weight = entry.matrix("weight", size)
        before = math.prod(self.shape) if self.shape else weight.shape[1]
        if self.shape is not None and len(self.shape) > 1 and (self.layers or
                                                               self.options.skip_layers):
            raise entry.error("type", f"gets a map of shape {self.shape}; expected a flatten "
                              "layer before it")
        if weight.shape != (size, before):
            raise entry.error("weight", f"has shape {weight.shape}, expected ({size}, {before})")
        whole = weight
        if entry.type == "dense_rec":
            again = entry.matrix("weight_rec", size)
            if again.shape != (size, size):
                raise entry.error("weight_rec", f"has shape {again.shape}, expected "
                                  f"({size}, {size})")
            whole = np.hstack([weight, again])
        try:
            stored, exponent, bits = stock_weights(whole)
        except ValueError as error:
            raise entry.error("weight", str(error)) from None
        delay = self._delay(entry, weight.shape)
        if delay is not None and entry.type == "dense_rec":
            if weight.shape[1] != size:
                raise entry.error("delay", f"of shape {delay.shape} is no delay of the "
                                  f"({size}, {size}) recurrent weights")
            exponent = 0  # which NetX's RecurrentDense does not pass on where there are delays
        stored, shift = scaled_down(stored, exponent)
        made = DenseSynapses(stored[:, :weight.shape[1]], bits, shift, exponent, delay, self.graded)
        if entry.type == "dense":
            return made, None
        return made, dataclasses.replace(made, weight=stored[:, weight.shape[1]:])

    def _delay(self, entry: LayerEntry, shape: tuple[int, int]) -> np.ndarray | None:
        if not entry.has("delay"):
            return None
        delay = entry.whole("delay")
        if delay.max() > MOST_DELAY:
            entry.note("delay", f"reaches {delay.max():g}; cut to {MOST_DELAY}")
            delay = np.clip(delay, 0, MOST_DELAY)
        if delay.min() < 0:
            raise entry.error("delay", f"reaches {delay.min():g}, expected 0 or more")
        if delay.ndim == 1 and delay.size == shape[0]:
            delay = delay[:, None]
        elif delay.ndim == 1 and delay.size != shape[1] or delay.ndim > 1 and delay.shape != shape:
            raise entry.error("delay", f"has shape {delay.shape}, expected one per output "
                              f"({shape[0]}), per input ({shape[1]}) or per weight")
        return np.broadcast_to(delay.astype(np.int64), shape)

    def _conv(self, entry: LayerEntry) -> NetxLayer:
        made = self._kernel(entry)
        if made.shape != entry.shape:
            raise entry.error("shape", f"{entry.shape}, but weights, strides and paddings make "
                              f"{made.shape} of {self.shape}")
        if entry.has("delay") and np.any(entry.array("delay")):
            entry.note("delay", "stock NetX takes no notice of delays of convolutions")
        if not entry.has("neuron"):
            raise entry.error("neuron", "is missing")
        neuron = self._neuron(entry)
        return NetxLayer(entry.name, entry.type, made.shape, neuron,
                         self._bias(entry, made.shape, neuron), made)

    def _kernel(self, entry: LayerEntry) -> ConvSynapses:
        if self.shape is None:
            raise entry.error("shape", "the file does not say what comes in; give "
                              "--input-shape X Y CHANNELS")
        if len(self.shape) != 3:
            raise entry.error("type", f"gets {self.shape}, expected a map (channel, y, x)")
        weight = entry.whole("weight")
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        groups = entry.whole_at("groups")
        pairs = {key: entry.pair(key) for key in ("stride", "padding", "dilation")}
        if weight.ndim != 4 or not weight.size:
            raise entry.error("weight", f"has shape {weight.shape}, expected (out, in, y, x)")
        if groups < 1 or len(weight) % groups or weight.shape[1] * groups != self.shape[0]:
            raise entry.error("groups", f"{groups} with weights of shape {weight.shape} and "
                              f"{self.shape[0]} input channels")
        if min(pairs["stride"]) < 1 or min(pairs["dilation"]) < 1 or min(pairs["padding"]) < 0:
            raise entry.error("stride", f"{pairs}: expected strides and dilations of at least 1")
        return ConvSynapses(weight.astype(np.int32), bits_of(weight), self.shape, **pairs,
                            groups=groups, graded=self.graded)

    def _bias(self, entry: LayerEntry, shape: tuple[int, ...], neuron: NetxNeuron) -> np.ndarray:
        size = math.prod(shape)
        if not entry.has("bias"):
            return np.zeros(size, np.int32)
        if isinstance(neuron, Sigma):
            raise entry.error("bias", "a Sigma neuron has none")
        bias = entry.whole("bias")
        top = np.abs(bias).max(initial=0)
        if top > BIAS_MAX:
            raise entry.error("bias", f"reaches {top}, expected at most {BIAS_MAX}")
        if bias.shape == shape[::-1] and len(shape) == 3:  # neuron by neuron, (x, y, channel)
            bias = bias.transpose(2, 1, 0)
        elif len(shape) == 3 and bias.shape == shape[:1]:
            bias = np.repeat(bias, size // shape[0])
        elif not (len(shape) == 1 and bias.size in (1, size)):
            raise entry.error("bias", f"has shape {bias.shape}, expected ({shape[0]},)")
        return np.broadcast_to(bias.ravel(), size).astype(np.int32)

    # --- neurons ---

    def _neuron(self, entry: LayerEntry, is_input: bool = False) -> NetxNeuron:
        kind = entry.text("neuron/type")
        if entry.has("neuron/messageBits"):
            entry.note("neuron/messageBits", "not taken notice of, and stock NetX does not load it")
        if kind in ("CUBA", "LOIHI"):
            decays = {key: entry.whole_at(f"neuron/{key}") for key in ("iDecay", "vDecay")}
            for key, value in decays.items():
                if not 0 <= value <= DECAY_ONE:
                    raise entry.error(f"neuron/{key}", f"{value}, expected 0 to {DECAY_ONE}")
            if entry.has("neuron/gradedSpike") and entry.number_at("neuron/gradedSpike"):
                entry.note("neuron/gradedSpike", "stock NetX sends spikes of 0 and 1")
            if entry.has("neuron/refDelay") and entry.number_at("neuron/refDelay") != 1:
                entry.note("neuron/refDelay", "stock NetX takes no notice of it")
            return Cuba(decays["iDecay"], decays["vDecay"], self._threshold(entry), self._reset())
        if kind == "SDNN":
            if self.options.reset_interval is not None:
                entry.note("neuron/type", "SDNN; sigma-delta neurons are not reset")
            if entry.has("neuron/activation"):
                name = entry.text("neuron/activation")
                if name.lower() != "relu" and not is_input and not entry.has("neuron/sigma_output"):
                    raise entry.error("neuron/activation", f"{name!r}; stock NetX has relu only")
            if is_input:
                return Delta(self._threshold(entry), self.options.spike_exp)
            if entry.has("neuron/sigma_output"):
                return Sigma()
            return SigmaDelta(self._threshold(entry), self.options.spike_exp)
        raise entry.error("neuron/type", f"{kind!r}; supported are CUBA, LOIHI and SDNN")

    def _threshold(self, entry: LayerEntry) -> int:
        value = entry.whole_at("neuron/vThMant")
        if not 0 <= value < 1 << 25:
            raise entry.error("neuron/vThMant", f"{value}, expected 0 to {(1 << 25) - 1}")
        return value


