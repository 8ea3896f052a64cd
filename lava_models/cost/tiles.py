"""Maps on cores: inputs and convolutions cut into tiles of channels, rows and columns."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from lava_models.cost.description import LayerDescription, Network
from lava_models.cost.words import (
    BIAS_AXONS,
    INDEX_BITS,
    STORED_BITS,
    CoreUse,
    Worst,
    channel_parts,
    no_core,
    words_of,
)

BUFFER_WORDS = 13
"""Per neuron of an input that is replayed from the chip's memory; only the Total limits them."""


@dataclass(frozen=True)
class Tile:
    """How a map is cut, and what of its input a tile needs."""

    map: tuple[int, int, int]
    """(C, H, W)."""
    channels: int
    y: int
    x: int
    kernel: tuple[int, int] = (1, 1)
    """A dilated one with its holes."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: tuple[int, int] = (1, 1)
    """Channels of a group: of this map, of its input."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tiles along channels, y and x."""
        return tuple(-(-n // size) for n, size in zip(self.map, (self.channels, self.y, self.x)))

    @property
    def cores(self) -> int:
        return math.prod(self.counts)

    def sizes(self) -> list[np.ndarray]:
        """Channels, rows and columns of the tiles along each axis."""
        return [np.diff(np.append(np.arange(0, n, size), n))
                for n, size in zip(self.map, (self.channels, self.y, self.x))]

    def met(self, axis: int, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """How many tiles along an axis (0: y, 1: x) need an input of first to last, inclusive."""
        n, size = self.map[1 + axis], (self.y, self.x)[axis]
        begin = np.arange(0, n, size)
        end = np.minimum(begin + size, n) - 1
        low = begin * self.stride[axis] - self.padding[axis]
        high = end * self.stride[axis] - self.padding[axis] + self.kernel[axis] - 1
        return ((low[:, None] <= last) & (high[:, None] >= first)).sum(axis=0)

    def met_groups(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """How many tiles along the channels need input channels of first to last, inclusive."""
        out, of = self.groups
        begin = np.arange(0, self.map[0], self.channels)
        end = np.minimum(begin + self.channels, self.map[0]) - 1
        return ((begin[:, None] // out <= last // of) & (end[:, None] // out >= first // of)
                ).sum(axis=0)


class Tiles:
    """A map cut into tiles; those of an input."""

    def __init__(self, network: Network, layer: LayerDescription, before: list) -> None:
        self.shape, self.before = network.shape(layer.name), [tile for _, tile in before]
        self.newest = network.compiler is None
        self.state = BUFFER_WORDS if layer.replayed else layer.state_words
        self.scale, self.bias_axons = 1, 0
        self.geometry: dict = {}

    def parts(self, channels: int) -> list[int]:
        """Powers of two as which the channels of a core are held."""
        return [1 << (channels - 1).bit_length()]

    def kernel_words(self, first: int, parts: list[int]) -> int:
        """Words of the kernels of a core's channels, which start at `first`."""
        return 0

    def sent_per_pixel(self, channels: int) -> int:
        """Axons that leave a pixel with so many channels on the core."""
        return 1

    def cut(self, worst: Worst, where: str) -> Tile:
        """The tile.

        Raises:
            UserError: a single pixel of a single channel does not fit.
        """
        c, h, w = self.shape
        tile = Tile(self.shape, c, h, 1 << (w - 1).bit_length(), **self.geometry)
        # Tiles count whole even where they overhang the map: PilotNet's last map, 20 x 2 x 64, is
        # cut at 16, as 32 columns would be 4,096 neurons.
        while worst(CoreUse(tile.channels * tile.y * tile.x * self.state, 0, 0, 0))[0] > 1:
            tile = self._smaller(tile, where, worst)
        while max(map(worst, self.cores(tile)))[0] > 1:
            if tile.channels > 1:
                tile = dataclasses.replace(tile, channels=-(-tile.channels // 2),
                                           x=tile.x if tile.x >= w else 2 * tile.x)
            else:
                tile = self._smaller(tile, where, worst)
        return tile

    def _smaller(self, tile: Tile, where: str, worst: Worst) -> Tile:
        x, y = tile.x, tile.y
        if x > 1 and (not self.newest or 2 * x > y or y % 2):
            return dataclasses.replace(tile, x=x // 2)
        if y > 1 and y % 2 == 0 and self.newest:
            return dataclasses.replace(tile, y=y // 2)
        if tile.channels > 1:
            return dataclasses.replace(tile, channels=-(-tile.channels // 2))
        if y > 1:
            return dataclasses.replace(tile, y=-(-y // 2))
        raise no_core(where, max(map(worst, self.cores(tile))))

    def cores(self, tile: Tile) -> list[CoreUse]:
        """What each core takes, in the order channels, y, x."""
        channels, rows, columns = tile.sizes()
        sends = self._sends(tile)
        out = []
        for first, n in zip(np.cumsum(channels) - channels, map(int, channels)):
            parts = self.parts(n)
            synapses = self.kernel_words(int(first), parts)
            sent = self.sent_per_pixel(n)
            for y, height in enumerate(map(int, rows)):
                for x, width in enumerate(map(int, columns)):
                    pixels = height * width
                    bias = self.bias_axons * int(words_of(pixels * n, STORED_BITS[8] + INDEX_BITS))
                    to = int(sends[first // tile.channels, y, x])
                    out.append(CoreUse(
                        pixels * n * self.state, synapses + bias, len(parts) + self.bias_axons,
                        pixels * sent if self.before else pixels * n,
                        -(-pixels * sent * to // 4), len(parts) if self.newest else 1))
        return out

    def _sends(self, tile: Tile) -> np.ndarray:
        """Cores of the next layers that each tile sends to: int64 (tiles along channels, y, x)."""
        channels, *sizes = tile.sizes()
        last = np.cumsum(channels)  # the channels of a map, of which a tile holds s * s places
        ends = [((last - channels) // self.scale**2, (last - 1) // self.scale**2)]
        for size in sizes:  # a transposed convolution's pixels lie scale apart
            last = np.cumsum(size) * self.scale
            ends.append((last - size * self.scale, last - 1))
        out = np.zeros(tile.counts, np.int64)
        for target in self.before:
            met = target.met_groups(*ends[0]), target.met(0, *ends[1]), target.met(1, *ends[2])
            out += met[0][:, None, None] * np.outer(*met[1:])
        return out

    def core_of(self, tile: Tile) -> np.ndarray:
        """As LayerFit.core_of."""
        (c, h, w), (_, down, across) = self.shape, tile.counts
        core = ((np.arange(c, dtype=np.int32)[:, None, None] // tile.channels * down
                 + np.arange(h, dtype=np.int32)[:, None] // tile.y) * across
                + np.arange(w, dtype=np.int32) // tile.x).astype(np.int32)
        s = self.scale  # pixel shuffle: (C, s, s) channels on (H, W) to C channels on (s H, s W)
        return core.reshape(c // s**2, s, s, h, w).transpose(0, 3, 1, 4, 2).ravel()


class Convolution(Tiles):
    """A convolution that keeps one kernel per core; a transposed one in its sub-pixel form."""

    def __init__(self, network: Network, layer: LayerDescription, before: list) -> None:
        super().__init__(network, layer, before)
        shape, kernel, stride = network.as_shared(layer)
        self.scale = self.shape[1] // shape[1]
        self.shape = shape
        padding = layer.padding if layer.kind == "conv" else tuple(k // 2 for k in kernel)
        inputs = network.shape(network.sources(layer)[0])[0]
        self.group = shape[0] // layer.groups
        self.geometry = {
            "kernel": tuple(d * (k - 1) + 1 for k, d in zip(kernel, layer.dilation)),
            "stride": tuple(stride), "padding": tuple(padding),
            "groups": (self.group, inputs // layer.groups)}
        self.taps = math.prod(kernel) * inputs // layer.groups
        self.bits = STORED_BITS[layer.weight_bits[0]]
        self.bias_axons = BIAS_AXONS * layer.clocked

    def parts(self, channels: int) -> list[int]:
        return channel_parts(channels)

    def kernel_words(self, first: int, parts: list[int]) -> int:
        words = 0
        for part in parts:
            _, held = np.unique(np.arange(first, first + part) // self.group, return_counts=True)
            words += self.taps * int(words_of(held, self.bits).sum())
            first += part
        return words

    def sent_per_pixel(self, channels: int) -> int:
        # The pixels of a transposed convolution are scale by scale of the grid's.
        return len(channel_parts(-(-channels // self.scale**2))) * self.scale**2
