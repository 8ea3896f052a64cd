"""A commit is named only by the repository that tracks the source."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

import lava_models.report.provenance
import train.checkpoint


@pytest.fixture
def repository(tmp_path):
    """A stranger's repository with one file of its own; and a function that runs git in it."""
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True,
                              capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "own.txt").write_text("theirs")
    git("add", "own.txt")
    git("commit", "-q", "-m", "theirs")
    return tmp_path, git


def _load(file: Path):
    spec = importlib.util.spec_from_file_location(f"copy_of_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _commits(folder: Path) -> list[tuple[str, bool]]:
    """What each part of the package says of itself when it lies in `folder`."""
    run = _load(shutil.copy(lava_models.report.provenance.__file__, folder / "provenance.py"))
    trained = _load(shutil.copy(train.checkpoint.__file__, folder / "checkpoint.py")).provenance([])
    return [run.commit(), (trained["commit"], trained["dirty"])]


def test_environment_inside_a_strangers_repository(repository):
    folder, _ = repository
    packages = folder / ".venv" / "site-packages"
    packages.mkdir(parents=True)
    assert _commits(packages) == [("unknown", False)] * 2


def test_repository_that_tracks_the_source(repository):
    folder, git = repository
    _commits(folder)
    git("add", "provenance.py", "checkpoint.py")
    git("commit", "-q", "-m", "source")
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    sha = git("rev-parse", "HEAD")
    assert _load(folder / "provenance.py").commit()[0] == sha
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    assert _load(folder / "checkpoint.py").provenance([])["commit"] == sha
    (folder / "own.txt").write_text("changed")
    assert _load(folder / "provenance.py").commit() == (sha, True)


def test_no_repository_at_all(tmp_path):
    assert _commits(tmp_path) == [("unknown", False)] * 2
