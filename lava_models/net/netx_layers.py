"""Layers of a NetX file as stock lava.lib.dl.netx 0.6 runs them: synapses, neurons, biases.

Maps are (C, H, W), pairs (y, x), as NetX stores them (its processes turn both round). Weights are
what stock NetX leaves of them: scaled to 8 bits and cut as Lava's Dense does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

STATE_EXP = 6
"""Binary places that membranes and sigma-delta states have below a synaptic sum's last."""
DECAY_ONE = 4096


@dataclass(frozen=True)
class Reset:
    """Both states to 0 at timesteps t with t % interval == offset % interval, before the update."""

    interval: int
    offset: int


@dataclass(frozen=True)
class Cuba:
    """Loihi's LIF with a synaptic current (NetX type CUBA or LOIHI), in every timestep:

        u <- trunc(u * (4096 - current_decay) / 4096) + a * 64          24 bits, wraps once
        v <- trunc(v * (4096 - voltage_decay) / 4096) + u + bias * 64   24 bits, saturates
        spike if v > threshold * 64, then v <- 0
    """

    current_decay: int
    """iDecay, 0 to 4096."""
    voltage_decay: int
    """vDecay, 0 to 4096."""
    threshold: int
    """vThMant."""
    reset: Reset | None = None


@dataclass(frozen=True)
class Delta:
    """Sends by how much its input changed, once that is at least the threshold:

        d = (x << spike_exp + 6) - act + residue ;  s = d if |d| >= threshold << spike_exp + 6
        residue <- d - s ;  act <- x << spike_exp + 6 ;  message s >> 6
    """

    threshold: int
    spike_exp: int


@dataclass(frozen=True)
class SigmaDelta:
    """Adds up what it gets, and sends like Delta what a ReLU lets through:

        sigma <- sigma + a ;  act = max(sigma + (bias << spike_exp + 6), 0)
    """

    threshold: int
    spike_exp: int


@dataclass(frozen=True)
class Sigma:
    """Sends the sum of all it ever got."""


NetxNeuron = Cuba | Delta | SigmaDelta | Sigma


@dataclass(frozen=True)
class DenseSynapses:
    """A matrix: sums are (weight @ messages) >> shift, each delay's share shifted by itself."""

    weight: np.ndarray
    """int32 (out, in)."""
    bits: int
    """Of one weight on the chip, as NetX finds them."""
    shift: int = 0
    """Bits that Lava drops of the sums; 0 where the weights lose nothing."""
    exponent: int = 0
    """Lava's Dense gets the weights times 2^(exponent - shift) and weight_exp = -exponent."""
    delay: np.ndarray | None = None
    """Timesteps each synapse adds, int64 (out, in)."""
    graded: bool = False
    """Whether messages are integers; else anything but 0 counts as 1."""

    @property
    def inputs(self) -> int:
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    @property
    def most(self) -> int:
        """The largest size of a sum over binary messages."""
        return int(np.abs(self.weight).sum(axis=1).max())

    def fan_out(self) -> np.ndarray:
        """Synapses of each input, int64 (in,)."""
        return np.count_nonzero(self.weight, axis=0).astype(np.int64)

    def matrix(self) -> sparse.csr_matrix:
        """int32 (out, in)."""
        return sparse.csr_matrix(self.weight)


@dataclass(frozen=True)
class ConvSynapses:
    """A 2-d convolution as in torch.nn.Conv2d."""

    weight: np.ndarray
    """int32 (C_out, C_in / groups, ky, kx)."""
    bits: int
    input_shape: tuple[int, int, int]
    """(C_in, H, W)."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    graded: bool = False
    """As of DenseSynapses."""
    shift: int = 0
    delay: None = None

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2:]

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C_out, H, W)."""
        return (len(self.weight), *(
            (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(
                self.input_shape[1:], self.kernel, self.stride, self.padding, self.dilation)))

    @property
    def inputs(self) -> int:
        return math.prod(self.input_shape)

    @property
    def outputs(self) -> int:
        return math.prod(self.shape)

    @property
    def most(self) -> int:
        """The largest size of a sum over binary messages."""
        return int(np.abs(self.weight).sum(axis=(1, 2, 3)).max())

    def taps(self) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
        """For every tap (y, x) of the kernel: outputs that see an input, and those inputs."""
        (_, h, w), (_, oh, ow) = self.input_shape, self.shape
        ends = tuple(zip((h, w), (oh, ow), self.stride, self.padding, self.dilation))
        for at in np.ndindex(*self.kernel):
            out, of = zip(*(_reach(tap * d - p, n, o, s)
                            for tap, (n, o, s, p, d) in zip(at, ends)))
            yield at, out, of

    def fan_out(self) -> np.ndarray:
        """Synapses of each input, int64 (C_in * H * W,)."""
        per_tap = np.concatenate([np.count_nonzero(part, axis=0)
                                  for part in np.split(self.weight, self.groups)])
        out = np.zeros(self.input_shape, np.int64)
        for (a, b), _, (y, x) in self.taps():
            out[:, y, x] += per_tap[:, a, b, None, None]
        return out.ravel()

    def matrix(self) -> sparse.csr_matrix:
        """The kernel unrolled, int32 (C_out * H * W, C_in * H * W)."""
        sources = np.arange(self.inputs).reshape(self.input_shape)
        targets = np.arange(self.outputs).reshape(self.shape)
        each_in, each_out = (n // self.groups for n in (self.input_shape[0], self.shape[0]))
        rows, columns, values = [], [], []
        for (a, b), (oy, ox), (y, x) in self.taps():
            o, c = np.nonzero(self.weight[:, :, a, b])
            of = sources[o // each_out * each_in + c, y, x]
            rows.append(targets[o, oy, ox].ravel())
            columns.append(of.ravel())
            each = self.weight[o, c, a, b, None, None]
            values.append(np.broadcast_to(each, of.shape).ravel())
        rows, columns, values = map(np.concatenate, (rows, columns, values))
        return sparse.csr_matrix((values.astype(np.int32), (rows, columns)),
                                 (self.outputs, self.inputs))


def _reach(offset: int, size: int, out: int, stride: int) -> tuple[slice, slice]:
    """Along one axis: outputs whose tap at `offset` is inside, and the inputs they see."""
    first = max(0, -(offset // stride))
    last = min(out - 1, (size - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    begin = first * stride + offset
    return slice(first, last + 1), slice(begin, begin + (last - first) * stride + 1, stride)


NetxSynapses = DenseSynapses | ConvSynapses


@dataclass(frozen=True)
class NetxLayer:
    """What one entry of /layer becomes on the chip: a population and the synapses onto it."""

    name: str
    """layer.N, N as in the file."""
    type: str
    """input, dense, dense_rec or conv."""
    shape: tuple[int, ...]
    """(n,), or (C, H, W)."""
    neuron: NetxNeuron
    bias: np.ndarray
    """int32 (n,), added in every timestep."""
    synapses: NetxSynapses | None
    """From the layer before, or from outside; none onto an input layer."""
    recurrent: DenseSynapses | None = None
    """From its own neurons, one timestep before."""
    transform: tuple[int, int] | None = None
    """(weight, bias) that an input layer says pixels become biases with; nothing applies them."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def graded(self) -> bool:
        """Whether its messages are integers."""
        return not isinstance(self.neuron, Cuba)


# --- what stock NetX makes of the weights of dense layers ----------------------------------------


def stock_weights(weight: np.ndarray) -> tuple[np.ndarray, int, int]:
    """(weights, exponent, bits) of a dense layer, as lava-dl 0.6's optimize_weight_bits and then
    lava-nc 0.10's Dense leave them: scaled up by 2^exponent and cut to 8 bits.

    Args:
        weight: whole numbers, int64 (out, in).

    Raises:
        ValueError: all weights are 0, or they need more than 8 bits; stock NetX cannot load them.
    """
    if not weight.any():
        raise ValueError("all weights are 0, which stock NetX cannot load")
    low, high = int(weight.min()), int(weight.max())
    if (high > 254 and low < 0) or (low < -256 and high > 0):
        weight = np.clip(weight, -256, 254)
        low, high = int(weight.min()), int(weight.max())
    mixed = low < 0 <= high
    if mixed:
        scale = min(127 / high if high else math.inf, -128 / low)
    else:
        scale = -256 / low if high < 0 else 255 / high
    exponent = math.floor(math.log2(scale)) + mixed
    if exponent < 0:
        raise ValueError(f"weights {low}...{high} need more than 8 bits")
    common = next(n for n in range(8, -1, -1) if not (weight % (1 << n)).any()) - mixed
    bits = 8 - exponent - common
    return _cut(np.left_shift(weight.astype(np.int32), exponent), bits), exponent, bits


def scaled_down(weight: np.ndarray, exponent: int) -> tuple[np.ndarray, int]:
    """(weights, shift): by 2^exponent where nothing is lost, else what the sums are shifted by."""
    if (weight % (1 << exponent)).any():
        return weight, exponent
    return weight >> exponent, 0


def _cut(weight: np.ndarray, bits: int) -> np.ndarray:
    """Lava's clip_weights and truncate_weights, with the sign mode that Lava finds."""
    low, high = weight.min(), weight.max()
    sign = -1 if low < 0 and high <= 0 else 1
    mixed = bool(low < 0 < high)
    of = np.clip(sign * weight, -256 * mixed, 255)
    drop = np.int32(8 - bits + mixed)
    return (sign * ((of >> drop) << drop)).astype(np.int32)


def bits_of(weight: np.ndarray) -> int:
    """Bits of the largest of whole numbers once their common powers of two are the exponent's."""
    whole = np.asarray(weight, np.int64)
    if not whole.any():
        return 1
    every = int(np.bitwise_or.reduce(np.abs(whole), axis=None))
    whole = whole >> ((every & -every).bit_length() - 1)
    low, high = int(whole.min()), int(whole.max())
    if low >= 0:
        return high.bit_length()
    if high <= 0:
        return (-low).bit_length()
    return max(high.bit_length(), (-low - 1).bit_length()) + 1
