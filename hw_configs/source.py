"""Which commit a source file is of."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit_of(file: Path) -> tuple[str, bool]:
    """(commit, whether the tree had changes) of the repository that tracks `file`.

    ("unknown", False) where none does: an installed package may lie in an environment inside
    somebody else's repository, whose commit says nothing about it.
    """
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(file.parent), *arguments],
                              capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "--", file.name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", False
