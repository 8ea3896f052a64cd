"""Which code made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hw_configs.source import commit_of

_PACKAGES = ("lava-fsvae", "lava-nc", "numpy", "scipy", "h5py")


def commit() -> tuple[str, bool]:
    """`commit_of` this package."""
    return commit_of(Path(__file__))


def versions() -> dict[str, str]:
    """Versions of Python and the packages that decide a result."""
    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "unknown"

    return {"python": platform.python_version(), **{p: installed(p) for p in _PACKAGES}}
