"""The layout's promises: what may import what, and that the names are ours."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "train": ("lava.magma", "lava.proc", "lava_models", "export"),
    "lava_models": ("torch", "torchvision", "train", "export", "lava.lib.dl.slayer"),
    "hw_configs": ("torch", "lava", "train", "export", "lava_models"),
}


@pytest.mark.parametrize("package", ["train", "export", "lava_models", "hw_configs"])
def test_package_is_this_repository(package):
    assert Path(importlib.import_module(package).__file__).parents[1] == ROOT


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_arrows_point_downwards(folder):
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = ([a.name for a in node.names] if isinstance(node, ast.Import)
                     else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            for name in names:
                assert not any(name == f or name.startswith(f + ".") for f in FORBIDDEN[folder]), (
                    f"{file} imports {name}")


def test_ci_runs_make_test():
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_constraints_name_no_host():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.count("==") == 1 and "/" not in line
