"""What VAEs of spiking convolutions share: encoder, decoder, readout. Latents are their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Generator, Tensor, nn

from hw_configs.files import UserError
from train.backends.backend import Surrogate
from train.backends.choice import backend_for, choose
from train.config import LifConfig, SpikingConfig
from train.layers.blocks import Conv, ConvT, Dense, Readout
from train.layers.glif import Glif
from train.layers.integers import IntegerLif
from train.layers.neuron import Lif
from train.layers.norm import TdBN
from train.models.base import Model
from train.parallel import Ranks


class SpikingVae(Model):
    """Encoder, decoder and readout of spiking convolutions; latents are its subclasses' matter."""

    def _lif(self, c: LifConfig, keep: float, norm: TdBN | None) -> Lif:
        """Neurons that keep so much of their membrane per tick."""
        center = c.threshold if c.surrogate_center == "threshold" else 0.0
        surrogate = Surrogate(c.surrogate, center, c.surrogate_width, c.surrogate_scale)
        kind = partial(IntegerLif, dilation=c.dilation) if c.integer else Lif
        return kind(c.threshold, keep, c.state_scale, surrogate, c.reset_gradient, norm)

    def _neuron(self, c: LifConfig, channels: int, norm: TdBN) -> Lif | Glif:
        """The neurons of a layer that fires."""
        return self._lif(c, c.keep, norm)

    def _readout(self, c: LifConfig) -> Lif:
        """The membranes that are read and never fire."""
        return self._lif(c, c.readout_keep, None)

    def _build(self, c: SpikingConfig) -> None:
        self.ranks = Ranks()

        def lif(channels: int, alpha: float = 1.0) -> Lif | Glif:
            return self._neuron(c, channels, TdBN(channels, alpha * c.threshold))

        side = c.image_size >> len(c.hidden)
        self.bottom = (c.hidden[-1], side, side)
        flat = c.hidden[-1] * side * side
        widths = (c.image_channels, *c.hidden)
        self.encoder = nn.ModuleList(
            [Conv(i, o, lif(o)) for i, o in zip(widths, widths[1:])]
            + [Dense(flat, c.latent, lif(c.latent))])
        self._build_latents(c, lif)
        up = (*c.hidden[::-1], c.hidden[0])
        self.decoder = nn.ModuleList(
            [Dense(c.latent, flat, lif(flat))]
            + [ConvT(i, o, lif(o)) for i, o in zip(up, up[1:])]
            + [Readout(up[-1], c.image_channels, self._readout(c))])
        with torch.no_grad():
            self.decoder[-1].synapse.weight.mul_(c.readout_init)

    @abstractmethod
    def _build_latents(self, c: SpikingConfig, lif: Callable[..., Lif | Glif]) -> None:
        """Make what is between encoder and decoder.

        Args:
            lif: makes the neurons of a layer, of its channels and tdBN's alpha.
        """

    def check_ready(self) -> None:
        if self.config.integer and not self.decoder[-1].neuron.scale:
            raise UserError("--arithmetic integer: needs scales for its integers, which "
                            "finetune-fsvae chooses from a trained float model")

    def choose_neurons(self, device: torch.device) -> None:
        chosen = choose(self.config.neurons, device)
        for module in self.modules():
            if isinstance(module, (Lif, Glif)):
                module.backend = chosen

    def neurons(self) -> str:
        probe, neuron = torch.zeros(1, device=self.decoder[-1].bias.device), self.decoder[0].neuron
        return backend_for(probe, neuron.norm, neuron.backend).name

    def named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """(name, block) of all layers, in the order and by the names of the exported file:
        encoder.0 to the readout."""
        for part, blocks in self.parts().items():
            for i, block in enumerate(blocks):
                yield f"{part}.{i}", block

    def parts(self) -> dict[str, Iterable[nn.Module]]:
        """Layers by part, in the order of the exported file."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    def encode(self, image: Tensor) -> Tensor:
        """x^E (T, N, C) of images (N, C, H, W): the same frame at every tick."""
        *convs, dense = self.encoder
        if isinstance(convs[0].neuron, IntegerLif):
            image = torch.round(image * convs[0].neuron.input_max.to(image.dtype))
        # The first currents are equal at all ticks: convolve and normalise once. (tdBN's running
        # variance is unbiased over N*H*W instead of T*N*H*W values.)
        x, _ = convs[0].neuron(convs[0].current(image[None]), ticks=self.config.ticks)
        for conv in convs[1:]:
            x = conv(x)
        return dense(x.flatten(2))

    def decode(self, z: Tensor) -> Tensor:
        """Images (N, C, H, W) of latents (T, N, C)."""
        dense, *convs, readout = self.decoder
        x = dense(z).unflatten(2, self.bottom)
        for conv in convs:
            x = conv(x)
        if self.config.readout == "tanh-per-tick":
            return 2 * readout.tanh_per_tick(x) - 1
        return torch.tanh(readout(x))

    def share_batches(self, ranks: Ranks) -> None:
        """Train as one of several ranks from now on (train.parallel)."""
        self.ranks = ranks
        for module in self.modules():
            if isinstance(module, TdBN):
                module.ranks = ranks

    @abstractmethod
    def _rehearse(self, image: Tensor, generator: Generator) -> None:
        """Run every layer once, with the statistics of the batch."""

    @torch.no_grad()
    def calibrate(self, image: Tensor, generator: Generator) -> None:
        """Set tdBN's running statistics from a batch: before that, a fresh network is silent."""
        norms = [m for m in self.modules() if isinstance(m, TdBN)]
        for _ in range(3):  # z depends on the statistics it changes
            for norm in norms:
                norm.momentum = 1.0
            self._rehearse(image, generator)
        for norm in norms:
            norm.momentum = TdBN.momentum
