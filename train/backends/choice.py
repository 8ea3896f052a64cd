"""The one place that chooses what runs a layer's neurons."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.backends.backend import Backend
from train.backends.loops import CompiledLoops
from train.backends.operators import Operators
from train.backends.slayer import Slayer
from train.backends.triton_blocks import TritonBlocks

BACKENDS: dict[str, Backend] = {
    b.name: b for b in (CompiledLoops(), TritonBlocks(), Operators(), Slayer())}
"""By the name that --neurons takes."""
AUTOMATIC = ("compiled", "triton", "operators")
"""What --neurons auto takes the first fit of: fastest first, the last takes anything."""


def backend_for(current: Tensor, norm: nn.Module | None = None, chosen: Backend | None = None
                ) -> Backend:
    """`chosen`, or the first automatic backend that takes this current and norm."""
    if chosen is not None:
        return chosen
    return next(BACKENDS[name] for name in AUTOMATIC if BACKENDS[name].takes(current, norm))


def choose(name: str, device: torch.device) -> Backend | None:
    """What --neurons `name` means on a device; None for auto, which every current decides.

    Raises:
        UserError: that backend does not run there.
    """
    if name == "auto":
        return None
    BACKENDS[name].check(device)
    return BACKENDS[name]
