"""The network that comes with the package, and what is known of it. Its card: the README.md beside
it."""

from __future__ import annotations

from pathlib import Path

PRETRAINED = Path(__file__).parents[1] / "pretrained" / "mnist.net"
PRETRAINED_COST = PRETRAINED.with_name("cost.json")
"""What it takes: the counts and energies of its row in score-fsvae's record,
tests/export/scores/test_score.py holds them together."""
