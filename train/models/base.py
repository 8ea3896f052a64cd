"""What every model of train.models.build is: a module that draws its own initial weights, and
defaults for what only some models do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from PIL import Image
from torch import Generator, Tensor, nn

from hw_configs.files import UserError
from train.config import LossConfig, ModelConfig
from train.models.losses import Losses
from train.parallel import Ranks


class Model(nn.Module, ABC):
    """Base of the models. Images are (N, C, H, W) in [-1, 1].

    Args:
        config: the model's settings.
        generator: draws the initial weights.
    """

    def __init__(self, config: ModelConfig, generator: Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):  # layers draw their weights from torch's own
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            self._build(config)

    @abstractmethod
    def _build(self, c: ModelConfig) -> None:
        """Make the layers; their weights are drawn from torch's own generator."""

    @abstractmethod
    def forward(self, image: Tensor, generator: Generator, loss: LossConfig | None = None,
                chance: float = 0.0):
        """Reconstruct images: an Output of the model's own, with `.image`.

        Args:
            generator: draws the latents.
            loss, chance: of scheduled sampling; where there is none they do nothing.
        """

    @abstractmethod
    def losses(self, output, image: Tensor, config: LossConfig) -> Losses:
        """Loss of a batch of images and what `forward` gave for it."""

    @abstractmethod
    def generate(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images (count, C, H, W) drawn from the prior, and their latents."""

    def share_batches(self, ranks: Ranks) -> None:
        """Train as one of several ranks from now on; a single one unless a model says otherwise.

        Raises:
            UserError: there are several.
        """
        if ranks.size > 1:
            raise UserError(f"--model {self.config.kind}: trains in one process; start it without "
                            "torchrun")

    def check_ready(self) -> None:
        """See that it can train.

        Raises:
            UserError: something that is no setting is still missing.
        """

    def choose_neurons(self, device: torch.device) -> None:
        """Have its neurons run by what --neurons says, from now on.

        Raises:
            UserError: that does not run on the device.
        """

    def neurons(self) -> str:
        """What runs its neurons, for people."""
        return "none"

    def undecayed(self) -> set[nn.Parameter]:
        """Parameters that weight decay leaves alone."""
        return set()

    def look_at(self, images: Tensor) -> None:
        """Take statistics of all training images, uint8 (N, C, H, W), that belong to the model."""

    def calibrate(self, image: Tensor, generator: Generator) -> None:
        """Prepare fresh weights on a batch of images."""

    def anneal(self, done: float) -> None:
        """Called before each training step with the share of the training that is done."""

    def numbers(self, image: Tensor) -> dict[str, float]:
        """More to record about validation images after an epoch, by name."""
        return {}

    def pictures(self, image: Tensor) -> dict[str, Image.Image]:
        """More pictures of them, by name."""
        return {}
