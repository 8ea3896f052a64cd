"""The layout's promises: what may import what, that the names are ours, that pages name what is
there."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("train", "export", "lava_models", "hw_configs")
FORBIDDEN = {  # parts of Lava, which import-linter (pyproject.toml) sees as one package
    "train": ("lava.magma", "lava.proc"),
    "lava_models": ("lava.lib.dl.slayer",),
}
WINGS = [file.parent for package in PACKAGES
         for file in sorted((ROOT / package).rglob("__init__.py"))
         if re.search(r"^- ", file.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_this_repository(package):
    assert Path(importlib.import_module(package).__file__).parents[1] == ROOT


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_only_the_parts_of_lava_that_a_folder_needs(folder):
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = ([a.name for a in node.names] if isinstance(node, ast.Import)
                     else [f"{node.module}.{a.name}" for a in node.names]
                     if isinstance(node, ast.ImportFrom) else [])
            for name in names:
                assert not any(f"{name}.".startswith(f + ".") for f in FORBIDDEN[folder]), (
                    f"{file} imports {name}")


def test_make_test_checks_the_arrows():
    """Everything else about who imports whom is a contract in pyproject.toml."""
    said = subprocess.run(["make", "--dry-run", "--always-make", "test"], cwd=ROOT, check=True,
                          capture_output=True, text=True).stdout
    assert "lint-imports" in said and "ruff check" in said and "pytest" in said


def defined(file: Path) -> set[str]:
    """Names that a module defines, imports or exports (__all__) at its top level."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            found = {target.id for target in node.targets if isinstance(target, ast.Name)}
            names |= found | (set(ast.literal_eval(node.value)) if "__all__" in found else set())
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            names.update(a.asname or a.name for a in node.names)
    return names


def test_every_wing_says_what_it_answers():
    """Every folder of code but the packages' own lists its modules."""
    folders = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert folders - {ROOT / package for package in PACKAGES} <= set(WINGS)


@pytest.mark.parametrize("wing", WINGS, ids=lambda wing: str(wing.relative_to(ROOT)))
def test_wing_shows_its_public_names(wing):
    """`- module: names` in the docstring: every module is there, and has the names."""
    doc = ast.get_docstring(ast.parse((wing / "__init__.py").read_text()))
    listed = dict(re.findall(r"^- ([\w.]+): (.+)$", doc, re.MULTILINE))
    for module, names in listed.items():
        file = wing / f"{module.replace('.', '/')}.py"
        assert set(names.split(", ")) <= defined(file), f"{file} lacks a name that {wing} shows"
    assert {file.stem for file in wing.glob("*.py")} - {"__init__"} <= set(listed)


def test_no_two_modules_of_the_wings_share_a_name():
    modules = [file.stem for file in (ROOT / "lava_models").rglob("*.py")
               if file.stem != "__init__"]
    assert len(modules) == len(set(modules))


def test_ci_runs_make_test():
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_constraints_name_no_host():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.count("==") == 1 and "/" not in line


def test_the_lock_is_of_the_constraints():
    """The same versions, each with hashes, and no host or path."""
    text = (ROOT / "requirements.lock").read_text()
    assert "/" not in text and "@" not in text
    pins = re.findall(r"^([\w.-]+==[^ ;]+)(.*?)(?=^[\w]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert all("--hash=sha256:" in rest for _, rest in pins)
    assert sorted(pin for pin, rest in pins if "'win32'" not in rest) == sorted(
        (ROOT / "constraints.txt").read_text().split())


def test_architecture_names_what_is_there():
    """Every row of ARCHITECTURE.md: the file, and the function or class in it."""
    rows = re.findall(r"^\| .+ \| `([\w/.]+)` \| `(\w+)` \|$",
                      (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    for file, name in rows:
        assert name in defined(ROOT / file), f"{file} has no {name}"


def test_readme_shows_the_tree():
    """The layout names every folder of code, in the words of the tree, and no other."""
    layout = (ROOT / "README.md").read_text().split("## Layout")[1].split("```")[1]
    folder, shown = None, set()
    for line in layout.splitlines():
        if match := re.match(r"(  )?(\w+)/", line):
            folder = folder if match[1] else match[2]
            shown.add(f"{folder}/{match[2]}" if match[1] else match[2])
    code = {str(file.parent.relative_to(ROOT)) for package in PACKAGES
            for file in (ROOT / package).rglob("*.py")}
    assert {name for name in code if name.count("/") < 2} == shown - {
        "tests", "benchmarks", "examples"}


def test_files_that_readme_names_exist():
    text = (ROOT / "README.md").read_text()
    folders = "|".join((*PACKAGES, "benchmarks", "examples"))
    named = re.findall(rf"`((?:{folders})/[\w/.-]+\.\w+)`", text)
    assert named
    for name in named:
        assert (ROOT / name).exists(), name
