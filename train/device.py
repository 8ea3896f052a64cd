"""Where PyTorch runs."""

from __future__ import annotations

import torch

from hw_configs.files import UserError


def pick_device(name: str) -> torch.device:
    """cpu, cuda, or the better of both for "auto".

    Raises:
        UserError: cuda was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
