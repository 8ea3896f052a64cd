"""A SLAYER classifier of digits, from training to what a Loihi 2 would get: no VAE in sight.

    python examples/digits_classifier.py

Trains two dense layers on the 8x8 digits of scikit-learn (a minute or two on two cores), writes
them with SLAYER's own export_hdf5, and then asks what this project has for any NetX file: a proof
against stock NetX, a report with accuracy beside energy, and a dry run for a board.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
import tyro
from lava.lib.dl import slayer
from sklearn.datasets import load_digits

from lava_models.commands.run_lava import run_lava_command

TIMESTEPS = 32
"""Per sample; a power of two, as a chip resets at such intervals only."""
TRAINED = 1400
"""Digits to train on; the other 397 are for the test."""


class Classifier(torch.nn.Module):
    """Pixels as biases of input neurons, then two layers of current-based LIF neurons."""

    def __init__(self) -> None:
        super().__init__()
        neuron = {"threshold": 1.25, "current_decay": 1.0, "voltage_decay": 0.05,
                  "tau_grad": 0.5, "scale_grad": 2.0}
        block = slayer.block.cuba
        self.blocks = torch.nn.ModuleList([
            block.Input(neuron, weight=1.0, bias=0.0),
            block.Dense(neuron, 64, 96, weight_scale=2),
            block.Dense(neuron, 96, 10, weight_scale=2)])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 64) in [0, 1] to spikes (B, 10, TIMESTEPS)."""
        x = pixels[..., None].expand(-1, -1, TIMESTEPS)
        for block in self.blocks:
            x = block(x)
        return x

    def export(self, path: Path) -> None:
        """Write a NetX file, each block by SLAYER's own method."""
        with h5py.File(path, "w") as file:
            for i, block in enumerate(self.blocks):
                block.export_hdf5(file.create_group(f"layer/{i}"))


def train(pixels: torch.Tensor, labels: torch.Tensor, epochs: int) -> Classifier:
    """Train on pixels (N, 64) and labels (N,)."""
    net = Classifier()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for epoch in range(epochs):
        hits = 0
        for batch in torch.randperm(len(pixels)).split(64):
            rate = net(pixels[batch]).mean(dim=-1)
            loss = torch.nn.functional.cross_entropy(20 * rate, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hits += int((rate.argmax(dim=1) == labels[batch]).sum())
        print(f"epoch {epoch + 1} of {epochs}: {hits / len(pixels):.1%} of the training digits")
    return net


def main(out: Path = Path("runs") / "digits-classifier", epochs: int = 12, samples: int = 100,
         seed: int = 0) -> None:
    """Train, export, prove, report, plan.

    Args:
        out: folder of the results.
        epochs: passes over the training digits.
        samples: test digits to run, at most 397.
        seed: of the training.
    """
    torch.manual_seed(seed)
    digits, labels = load_digits(return_X_y=True)
    pixels = (digits / 16).astype(np.float32)
    net = train(torch.as_tensor(pixels[:TRAINED]), torch.as_tensor(labels[:TRAINED]), epochs)
    out.mkdir(parents=True, exist_ok=True)
    net.export(out / "digits.net")
    np.save(out / "pixels.npy", pixels[TRAINED:TRAINED + samples])
    arguments = [str(out / "digits.net"), "--input", str(out / "pixels.npy"), "--pixels",
                 "--samples", str(samples), "--reset-interval", str(TIMESTEPS)]
    failed = run_lava_command([*arguments, "--prove", "--out", str(out / "netx"), "--force"])
    run_lava_command([*arguments, "--backend", "loihi2", "--dry-run", "--hw", "oheogulch"])
    counts = np.load(out / "netx" / "readout.npy")
    right = (counts.argmax(axis=1) == labels[TRAINED:TRAINED + samples]).mean()
    print(f"{right:.1%} of {samples} test digits right; Lava and the reference "
          f"{'DIFFER' if failed else 'are equal'}")


if __name__ == "__main__":
    tyro.cli(main)
