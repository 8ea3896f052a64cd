"""Data-parallel training: ranks that share every batch, started by torchrun.

A run on R ranks is the run on one rank with the same batch, up to rounding: random numbers are
drawn for the whole batch and sliced, tdBN sums its statistics over ranks, gradients are added up.
Which and how many ranks there are is read from torchrun's environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this rank writes files and says what happens."""
        return self.rank == 0

    def share(self, batch: Tensor, dim: int = 0) -> Tensor:
        """This rank's part of a whole batch, along `dim`."""
        each = batch.shape[dim] // self.size
        return batch.narrow(dim, self.rank * each, each)

    def add_up(self, *tensors: Tensor) -> None:
        """Sum over all ranks, in place, in one message per type."""
        if self.size == 1:
            return
        for kind in {t.dtype for t in tensors}:
            group = [t for t in tensors if t.dtype == kind]
            flat = torch.cat([t.reshape(-1) for t in group])
            dist.all_reduce(flat)
            for t, total in zip(group, flat.split([t.numel() for t in group])):
                t.copy_(total.view_as(t))


def from_environment() -> Ranks:
    """The ranks torchrun started, or one."""
    return Ranks(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def join(ranks: Ranks, device: torch.device) -> torch.device:
    """Meet the other ranks; the device of this one."""
    if ranks.size == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device
