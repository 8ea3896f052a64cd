"""A graph of the Neuromorphic Intermediate Representation (NIR) as a NetX file.

NIR says in continuous time and real numbers what a chip does in timesteps and integers. A step of
forward Euler of length dt makes decays and gains of the time constants; per layer one scale makes
whole numbers of weights, biases and threshold. What is whole already stays as it is.

    LIF      tau v' = v_leak - v + r I     ->  decay dt / tau, weights times r dt / tau
    CubaLIF  tau_syn I' = -I + w_in S      ->  current decay dt / tau_syn, weights times w_in too
    IF, I    v' = r I                      ->  no decay, weights times r dt
    LI, CubaLI                             ->  the same without a threshold

Only chains: Input, then linear nodes (Affine, Linear, Conv2d, SumPool2d, Flatten) and neurons in
turn, then Output. The file format is HDF5; the package `nir` is not needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from hw_configs.files import UserError
from hw_configs.reading import MOST_NEURONS
from lava_models.net.hdf5_input import entry_of, open_hdf5, values_of
from lava_models.net.netx_layers import DECAY_ONE, ConvSynapses
from lava_models.net.netx_write import Entry

TIMESTEP = 1e-4
"""Seconds; what snnTorch and others take where nothing is said."""
NEURONS = ("LIF", "CubaLIF", "IF", "LI", "CubaLI", "I")
LINEAR = ("Affine", "Linear", "Conv2d", "SumPool2d", "Flatten")
MOST_EXTENT = 2**15
"""Of strides, paddings, dilations and kernels."""
WEIGHT_MAX, BIAS_MAX, THRESHOLD_MAX = 254, 4095, 131071
SAME = 1e-6
"""Relative difference up to which parameters are one for a layer."""


@dataclass(frozen=True)
class Imported:
    """What became of one layer."""

    name: str
    """Of its neurons' node."""
    scale: float
    """Integers per unit of the weights times their gain."""
    error: float
    """Largest rounding error of a weight, as a share of the largest weight."""


@dataclass
class _Linear:
    """What stands between two populations of neurons: a kernel, or a matrix."""

    kernel: dict | None = None
    """weight (O, I, y, x) float64, stride, padding, dilation, groups."""
    matrix: np.ndarray | None = None
    bias: np.ndarray | None = None
    pools: list[ConvSynapses] = field(default_factory=list)


def read_nir(path: Path, timestep: float = TIMESTEP) -> tuple[list[Entry], list[Imported]]:
    """A NIR graph as entries of a NetX file's /layer, and how each layer was rounded.

    Args:
        timestep: dt in the unit of the file's time constants.

    Raises:
        UserError: no NIR file, no chain, or what NetX cannot say; names node, type and field.
    """
    with open_hdf5(path, "NIR file") as file:
        graph, nodes = entry_of(file, "node"), entry_of(file, "node/nodes")
        if not isinstance(nodes, h5py.Group):
            raise UserError(f"{path}: has no graph at /node; expected a NIR file")
        return _Reader(graph, path, timestep).read()


class _Node:
    """One node; whatever is wrong with it is said with its name, type and field."""

    def __init__(self, group: h5py.Group, name: str, path: Path) -> None:
        self.group, self.name, self.path = group, name, path
        self.type = "?"
        self.type = self.text("type") or "?"

    def error(self, field_name: str, what: str) -> UserError:
        return UserError(f"{self.path}: {self.name} ({self.type}): {field_name}: {what}")

    def array(self, name: str) -> np.ndarray:
        value = self._values(name)
        if value.dtype.kind not in "iuf" or not np.isfinite(value).all():
            raise self.error(name, f"holds {value.dtype}, expected finite numbers")
        return value.astype(np.float64)

    def _values(self, name: str) -> np.ndarray:
        try:
            found = entry_of(self.group, name)
            if not isinstance(found, h5py.Dataset):
                raise self.error(name, "is missing")
            return values_of(found)
        except ValueError as error:
            raise self.error(name, str(error)) from None

    def text(self, name: str) -> str | None:
        """An entry that is one text; None where it is something else."""
        value = self._values(name)
        one = value.item() if value.size == 1 else None
        return _text(one) if isinstance(one, (bytes, str)) else None

    def one(self, name: str) -> float:
        """A parameter that a LIF layer of a chip has once."""
        value = self.array(name)
        if value.size == 0 or np.ptp(value) > SAME * max(abs(float(value.flat[0])), 1e-30):
            raise self.error(name, f"{value.min():g} to {value.max():g}; a layer of Loihi's LIF "
                             "has one for all neurons")
        return float(value.flat[0])

    def pair(self, name: str) -> tuple[int, int]:
        value = np.ravel(self.array(name))
        if value.size not in (1, 2) or not (0 <= value).all() or not (value <= MOST_EXTENT).all():
            raise self.error(name, f"{value[:3].tolist()}, expected (y, x) of 0 to {MOST_EXTENT}")
        return int(value[0]), int(value[-1])


def _group(group: h5py.Group, name: str) -> h5py.Group:
    found = entry_of(group, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{name} is no group")
    return found


def _text(value: object) -> str:
    return value.decode("utf8", "replace") if isinstance(value, bytes) else str(value)


class _Reader:
    def __init__(self, graph: h5py.Group, path: Path, timestep: float) -> None:
        self.path, self.dt = path, timestep
        nodes = entry_of(graph, "nodes")
        self.nodes = {name: _Node(_group(nodes, name), name, path) for name in nodes}
        found = entry_of(graph, "edges")
        if not isinstance(found, h5py.Dataset):
            raise UserError(f"{path}: edges: is missing")
        edges = values_of(found)
        if edges.ndim != 2 or edges.shape[1] != 2:
            raise UserError(f"{path}: edges: have shape {edges.shape}, expected (n, 2)")
        self.edges = [tuple(map(_text, edge)) for edge in edges.tolist()]
        self.shape: tuple[int, ...] = ()
        self.entries: list[Entry] = []
        self.rounded: list[Imported] = []

    def read(self) -> tuple[list[Entry], list[Imported]]:
        pending: list[_Node] = []
        for node in self._chain():
            if node.type == "Input":
                shape = np.ravel(node.array("shape"))[:4].tolist()
                if len(shape) not in (1, 3) or min(shape) < 1 or math.prod(shape) > MOST_NEURONS:
                    raise node.error("shape", f"{shape}, expected (n) or (channel, y, x), of at "
                                     f"most {MOST_NEURONS} neurons")
                self.shape = tuple(map(int, shape))
                self.entries.append({"type": "input", "shape": self.shape})
            elif node.type in LINEAR:
                pending.append(node)
            elif node.type in NEURONS:
                self._layer(pending, node)
                pending = []
            elif node.type != "Output":
                raise node.error("type", f"known are Input, Output, {', '.join(LINEAR + NEURONS)}")
        if pending:
            raise pending[-1].error("type", "no neurons after it; add a LI or LIF node")
        return self.entries, self.rounded

    def _chain(self) -> list[_Node]:
        """The nodes in order.

        Raises:
            UserError: a node has two inputs or outputs, or the graph ends elsewhere.
        """
        after: dict[str, str] = {}
        for source, target in self.edges:
            for name in (source, target):
                if name not in self.nodes:
                    raise UserError(f"{self.path}: an edge names {name!r}, which is no node")
            if source in after:
                raise self.nodes[source].error("edges", f"goes to {after[source]} and {target}; "
                                               "NetX has chains only")
            if target in after.values():
                raise self.nodes[target].error("edges", "has two inputs; NetX has chains only")
            after[source] = target
        starts = [name for name, node in self.nodes.items() if node.type == "Input"]
        if len(starts) != 1:
            raise UserError(f"{self.path}: {len(starts)} Input nodes, expected one")
        chain = [self.nodes[starts[0]]]
        while chain[-1].name in after:
            chain.append(self.nodes[after[chain[-1].name]])
            if len(chain) > len(self.nodes):
                raise chain[-1].error("edges", "the graph runs in a circle; NetX has chains only")
        if chain[-1].type != "Output" or len(chain) != len(self.nodes):
            raise chain[-1].error("edges", f"the chain ends here with {len(chain)} of "
                                  f"{len(self.nodes)} nodes, expected all up to an Output")
        return chain

    # --- a layer ---

    def _layer(self, pending: list[_Node], neurons: _Node) -> None:
        if not any(node.type != "Flatten" for node in pending):
            raise neurons.error("type", "neurons without weights before them; add an Affine node")
        linear = _Linear()
        for node in pending:
            getattr(self, f"_{node.type.lower()}")(node, linear)
        if linear.matrix is None and linear.kernel is None:
            self._lone_pool(linear, neurons)
        gain, bias, neuron, threshold = self._neuron(neurons, linear.bias)
        weight = gain * (linear.kernel["weight"] if linear.kernel else linear.matrix)
        whole, scale, error = _whole(weight, bias, threshold, neurons)
        entry = {"neuron": neuron, "weight": whole["weight"], "bias": whole["bias"]}
        if threshold is not None:
            neuron["vThMant"] = int(whole["threshold"])
        if linear.kernel:
            rest = {k: v for k, v in linear.kernel.items() if k != "weight"}
            entry |= {"type": "conv", "shape": self.shape, **rest}
        else:
            entry |= {"type": "dense", "shape": self.shape}
        self.entries.append(entry)
        self.rounded.append(Imported(neurons.name, scale, error))

    def _flatten(self, node: _Node, linear: _Linear) -> None:
        if linear.kernel is not None:
            raise node.error("type", "no neurons between a convolution and Flatten")
        if len(self.shape) == 3 and not linear.pools:
            self.entries.append({"type": "flatten", "shape": (math.prod(self.shape),)})
            self.shape = (math.prod(self.shape),)

    def _affine(self, node: _Node, linear: _Linear) -> None:
        self._linear(node, linear)
        bias = np.ravel(node.array("bias"))
        if bias.size != len(linear.matrix):
            raise node.error("bias", f"{bias.size} values, expected {len(linear.matrix)}")
        linear.bias = bias

    def _linear(self, node: _Node, linear: _Linear) -> None:
        if linear.kernel is not None or linear.matrix is not None:
            raise node.error("type", "no neurons between two linear nodes")
        weight = node.array("weight")
        size = math.prod(self.shape)
        if weight.ndim != 2 or weight.shape[1] != size:
            raise node.error("weight", f"has shape {weight.shape}, expected (out, {size})")
        for pool in reversed(linear.pools):
            weight = weight @ pool.matrix().toarray()
        if linear.pools:
            self.entries.append({"type": "flatten", "shape": (weight.shape[1],)})
        linear.matrix, self.shape = weight, (len(weight),)

    def _conv2d(self, node: _Node, linear: _Linear) -> None:
        if linear.kernel is not None or linear.matrix is not None or len(self.shape) != 3:
            raise node.error("type", f"gets {self.shape}, or no neurons between two linear nodes")
        weight, groups = node.array("weight"), int(node.one("groups"))
        if groups < 1 or weight.ndim != 4 or weight.shape[1] * groups != self.shape[0]:
            raise node.error("weight", f"has shape {weight.shape}, expected (out, "
                             f"{self.shape[0]} / groups = {groups}, y, x)")
        padding, dilation = self._padding(node, weight.shape[2:]), node.pair("dilation")
        stride = node.pair("stride")
        for pool in reversed(linear.pools):
            weight, stride, padding = _through(pool, weight, stride, padding, dilation, node)
        linear.kernel = {"weight": weight, "stride": stride, "padding": padding,
                         "dilation": dilation, "groups": groups}
        before = linear.pools[0].input_shape if linear.pools else self.shape
        made = ConvSynapses(np.ones(weight.shape, np.int32), 8, before, stride, padding, dilation,
                            groups)
        self.shape = made.shape
        bias = np.ravel(node.array("bias")) if "bias" in node.group else np.zeros(len(weight))
        linear.bias = bias

    def _padding(self, node: _Node, kernel: tuple[int, int]) -> tuple[int, int]:
        value = node.text("padding")
        if value is not None:
            if value == "valid":
                return 0, 0
            if value == "same" and all(k % 2 for k in kernel):
                d = node.pair("dilation")
                return tuple(n * (k // 2) for n, k in zip(d, kernel))
            raise node.error("padding", f"{value!r} with a kernel of {kernel}")
        return node.pair("padding")

    def _sumpool2d(self, node: _Node, linear: _Linear) -> None:
        if linear.kernel is not None or linear.matrix is not None or len(self.shape) != 3:
            raise node.error("type", f"gets {self.shape}, or no neurons before it")
        kernel, channels = node.pair("kernel_size"), self.shape[0]
        pool = ConvSynapses(np.ones((channels, 1, *kernel), np.int32), 1, self.shape,
                            node.pair("stride"), node.pair("padding"), (1, 1), channels)
        linear.pools.append(pool)
        self.shape = pool.shape

    def _lone_pool(self, linear: _Linear, neurons: _Node) -> None:
        """A sum pool with neurons of its own: a convolution channel by channel."""
        if len(linear.pools) != 1:
            raise neurons.error("type", "more than one SumPool2d before it and nothing else")
        pool = linear.pools[0]
        linear.kernel = {"weight": pool.weight.astype(np.float64), "stride": pool.stride,
                         "padding": pool.padding, "dilation": (1, 1), "groups": pool.groups}

    def _neuron(self, node: _Node, bias: np.ndarray | None
                ) -> tuple[float, np.ndarray, dict, float | None]:
        """(gain of the weights, bias per timestep, fields of NetX's neuron, threshold or None)."""
        if "v_reset" in node.group and np.any(node.array("v_reset")):
            raise node.error("v_reset", "Loihi's LIF resets to 0")
        size = self.shape[0]
        bias = np.zeros(size) if bias is None else bias
        current, gain = DECAY_ONE, node.one("r")
        if node.type in ("IF", "I"):
            voltage, gain = 0, gain * self.dt
        else:
            leaks = "tau_mem" if node.type.startswith("Cuba") else "tau"
            voltage, share = self._decay(node, leaks)
            gain *= share
        if node.type.startswith("Cuba"):
            if bias.any():
                raise node.error("tau_syn", "a bias before it is filtered by the current, NetX's "
                                 "acts on the voltage; put it into v_leak")
            current, share_syn = self._decay(node, "tau_syn")
            gain *= share_syn * node.one("w_in")
        bias = bias * gain
        if "v_leak" in node.group:
            bias = bias + self._leak(node, size) * voltage / DECAY_ONE
        neuron = {"type": b"CUBA", "iDecay": current, "vDecay": voltage, "vThMant": THRESHOLD_MAX,
                  "refDelay": 1, "gradedSpike": False}
        threshold = node.one("v_threshold") if "v_threshold" in node.group else None
        if threshold is not None and threshold <= 0:
            raise node.error("v_threshold", f"{threshold:g}, expected more than 0")
        return gain, bias, neuron, threshold

    def _leak(self, node: _Node, size: int) -> np.ndarray:
        """v_leak per bias: per neuron, or per channel of a map."""
        leak = node.array("v_leak")
        each = np.broadcast_to(leak.reshape(-1), math.prod(self.shape) if leak.size == 1 else
                               leak.size).reshape(size, -1)
        if np.ptp(each, axis=1).max() > SAME * max(np.abs(each).max(), 1e-30):
            raise node.error("v_leak", "differs within a channel; NetX has one bias per channel")
        return each[:, 0]

    def _decay(self, node: _Node, name: str) -> tuple[int, float]:
        """(decay per timestep in 1/4096, the exact share dt / tau)."""
        tau = node.one(name)
        if tau < self.dt * (1 - SAME):
            raise node.error(name, f"{tau:g} is less than the timestep {self.dt:g}; see --timestep")
        share = min(self.dt / tau, 1.0)
        return round(DECAY_ONE * share), share


def _through(pool: ConvSynapses, weight: np.ndarray, stride: tuple[int, int],
             padding: tuple[int, int], dilation: tuple[int, int], node: _Node):
    """A convolution over a sum pool as one over what the pool gets: (weight, stride, padding).

    Raises:
        UserError: the two together are no convolution.
    """
    whole = all((n - k) % s == 0 for n, k, s in zip(pool.input_shape[1:], pool.kernel, pool.stride))
    padded = any(padding)
    if any(pool.padding) or dilation != (1, 1) or padded and (
            not whole or any(k > s for k, s in zip(pool.kernel, pool.stride))):
        raise node.error("padding", "with the SumPool2d before it this is no convolution; put "
                         "neurons between them")
    (ky, kx), (sy, sx) = weight.shape[2:], pool.stride
    py, px = pool.kernel
    out = np.zeros((*weight.shape[:2], (ky - 1) * sy + py, (kx - 1) * sx + px))
    for a, b in np.ndindex(ky, kx):
        out[:, :, a * sy:a * sy + py, b * sx:b * sx + px] += weight[:, :, a, b, None, None]
    return out, (stride[0] * sy, stride[1] * sx), (padding[0] * sy, padding[1] * sx)


def _whole(weight: np.ndarray, bias: np.ndarray, threshold: float | None, node: _Node
           ) -> tuple[dict[str, np.ndarray], float, float]:
    """(weight, bias and threshold as whole numbers, their scale, the rounding error)."""
    top = float(np.abs(weight).max(initial=0))
    if top == 0:
        raise node.error("weight", "all weights before it are 0")
    known = [weight, bias, np.array(0.0 if threshold is None else threshold)]
    if all(np.allclose(v, np.round(v), rtol=0, atol=SAME) for v in known) and top <= WEIGHT_MAX:
        scale, step = 1.0, 1
    else:
        limits = [WEIGHT_MAX / top]
        if np.abs(bias).max(initial=0) > 0:
            limits.append(BIAS_MAX / float(np.abs(bias).max()))
        if threshold is not None:
            limits.append(THRESHOLD_MAX / threshold)
        scale, step = min(limits), 2  # a chip drops the last bit where both signs occur
    whole = {"weight": (step * np.round(weight * scale / step)).astype(np.int32),
             "bias": np.round(bias * scale).astype(np.int32),
             "threshold": np.round(known[2] * scale)}
    if threshold is not None and whole["threshold"] < 1:
        raise node.error("v_threshold", f"{threshold:g} vanishes beside weights of {top:g} in 8 "
                         "bits")
    error = float(np.abs(whole["weight"] / scale - weight).max() / top)
    return whole, scale, error
