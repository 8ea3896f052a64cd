"""Random networks through the reference and Lava's graphs, value by value: `make equality`.

All kinds of latents, D, T, lags, k and random bits; weights and biases up to what registers hold,
thresholds from always firing to never, leaks from none to all. The reference and the fused
processes have arithmetics of their own, and an overflow is an error in the fused one.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from conftest import make_gated_net, make_net, make_poisson_net, make_rate_net

from hw_configs.files import UserError
from lava_models import ChipBits, Lif, NetFile, encode_images
from lava_models.graph.compare import compare_with_reference
from lava_models.graph.lava_graph import run_graph
from lava_models.net.netfile import PARTS

STOCK_EVERY = 6
"""One network in so many goes through the graph of stock processes, too: it is slow."""
DECAYS = (0, 1, 819, 1200, 3072, 4000, 4094, 4095)


@dataclass
class Tally:
    """What was compared."""

    seed: int
    networks: Counter = field(default_factory=Counter)
    """By kind."""
    values: Counter = field(default_factory=Counter)
    """By graph."""
    spikes: int = 0
    differing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        each = ", ".join(f"{n} {graph}" for graph, n in sorted(self.values.items()))
        return (f"{sum(self.values.values())} values ({each}), {self.spikes} spikes, of "
                f"{self.networks.total()} random networks ("
                f"{', '.join(f'{n} {k}' for k, n in sorted(self.networks.items()))}), seed "
                f"{self.seed}: {len(self.differing)} networks differ")


def random_net(draw: random.Random) -> tuple[str, NetFile]:
    """(kind, a network that registers hold)."""
    kind = draw.choice(["one of k", "one of k", "gated", "rate", "rate without prior", "Poisson"])
    while True:
        try:
            net = _made(kind, draw)
            break
        except UserError:  # its random weights are more than registers hold
            continue
    for _ in range(20):
        try:
            return kind, _extreme(net, draw)
        except UserError:
            continue
    return kind, net


def _made(kind: str, draw: random.Random) -> NetFile:
    seed, bits = draw.randrange(2**31), draw.randint(4, 9)
    ticks, latent = draw.choice([1, 2, 3, 4, 7, 8, 16]), draw.choice([1, 3, 6, 13])
    if kind == "Poisson":
        return make_poisson_net(ticks=ticks, latent=latent, random_bits=bits, seed=seed)
    if kind.startswith("rate"):
        return make_rate_net(ticks=max(ticks, 2), latent=latent, random_bits=bits, seed=seed,
                             prior_bits=0 if "without" in kind else draw.randint(1, 9))
    make = make_gated_net if kind == "gated" else make_net
    return make(lag=draw.choice([1, 2, 4]), ticks=ticks, latent=latent, random_bits=bits,
                k=draw.choice([2, 3, 4, 8, 20, 64]), seed=seed)


def _extreme(net: NetFile, draw: random.Random) -> NetFile:
    """The network with some layers of other leaks, thresholds, weights and biases."""
    parts = {}
    for part in PARTS:
        layers = list(getattr(net, part))
        for i, layer in enumerate(layers):
            if draw.random() < 0.4 or not isinstance(layer.neuron, Lif) or (
                    part == "prior" and net.rate is not None):
                continue
            neuron = layer.neuron
            if neuron.spiking:
                threshold = draw.choice([1, 2, neuron.threshold, 300, 3000, 131071])
                neuron = Lif(draw.choice(DECAYS), threshold)
            else:
                neuron = dataclasses.replace(neuron, decay=draw.choice(DECAYS))
            scale = draw.choice([0, 1, 1, 1, 2, 6])
            layers[i] = dataclasses.replace(
                layer, neuron=neuron, weight=(layer.weight * scale).clip(-256, 254),
                bias=(layer.bias * draw.choice([-8, 0, 1, 1, 30])).clip(-4096, 4094))
        parts[part] = tuple(layers)
    return dataclasses.replace(net, **parts)


def compare_one(tally: Tally, number: int) -> None:
    """One random network, in all its modes."""
    draw = random.Random(f"{tally.seed}/{number}")
    kind, net = random_net(draw)
    tally.networks[kind] += 1
    for mode in net.modes:
        lanes = draw.choice([3, 16, 40])
        plans = [("fused", lanes, lanes * draw.randint(1, 3) - draw.randint(0, 2))]
        if number % STOCK_EVERY == 0:
            plans.append(("stock", 1, 2))
        bits = ChipBits.of(net, mode, draw.randrange(1000))
        for graph, lanes, samples in plans:
            images = None
            if mode == "reconstruct":
                pixels = np.random.default_rng(number).uniform(-1, 1, (samples, *net.image_shape))
                images = encode_images(net, pixels)
            run = run_graph(net, mode, bits, samples, images, graph=graph, lanes=lanes)
            found = compare_with_reference(run, net, mode, bits, images)
            tally.values[graph] += sum(p.values for p in found.populations)
            tally.spikes += sum(p.spikes for p in found.populations)
            if found.differing:
                tally.differing.append(f"network {number} ({kind}, {mode}, {graph}): {found}")


def equality(seed: int, seconds: float, most: int = 10**9,
             say: Callable[[str], None] = lambda text: None) -> Tally:
    """Random networks for so long, or so many."""
    tally, end = Tally(seed), time.monotonic() + seconds
    for number in range(most):
        if time.monotonic() >= end:
            break
        compare_one(tally, number)
        if number % 20 == 0:
            say(str(tally))
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="make equality", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--networks", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tally = equality(given.seed, given.seconds, given.networks, lambda s: print(s, flush=True))
    print("\n".join([str(tally), *tally.differing]))
    return 1 if tally.differing else 0


if __name__ == "__main__":
    sys.exit(main())
