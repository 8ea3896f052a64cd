"""Arrays as kernels take them: channels last, samples and space in one axis."""

from __future__ import annotations

import torch
from torch import Tensor


def to_rows(x: Tensor) -> Tensor:
    """(T, N, C, ...) as contiguous (T, rows, C), channels last."""
    return x.movedim(2, -1).contiguous().view(len(x), -1, x.shape[2])


def from_rows(rows: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Inverse of `to_rows`, without copying."""
    return rows.view(*shape[:2], *shape[3:], shape[2]).movedim(-1, 2)
