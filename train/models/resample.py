"""Convolutions that halve and double a map, of the models without spikes."""

from __future__ import annotations

from torch import nn


def down_block(inputs: int, outputs: int) -> nn.Sequential:
    """Halve height and width."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
                         nn.BatchNorm2d(outputs), nn.LeakyReLU())


def up_block(inputs: int, outputs: int) -> nn.Sequential:
    """Double height and width."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1),
                         nn.BatchNorm2d(outputs), nn.LeakyReLU())
