"""The program: a network's wiring, written once: populations, and connections between them.

Built from a model.net and a mode. The schedule, the reference, the Lava graphs, the counts and
what a chip's compiler sees are folds over it, so that a new latent or neuron adds a population here
and no branch there. A population is asked what it is (`kind`), never compared by its name.

    images -> layers of encoder and posterior -> draw -> layers of the decoder -> readout
                                  ^------- its copy, L ticks late ----'

Rates are held: the encoder's T spikes of a sample are collected while the next one's come, and are
the draw's candidates for T timesteps. To generate, random bits are held in their place, which the
prior makes rates of.

    encoder -> relays -> gates -> latches -> draw -> decoder -> readout
    random bits -> gates -> latches -> each layer of the prior ... -> draw ...

Beside them on the chip: the ring that draws random bits, and tick neurons, on which biases ride.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hw_configs.files import UserError
from lava_models.net.netfile import NetFile
from lava_models.net.populations import (
    GRADED,
    SPIKES,
    Carried,
    CarriedChances,
    Connection,
    Draw,
    DrawWeights,
    Gates,
    Host,
    Latches,
    LayerWeights,
    Neurons,
    OneEach,
    Population,
    Relays,
    RingNeurons,
    RingWeights,
    TickNeurons,
)
from lava_models.net.ring import BITS, CELLS, POPULATIONS, RULE, Ring
from lava_models.net.schedule import Schedule, make_schedule
from lava_models.net.synapse import unroll

RING_COUNTED_FROM = 3
"""Timestep from which on the ring of random bits shows no trace of how it was started."""
IMAGES, DRAW, FEEDBACK = "images", "selection", "selection.feedback"
RELAYS, GATES, LATCHES, LOAD, CLEAR = "relays", "gates", "latches", "load", "clear"
CLOCK, SILENCE, RANDOM_BITS = "clock", "silence", "random bits"

@dataclass(frozen=True)
class Program:
    """A network in one mode, ready to be run, drawn, counted or mapped."""

    mode: str
    populations: tuple[Population, ...]
    """Host's, then in the order of the wave, then the ring's, then tick neurons."""
    connections: tuple[Connection, ...]
    schedule: Schedule

    @cached_property
    def _by_name(self) -> dict[str, Population]:
        return {p.name: p for p in self.populations}

    def __getitem__(self, name: str) -> Population:
        return self._by_name[name]

    def of(self, *kinds: type) -> list[Population]:
        """Populations of these kinds, in order."""
        return [p for p in self.populations if isinstance(p.kind, kinds)]

    def into(self, name: str) -> list[Connection]:
        """What ends on a population."""
        return [c for c in self.connections if c.target == name]

    def first_in(self, name: str) -> int:
        """A population's first neuron in what it is compiled into."""
        compiled = self[name].compiled
        before = (p for p in self.populations[:self.populations.index(self[name])]
                  if p.compiled == compiled)
        return sum(p.size for p in before)

    @property
    def waves(self) -> list[Population]:
        """Layers and latents, in the order in which the wave passes."""
        return [p for p in self.populations if p.waves]

    @property
    def draws(self) -> list[Population]:
        """The latents: what the decoder gets, then the copy that is fed back, if there is one."""
        return self.of(Draw)

    @property
    def readout(self) -> Population:
        return self.waves[-1]

    @property
    def carriers(self) -> list[Population]:
        """Tick neurons that carry biases and constants."""
        return [p for p in self.of(TickNeurons) if p.compiled == CLOCK]


def build_program(net: NetFile, mode: str, held: np.ndarray | None = None) -> Program:
    """The wiring of `net` in `mode`.

    Args:
        mode: "reconstruct" (encoder, posterior, decoder) or "generate" (prior, decoder).
        held: graded input int32 (C*H*W,) that is kept on the chip for all samples; then nothing
            comes from the host.

    Raises:
        UserError: the lag does not fit the loop, or the file has no prior to generate from.
    """
    if mode not in net.modes:
        raise UserError(f"--mode {mode}: the file has no prior to draw from; fit-prior trains one "
                        "on the codes of a run of --model esvae, and export-netx takes it along")
    return _Builder(net, mode, held).build()


def schedule_for(net: NetFile, mode: str) -> Schedule:
    """The timing of `net` in `mode`."""
    return build_program(net, mode).schedule


def _beside(name: str, population: Population) -> str:
    """What is called `name` of the same stage: "load.3" beside "gates.3"."""
    return ".".join([name, *population.name.split(".")[1:]])


class _Builder:
    def __init__(self, net: NetFile, mode: str, held: np.ndarray | None) -> None:
        self.net, self.mode, self.held = net, mode, held
        self.layers = dict(net.named_layers())
        before = ("encoder", "posterior") if mode == "reconstruct" else ("prior",)
        self.proposing = [name for name, _ in net.named_layers(*before)]
        self.summed = None
        """The prior's last layer, whose sums the draw takes."""
        self.spare = 0
        """Random bits that are held."""
        random = ()
        if net.rate is not None and mode == "reconstruct":
            self.proposing += [*(f"{RELAYS}.{i}" for i in range(net.ticks)), GATES, LATCHES]
        elif net.rate is not None:
            self.summed, hidden = self.layers[self.proposing[-1]], self.proposing[:-1]
            # A timestep's bits serve every T-th stage, each a set of its own.
            self.spare = net.rate.prior_bits * -(-len(hidden) // net.ticks)
            self.proposing = [f"{GATES}.0", f"{LATCHES}.0", *hidden]
            random = (f"{GATES}.0",)
        self.decoding = [name for name, _ in net.named_layers("decoder")]
        self.order = [*self.proposing, DRAW, *self.decoding]
        self.fed_to = f"{before[-1]}.0" if net.loops else None
        """The layer that z comes back to."""
        self.schedule = make_schedule(self.order, DRAW, self.fed_to, ticks=net.ticks, lag=net.lag,
                                      random=random)
        self.ring = Ring(net.latent * net.random_bits + self.spare)
        self.last_ticks = min(net.lag, net.ticks)

    def build(self) -> Program:
        host = list(self._host())
        waves = [p for name in self.order for p in self._wave(name)]
        ring = [Population(name, RANDOM_BITS, RingNeurons(self.ring), (size,), RING_COUNTED_FROM)
                for name, size in zip(POPULATIONS, self.ring.sizes, strict=True)]
        kept = {p.name: p for p in waves}
        ticks = [p for name in self.order for p in self._carrier(kept[name])]
        if self.net.loops:
            ticks.append(self._silencers())
        for name, of in ((LOAD, Gates), (CLEAR, Latches)):
            ticks += [self._once(_beside(name, p), p.phase - 1, name) for p in waves
                      if isinstance(p.kind, of)]
        populations = (*host, *waves, *ring, *ticks)
        return Program(self.mode, populations, tuple(self._connections(populations)),
                       self.schedule)

    # --- populations ---

    def _host(self) -> Iterator[Population]:
        if self.mode == "reconstruct" and self.held is None:
            shape = (self.net.latent,) if self.net.poisson else self.net.image_shape
            yield Population(IMAGES, "input", Host(), shape,
                             self.schedule.phases[self.order[0]] - 1)

    def _wave(self, name: str) -> Iterator[Population]:
        phase, net = self.schedule.phases[name], self.net
        if name == DRAW:
            chances = None
            if net.poisson is not None:
                chances = net.poisson.prior if self.mode == "generate" else self.held
            draw = Draw(net.draw_rule(self.mode), chances, self.summed, self.spare)
            yield Population(DRAW, "latent", draw, (net.latent,), phase)
            if net.loops:
                yield Population(FEEDBACK, "latent", replace(draw, muted=self.last_ticks),
                                 (net.latent,), phase, row=DRAW, like=DRAW)
            return
        if name.startswith(RELAYS):
            source = self.order[self.order.index(f"{RELAYS}.0") - 1]
            yield Population(name, "latent", Relays(), (net.latent,), phase, row=RELAYS,
                             compiled=RELAYS, like=source)
            return
        if name in (GATES, LATCHES):
            yield Population(name, "latent", Gates() if name == GATES else Latches(),
                             (net.latent * net.ticks,), phase)
            return
        if name.startswith((GATES, LATCHES)):
            return  # beside the layer that they are for
        if self.spare and name.startswith("prior."):
            stage = int(name.split(".")[1])
            for store, kind, early in ((GATES, Gates(stage), 2), (LATCHES, Latches(), 1)):
                yield Population(f"{store}.{stage}", "latent", kind, (net.rate.prior_bits,),
                                 phase - early, row=store,
                                 compiled=GATES if store == GATES else "")
        layer = self.layers[name]
        held = None
        if name == self.order[0] and self.held is not None:
            held = (unroll(layer) @ self.held).astype(np.int32)
        part = name.split(".")[0] if layer.neuron.spiking else "readout"
        yield Population(name, part, Neurons(layer, held), self._shape(name), phase)

    def _shape(self, name: str) -> tuple[int, ...]:
        """Of a dense layer before a convolution: the map that it is read as."""
        layer, at = self.layers[name], self.order.index(name) + 1
        after = self.layers.get(self.order[at]) if at < len(self.order) else None
        if layer.type == "dense" and after is not None and after.type != "dense":
            return after.input_shape
        return layer.shape

    def _carrier(self, population: Population) -> Iterator[Population]:
        kind = population.kind
        if not isinstance(kind, (Neurons, Draw)):
            return
        constant = kind.chances if isinstance(kind, Draw) else kind.held
        if constant is not None or kind.layer is not None and kind.layer.bias.any():
            every = TickNeurons(np.ones((self.net.ticks, 1), bool), self.schedule.dilation)
            yield Population(f"{CLOCK}.{population.name}", CLOCK, every, (1,),
                             population.phase - 1, row=CLOCK, compiled=CLOCK)

    def _silencers(self) -> Population:
        """One per tick in which the feedback is silent."""
        fires = np.eye(self.net.ticks, dtype=bool)[:, self.net.ticks - self.last_ticks:]
        return Population(SILENCE, CLOCK, TickNeurons(fires, self.schedule.period),
                          (self.last_ticks,), self.schedule.phases[DRAW] - 1, row=CLOCK)

    def _once(self, name: str, phase: int, compiled: str) -> Population:
        """A tick neuron that fires once a sample."""
        fires = np.zeros((self.net.ticks, 1), bool)
        fires[0] = True
        return Population(name, CLOCK, TickNeurons(fires, self.schedule.period), (1,), phase,
                          row=CLOCK, compiled=compiled)

    # --- connections ---

    def _connections(self, populations: tuple[Population, ...]) -> Iterator[Connection]:
        for source, target in ((CELLS, RULE), (RULE, CELLS), (CELLS, BITS)):
            yield Connection(source, target, "", RingWeights(self.ring, target))
        names = {p.name for p in populations}
        upstream = IMAGES if IMAGES in names else None
        for population in (p for p in populations if p.waves):
            carrier = f"{CLOCK}.{population.name}"
            if isinstance(population.kind, (Relays, Gates, Latches)):
                yield from self._stored(population, upstream)
            else:
                yield from self._into(population, upstream, carrier if carrier in names else None)
            if population.name != DRAW or FEEDBACK not in names:
                upstream = DRAW if isinstance(population.kind, Draw) else population.name

    def _into(self, population: Population, upstream: str | None, carrier: str | None
              ) -> Iterator[Connection]:
        name, kind = population.name, population.kind
        graded = GRADED if upstream == IMAGES else SPIKES
        if isinstance(kind, Draw):
            def weights(port: str) -> DrawWeights:
                return DrawWeights(kind.selection, population.size, self.last_ticks, port,
                                   kind.spare)

            if kind.layer is not None:
                yield Connection(upstream, name, "zeta_in",
                                 LayerWeights(kind.layer, 0, kind.layer.weight.shape[1]))
            elif upstream is not None and kind.chances is None:
                yield Connection(upstream, name, "zeta_in", weights("zeta_in"), message=graded)
            yield Connection(BITS, name, "bits_in", weights("bits_in"))
            if kind.muted:
                yield Connection(SILENCE, name, "silence", weights("silence"))
            if carrier is not None:
                carried = (CarriedChances(kind.chances) if kind.layer is None
                           else Carried(Neurons(kind.layer)))
                yield Connection(carrier, name, "tick", carried)
            return
        last = math.prod(kind.layer.input_shape)
        beside, lag = FEEDBACK, self.net.lag
        split = last - self.net.latent * (name == self.fed_to)
        if self.spare and name.startswith("prior."):
            stage = int(name.split(".")[1])
            beside, lag, split = f"{LATCHES}.{stage}", 0, last - self.net.rate.prior_bits
            upstream = f"prior.{stage - 1}"
        if upstream is not None and split:
            yield Connection(upstream, name, "s_in", LayerWeights(kind.layer, 0, split),
                             message=graded)
        if split < last:  # beside what comes from upstream, or alone
            yield Connection(beside, name, "z_in" if split else "s_in",
                             LayerWeights(kind.layer, split, last), lag=lag)
        if carrier is not None:
            yield Connection(carrier, name, "tick", Carried(kind))

    def _stored(self, population: Population, upstream: str) -> Iterator[Connection]:
        """Into relays, gates and latches."""
        name, n = population.name, population.size
        one, every = np.arange(n), np.zeros(n, np.int64)

        def each(weight: int, sources: np.ndarray = one, size: int = n) -> OneEach:
            return OneEach(sources, one, (n, size), weight)

        if isinstance(population.kind, Relays):
            yield Connection(upstream, name, "s_in" * (name == f"{RELAYS}.0"), each(1))
        elif isinstance(population.kind, Gates):
            weight, ticks = Gates.one, self.net.ticks
            yield Connection(_beside(LOAD, population), name, "load", each(weight, every, 1))
            if self.spare:
                bits = self.ring.bits
                spare = bits - self.spare + n * (population.kind.stage // ticks) + one
                yield Connection(BITS, name, "s_in", each(weight, spare, 2 * bits))
                yield Connection(BITS, name, "s_in", each(-weight, bits + spare, 2 * bits))
                return
            for i in range(ticks):  # the last relay holds the first tick's spikes
                tick = ticks - 1 - i
                channels = np.arange(self.net.latent)
                yield Connection(f"{RELAYS}.{i}", name, "", OneEach(
                    channels, channels * ticks + tick, (n, self.net.latent), weight), lag=-tick)
        else:
            yield Connection(_beside(GATES, population), name, "", each(Latches.gate))
            yield Connection(name, name, "", each(Latches.own))
            yield Connection(_beside(CLEAR, population), name, "clear",
                             each(Latches.clear, every, 1))
