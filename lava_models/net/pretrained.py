"""The networks that come with the package, and what is known of them. Their cards: the README.md
beside them."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "pretrained"
NETWORKS = {name: FOLDER / f"{name}.net" for name in ("mnist", "mnist-rate", "fashion-rate")}
"""By the name that run-lava takes: the Fully Spiking VAE of MNIST, and networks with rate latents
of MNIST and Fashion-MNIST."""
BEST = "mnist-rate"
"""What runs where nothing is named."""
PRETRAINED = NETWORKS["mnist"]
PRETRAINED_COST = PRETRAINED.with_name("cost.json")
"""What the Fully Spiking VAE takes: the counts and energies of its row in score-fsvae's record,
tests/export/scores/test_score.py holds them together."""
