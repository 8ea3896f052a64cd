"""Where PyTorch runs, and how it rounds and sums there."""

from __future__ import annotations

import os

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


def set_arithmetic(device: torch.device, precision: str, deterministic: bool) -> None:
    """Fix what PyTorch may do with products of float32, and in which order it may sum.

    Left alone, cuDNN rounds the factors of float32 convolutions to TF32's 10 bits.

    Raises:
        UserError: TF32 without CUDA.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UserError(f"--precision tf32: an arithmetic of CUDA cards, not of {device.type}; use "
                        "float32 or bfloat16")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic)


def hide_cuda() -> None:
    """Have CUDA never start in this process: Lava forks, which CUDA does not survive."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
