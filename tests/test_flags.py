"""The flags of every command are those of tests/flags.toml: a new one is a decision, taken there.

Look for a setting that exists, or a default that does without, before adding a line.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import tomli

HERE = Path(__file__).parent
FROZEN = tomli.loads((HERE / "flags.toml").read_text())
SCRIPTS = tomli.loads((HERE.parent / "pyproject.toml").read_text())["project"]["scripts"]
MODELS = ("fsvae", "esvae", "glif", "poisson", "ann")


def shown(command: str, capsys, monkeypatch) -> list[str]:
    """The flags that a command's --help shows, in order of the alphabet."""
    name, *options = command.split()
    module, main = SCRIPTS[name].split(":")
    monkeypatch.setattr(sys, "argv", [name, *options, "--help"])
    with pytest.raises(SystemExit) as ended:
        getattr(importlib.import_module(module), main)()
    assert not ended.value.code
    # A flag begins its line, in a box or without; its other names follow it there.
    lines = re.findall(r"^[│ ] (--?[a-z].*)$", capsys.readouterr().out, re.MULTILINE)
    names = [re.match(r"(-[\w-]+( [^ ,]+)?(, )?)+", line).group() for line in lines]
    return sorted(set(re.findall(r"(?<![\w-])--[\w-]+", " ".join(names))) - {"--help"})


@pytest.mark.parametrize("command", FROZEN)
def test_flags_are_the_frozen_ones(command, capsys, monkeypatch):
    now, frozen = shown(command, capsys, monkeypatch), FROZEN[command]
    more, fewer = sorted({*now} - {*frozen}), sorted({*frozen} - {*now})
    assert now == frozen, f"{command}: tests/flags.toml lacks {more}, has in addition {fewer}"


def test_every_command_is_frozen():
    assert {c.split()[0] for c in FROZEN} == {*SCRIPTS}
    assert {f"train-fsvae --model {m}" for m in MODELS} <= {*FROZEN}
