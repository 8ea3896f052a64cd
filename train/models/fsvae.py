"""The Fully Spiking VAE (Kamata et al., AAAI 2022), built from SLAYER blocks.

x -> encoder -> x^E_t -> autoregressive posterior -> 1 of k -> z_t -> decoder -> sum over t -> tanh

Generation replaces encoder and posterior by the prior. Spikes are (T, N, ...), images (N, C, H, W)
in [-1, 1]. All randomness comes from the torch.Generator passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from train.backends.backend import Surrogate
from train.config import (
    AutoregressiveConfig,
    FsvaeConfig,
    GlifVaeConfig,
    LossConfig,
    SpikingLoss,
)
from train.layers.blocks import Dense
from train.layers.glif import Glif
from train.layers.neuron import Lif
from train.layers.norm import TdBN
from train.models.losses import Losses, kld, mmd
from train.models.spiking import SpikingVae
from train.parallel import Ranks

READOUT_SCALE = FsvaeConfig.state_scale
"""SLAYER's scale of a readout beside gated neurons."""


@dataclass(frozen=True)
class Output:
    """What a training or evaluation pass gives."""

    image: Tensor
    """(N, C, H, W) in (-1, 1); not bounded with readout tanh-per-tick."""
    posterior: Tensor
    """zeta of the posterior, spikes (T, N, C*k)."""
    prior: Tensor
    """zeta of the prior, spikes (T, N, C*k)."""
    latents: Tensor
    """z, (T, N, C)."""


class FSVAE(SpikingVae):
    """See the module's docstring; `config` holds every constant."""

    def _build_latents(self, c: AutoregressiveConfig, lif: Callable[..., Lif | Glif]) -> None:
        ends = (*c.bottleneck, c.latent * c.k)
        self.posterior = Autoregressive(2 * c.latent, ends, lambda n: lif(n, c.latent_gain))
        self.prior = Autoregressive(c.latent, ends, lambda n: lif(n, c.latent_gain))

    def parts(self) -> dict[str, Iterable[nn.Module]]:
        return {"encoder": self.encoder, "posterior": self.posterior.layers,
                "prior": self.prior.layers, "decoder": self.decoder}

    def pick(self, zeta: Tensor, choice: Tensor) -> Tensor:
        """z (..., C): of each channel's k candidates in zeta (..., C*k), the one chosen."""
        candidates = zeta.unflatten(-1, (self.config.latent, self.config.k))
        if self.config.latent_gradient == "mean":
            return _PickForAll.apply(candidates, choice)
        return candidates.gather(-1, choice[..., None]).squeeze(-1)

    def draw(self, batch: int, generator: Generator) -> Tensor:
        """Choices in 0..k-1 for all ticks, int64 (T, N, C), on the model's device."""
        c = self.config
        ranks = self.ranks if self.training else Ranks()  # one rank evaluates, on its own
        choice = torch.randint(c.k, (c.ticks, batch * ranks.size, c.latent), generator=generator,
                               device=generator.device)
        return ranks.share(choice, 1).to(self.decoder[-1].bias.device)

    def sample_posterior(self, features: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
        """One stateful pass: (zeta (T, N, C*k), z (T, N, C)) from x^E (T, N, C)."""
        return self._sample(self.posterior, features, choice)

    def _sample(self, net: "Autoregressive", features: Tensor | None, choice: Tensor):
        """Feed back what was picked L ticks ago; the feedback itself carries no gradient."""
        fed = [torch.zeros_like(choice[0], dtype=self.decoder[-1].bias.dtype)] * self.config.lag
        zetas, latents, stepper = [], [], Stepper(net, features)
        for t in range(self.config.ticks):
            zeta = stepper.step(fed[t])
            latents.append(self.pick(zeta, choice[t]))
            fed.append(latents[-1].detach())
            zetas.append(zeta)
        return torch.stack(zetas), torch.stack(latents)

    def _shifted(self, z: Tensor) -> Tensor:
        """What is fed back at each tick: z delayed by L ticks, zeros first, no gradient."""
        z = z.detach()
        lag = min(self.config.lag, len(z))
        return torch.cat([torch.zeros_like(z[:lag]), z[:len(z) - lag]])

    # --- whole passes ---

    def forward(self, image: Tensor, generator: Generator, loss: LossConfig | None = None,
                chance: float = 0.0) -> Output:
        """Reconstruct images and run the prior on the same latents (teacher forcing).

        Args:
            image: (N, C, H, W) in [-1, 1].
            generator: draws the latents and the scheduled sampling.
            loss: kind of scheduled sampling; only used with `chance` > 0.
            chance: scheduled sampling's probability per tick.
        """
        features = self.encode(image)
        choice = self.draw(len(image), generator)
        if self.training:
            zeta, z = self._draw_and_repeat(features, choice, self.config.posterior == "one_pass")
        else:
            zeta, z = self.sample_posterior(features, choice)
        prior_input = self._shifted(z)
        if self.training and chance > 0:
            prior_input = self._schedule(prior_input, loss, chance, generator)
        return Output(self.decode(z), zeta, self.prior(prior_input), z)

    def _draw_and_repeat(self, features: Tensor, choice: Tensor, running: bool
                         ) -> tuple[Tensor, Tensor]:
        """Draw z tick by tick without gradient, then run all ticks at once on what was drawn: what
        is fed back carries no gradient, so that none is lost.

        Args:
            running: repeat with the running statistics that it was drawn with (which gives the
                same again), not with the batch's.
        """
        with torch.no_grad(), self.posterior.frozen():
            _, drawn = self.sample_posterior(features, choice)
        with self.posterior.streaming() if running else nullcontext():
            zeta = self.posterior(self._shifted(drawn), features)
        return zeta, self.pick(zeta, choice)

    def _schedule(self, fed: Tensor, loss: SpikingLoss, chance: float, generator: Generator):
        """Replace some of the prior's inputs (T, N, C) by what it would have fed itself."""
        c = self.config
        device, whole = generator.device, fed.shape[1] * self.ranks.size
        shape = (c.ticks, 1 if loss.scheduled_sampling == "code" else whole, 1)
        hit = torch.rand(shape, generator=generator, device=device) < chance
        hit[:max(loss.scheduled_first_tick, c.lag)] = False
        noise = torch.randn((c.ticks, whole, c.latent), generator=generator, device=device)
        noise = self.ranks.share(noise, 1).to(fed.device)
        if loss.scheduled_sampling != "code":
            hit = self.ranks.share(hit, 1)
        choice = self.draw(fed.shape[1], generator)
        if hit.device.type == "cpu" and not hit.any():  # elsewhere asking would wait for the device
            return fed
        hit = hit.to(fed.device)
        own, inputs, stepper = [], [], Stepper(self.prior, None)
        with torch.no_grad(), self.prior.frozen():
            for t in range(c.ticks):
                inputs.append(torch.where(hit[t], own[t - c.lag], fed[t]) if t >= c.lag else fed[t])
                zeta = stepper.step(inputs[-1])
                if loss.scheduled_sampling == "code":  # majority vote with a little noise
                    rate = zeta.unflatten(-1, (c.latent, c.k)).mean(-1)
                    own.append((rate + 1e-3 * noise[t] > 0.5).to(fed.dtype))
                else:
                    own.append(self.pick(zeta, choice[t]))
        return torch.stack(inputs)

    def losses(self, output: Output, image: Tensor, config: SpikingLoss) -> Losses:
        """Loss of one batch of images (N, C, H, W)."""
        rates = (z.unflatten(-1, (-1, self.config.k)).mean(-1)
                 for z in (output.posterior, output.prior))
        distance = mmd(*rates, config.synapse_time) if config.distance == "mmd" else kld(*rates)
        reconstruction = torch.mean((output.image - image) ** 2)
        total = reconstruction + config.weight * distance
        return Losses(total, reconstruction, distance)

    @torch.no_grad()
    def generate(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images (count, C, H, W) drawn from the prior, and their latents (T, count, C)."""
        _, z = self._sample(self.prior, None, self.draw(count, generator))
        return self.decode(z), z

    def _rehearse(self, image: Tensor, generator: Generator) -> None:
        features = self.encode(image)
        _, z = self._draw_and_repeat(features, self.draw(len(image), generator), False)
        self.prior(self._shifted(z))
        self.decode(z)


class GlifVae(FSVAE):
    """The same with gated neurons (train.layers.glif)."""

    def _neuron(self, c: GlifVaeConfig, channels: int, norm: TdBN) -> Glif:
        surrogate = Surrogate(c.surrogate, 0.0, c.surrogate_width, c.surrogate_scale)
        return Glif(channels, c.ticks, c.glif, c.keep, c.threshold, surrogate, norm)

    def _readout(self, c: GlifVaeConfig) -> Lif:
        # It never fires: of all these only the share kept counts.
        never = Surrogate(c.surrogate, 0.0, c.surrogate_width)
        return Lif(c.threshold, c.readout_keep, READOUT_SCALE, never, "through")

    def undecayed(self) -> set[nn.Parameter]:
        """What the gated neurons learn, which weight decay would draw to the middle of a gate."""
        return {p for m in self.modules() if isinstance(m, Glif) for p in m.parameters(False)}


class _PickForAll(torch.autograd.Function):
    """The candidate chosen; its gradient is shared out among all k.

    The choice is uniform and independent of everything, so candidate j gets the gradient with
    chance 1/k. Giving a k-th of it to each keeps that expectation, but for what the gradient itself
    depends on which was picked.
    """

    @staticmethod
    def forward(ctx, candidates: Tensor, choice: Tensor) -> Tensor:
        ctx.shape = candidates.shape
        return candidates.gather(-1, choice[..., None]).squeeze(-1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return (grad / ctx.shape[-1])[..., None].expand(ctx.shape), None


class Stepper:
    """One stateful run of an `Autoregressive`. What does not change from tick to tick is computed
    once: weights cast, folded and rounded, and the share of x^E in the first layer's currents.

    Args:
        features: x^E (T, N, C), of the posterior.
    """

    def __init__(self, net: Autoregressive, features: Tensor | None) -> None:
        self.layers = net.layers
        self.synapses = [layer.synapses() for layer in net.layers]
        self.states = [None] * len(net.layers)
        self.known, self.done = None, 0
        if features is not None:
            weight, bias = self.synapses[0]
            width = features.shape[-1]
            self.known = self.layers[0].current(features, (weight[:, :width], bias))
            self.synapses[0] = weight[:, width:], None

    def step(self, z: Tensor) -> Tensor:
        """The next tick: zeta (N, C*k) of what is fed back (N, C)."""
        return self.run(z[None])[0]

    def run(self, z: Tensor) -> Tensor:
        """The next ticks, as many as z (T, N, C) has: zeta (T, N, C*k)."""
        x, ticks = z, slice(self.done, self.done + len(z))
        self.done += len(z)
        for i, layer in enumerate(self.layers):
            current = layer.current(x, self.synapses[i])
            if i == 0 and self.known is not None:
                current = current + self.known[ticks]
            x, self.states[i] = layer.neuron(current, self.states[i])
        return x


class Autoregressive(nn.Module):
    """Three fully connected LIF layers: inputs -> widths[0] -> widths[1] -> widths[2]."""

    def __init__(self, inputs: int, widths: tuple[int, ...], lif) -> None:
        super().__init__()
        sizes = (inputs, *widths)
        self.layers = nn.ModuleList(Dense(i, o, lif(o)) for i, o in zip(sizes, sizes[1:]))

    def forward(self, z: Tensor, features: Tensor | None = None) -> Tensor:
        """All ticks at once: zeta (T, N, C*k) of what is fed back (T, N, C) and x^E (T, N, C)."""
        return Stepper(self, features).run(z)

    def streaming(self) -> ExitStack:
        """Context: running statistics, updated once on leaving (TdBN.streaming)."""
        stack = ExitStack()
        for layer in self.layers:
            stack.enter_context(layer.neuron.norm.streaming())
        return stack

    def frozen(self) -> ExitStack:
        """Context: running statistics, left as they are."""
        stack = ExitStack()
        stack.callback(self.train, self.training)
        self.eval()
        return stack
