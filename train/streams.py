"""Every random draw of a run comes from a stream of its root seed."""

from __future__ import annotations

import torch
from torch import Generator

_STREAMS = ("init", "split", "order", "latents", "evaluation")


def stream(seed: int, name: str, *index: int, device: torch.device | str = "cpu") -> Generator:
    """A generator for one use of the root seed; `index` picks e.g. an epoch and step. Every kind of
    device has numbers of its own."""
    mixed = seed
    for word in (_STREAMS.index(name), *index):  # splitmix64: far apart for neighbouring inputs
        mixed = (mixed * 0x9E3779B97F4A7C15 + word + 1) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return Generator(device).manual_seed(mixed % 2**63)
