"""The FSVAE authors' autoencoder: its code of 64 or 128 numbers is what Fréchet distances compare.

    train-autoencoder --dataset fashion-mnist --data-dir data

Layers and names are the authors' (scoring code of FullySpikingVAE), so that their files load and
ours load there. Trained as theirs: AdamW 1e-3, mean squared error, 36 000 steps of 250 images.
"""

from __future__ import annotations

import copy
import pickle
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from hw_configs.files import UserError, check_replaceable, replacing, run_command
from train.config import DATASETS
from train.models.resample import down_block, up_block
from train.torch_file import read_torch

HIDDEN = (32, 64, 128, 256, 512)
STEPS_PER_SAVE = 500
BATCH = 256
"""The authors score in batches of 256; in train mode the result depends on it."""


class Autoencoder(nn.Module):
    """Images (N, C, H, H) in [-1, 1] -> code (N, latent) -> images.

    Args:
        channels: image channels.
        hidden: channels of the stride-2 convolutions; the decoder mirrors them.
        latent: length of the code.
        bottom: height and width of the last convolution's output.
    """

    def __init__(self, channels: int, hidden: tuple[int, ...], latent: int, bottom: int) -> None:
        super().__init__()
        self.bottom = (hidden[-1], bottom, bottom)
        flat = hidden[-1] * bottom**2
        widths = (channels, *hidden)
        self.encoder = nn.Sequential(*(down_block(i, o) for i, o in zip(widths, widths[1:])))
        self.latent_layer = nn.Linear(flat, latent)
        self.decoder_input = nn.Linear(latent, flat)
        up = hidden[::-1]
        self.decoder = nn.Sequential(*(up_block(i, o) for i, o in zip(up, up[1:])))
        last = nn.ConvTranspose2d(up[-1], channels, 3, padding=1)
        self.final_layer = nn.Sequential(*up_block(up[-1], up[-1]), last, nn.Tanh())

    @classmethod
    def for_images(cls, channels: int, size: int) -> "Autoencoder":
        """The authors' sizes: 4 layers up to 32 x 32 and 5 above; code 64 for gray, 128 for colour.

        Raises:
            UserError: the size is no multiple of 2 per layer.
        """
        hidden = HIDDEN[:4] if size <= 32 else HIDDEN
        if size % 2 ** len(hidden):
            raise UserError(f"images of {size} x {size}: the scoring autoencoder halves them "
                            f"{len(hidden)} times; expected a multiple of {2 ** len(hidden)}")
        return cls(channels, hidden, 64 if channels == 1 else 128, size >> len(hidden))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) that it takes."""
        side = self.bottom[1] << len(self.encoder)
        return (self.encoder[0][0].in_channels, side, side)

    def encode(self, image: Tensor) -> Tensor:
        """The code (N, latent)."""
        return self.latent_layer(self.encoder(image).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.decoder(self.decoder_input(self.encode(image)).unflatten(1, self.bottom))
        return self.final_layer(x)

    @torch.no_grad()
    def features(self, images: Tensor, *, batch_statistics: bool) -> Tensor:
        """Codes of images (N, C, H, W), float64 (N, latent), in batches of 256.

        Args:
            batch_statistics: normalise by each batch's statistics (train mode, as published
                scores do) instead of the trained ones. The module itself is left as it was.
        """
        mine = copy.deepcopy(self).train(batch_statistics)
        device = self.latent_layer.bias.device
        return torch.cat([mine.encode(b.to(device)).double().cpu() for b in images.split(BATCH)])


def load_autoencoder(path: Path) -> Autoencoder:
    """Read a file of ours or of the authors.

    Raises:
        UserError: no such file, or not such an autoencoder.
    """
    expected = "the authors' autoencoder (mnist_64.pth) or one of train-autoencoder"
    state = read_torch(path, expected, f"expected {expected}", checksums=False)
    try:
        widths = [v for k, v in state.items() if k.startswith("encoder.") and v.ndim == 4]
        hidden, latent = tuple(len(w) for w in widths), len(state["latent_layer.bias"])
        bottom = round((state["latent_layer.weight"].shape[1] / hidden[-1]) ** 0.5)
        model = Autoencoder(widths[0].shape[1], hidden, latent, bottom)
        model.load_state_dict(state)
    except (pickle.UnpicklingError, RuntimeError, KeyError, IndexError, AttributeError, EOFError,
            ValueError, TypeError, struct.error) as error:
        raise UserError(f"{path}: not an autoencoder's weights "
                        f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
                        "expected the authors' file or one of train-autoencoder") from None
    return model.eval()


# --- training one, for data sets that have none ---


def _go_on(half: Path, model: Autoencoder, optimizer: torch.optim.Optimizer) -> int:
    """Put a training where it was cut; the steps that are done.

    Raises:
        UserError: the file is damaged, or of another training.
    """
    state = read_torch(half, "what train-autoencoder leaves when it is cut")
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{half}: is of another training; start without --resume") from None


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: train_autoencoder_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Train the autoencoder whose code Fréchet distances compare, for a data set that has none."""

    dataset: str = "digits"
    """digits, mnist, fashion-mnist, cifar10, celeba or folder; its preset gives the image size."""
    data_dir: Path = Path("data")
    """Folder of the data set."""
    out: Path | None = None
    """Where the weights go (default: runs/autoencoder-<dataset>/encoder.pth)."""
    steps: int = 36_000
    """Training steps (the authors' 150 epochs of MNIST)."""
    batch_size: int = 250
    """Images per step."""
    lr: float = 1e-3
    """AdamW's learning rate."""
    seed: int = 0
    """Seed of weights and data order."""
    resume: bool = False
    """Go on from where an interrupted training was."""


def train_autoencoder_command(arguments: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    import tyro

    command = tyro.cli(Command, args=arguments, prog="train-autoencoder")
    from rich.console import Console
    from rich.progress import Progress

    from train.config import RunConfig, nearest
    from train.data import load_images, to_float
    from train.device import pick_device
    from train.settings import load_toml, presets
    from train.streams import stream

    if command.dataset not in DATASETS:
        raise UserError(f"unknown data set '{command.dataset}'"
                        f"{nearest(command.dataset, DATASETS)}; known: {', '.join(DATASETS)}")
    for name in ("steps", "batch_size", "lr"):
        if not getattr(command, name) > 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(command, name)}: expected more "
                            "than 0")
    out = command.out or Path("runs") / f"autoencoder-{command.dataset}" / "encoder.pth"
    half = out.with_suffix(".part")
    if command.resume and not half.is_file():
        raise UserError(f"{half}: nothing to resume; start without --resume")
    if out.exists():
        raise UserError(f"{out}: is there already; remove it or choose another --out")
    check_replaceable(half)
    preset = presets()[command.dataset].read_text()
    run = load_toml(preset, command.dataset, RunConfig(data_dir=command.data_dir))
    device, console = pick_device("auto"), Console(soft_wrap=True)
    images = load_images(run, "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(command.seed)
        model = Autoencoder.for_images(run.model.image_channels, run.model.image_size).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=command.lr)  # weight decay 0.01
    step = 0
    if command.resume:
        step = _go_on(half, model, optimizer)
    console.print(f"training an autoencoder on {command.dataset}: {len(images)} images, "
                  f"{command.steps} steps of {command.batch_size}, device {device}, to {out}")
    model.train()
    loss = torch.tensor(torch.nan)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("training", total=command.steps, completed=step)
        while step < command.steps:
            image = to_float(images[_batch(stream(command.seed, "order", step), len(images),
                                           command.batch_size)]).to(device)
            loss = torch.mean((model(image) - image) ** 2)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            progress.update(task, completed=step)
            if step % STEPS_PER_SAVE == 0 and step < command.steps:
                with replacing(half) as file:
                    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                                "step": step}, file)
    with replacing(out) as file:
        torch.save(model.state_dict(), file)
    half.unlink(missing_ok=True)
    console.print(f"mean squared error of the last step: {loss.item():.5f} -> {out}")
    return 0


def _batch(generator: Generator, count: int, size: int) -> Tensor:
    """Images of a step, drawn independently: resuming needs nothing but the step."""
    return torch.randint(count, (size,), generator=generator)
