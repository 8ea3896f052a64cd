"""PyTorch files, the one way in: nothing in one runs, nothing is read past a wrong checksum, and no
tensor is larger than what the file holds of it.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from hw_configs.files import UserError
from hw_configs.reading import CHECKPOINT, check_input


def read_torch(path: Path, expected: str, missing: str = "", *, checksums: bool = True) -> object:
    """What torch.save wrote: tensors and plain values, on the CPU.

    Args:
        expected: what the file should be, for refusals.
        missing: what to say after "no such file; ".
        checksums: whether to hold every entry to its checksum and refuse older formats; not of
            files that others wrote.

    Raises:
        UserError: as `check_input`, damaged, another format, or one that would run code.
    """
    check_input(path, CHECKPOINT, missing)
    if checksums:
        _check_archive(path, expected)
    try:
        with warnings.catch_warnings():  # of torch's own about what it then refuses
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler raises whatever the bytes it meets lead to
        unsafe = isinstance(error, pickle.UnpicklingError) and (
            "Unsupported" in str(error) or "weights_only" in str(error).lower())
        raise UserError(f"{path}: " + (
            "refused, it holds more than tensors and plain values and could run code"
            if unsafe else "damaged PyTorch file") + f"; expected {expected}") from None
    if not all(map(_whole, _tensors(state))):
        raise UserError(f"{path}: a tensor is larger than what the file holds of it; expected "
                        f"{expected}")
    return state


def _check_archive(path: Path, expected: str) -> None:
    """PyTorch reads past wrong checksums, so that a flipped bit would be another weight.

    Raises:
        UserError: no zip archive as torch.save writes one, or a damaged one.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a PyTorch checkpoint (text, truncated or another format); "
                        f"expected {expected}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # Not packed: what is declared is no more than the file's own size.
            sound = all(e.compress_type == zipfile.ZIP_STORED and e.file_size == e.compress_size
                        for e in entries)
            sound = sound and len({e.filename for e in entries}) == len(entries)
            sound = sound and archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, NotImplementedError):
        sound = False
    if not sound:
        raise UserError(f"{path}: damaged PyTorch file (a checksum differs); expected {expected}")


def _tensors(state: object) -> list[Tensor]:
    """All tensors in a value, each container once, whatever is in what."""
    left, seen, found = [state], set(), []
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value
    return found


def _whole(tensor: Tensor) -> bool:
    """Whether every number of a tensor has a place of its own; of a dense one, a view that repeats
    numbers is none."""
    return tensor.layout != torch.strided or (
        tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes())
