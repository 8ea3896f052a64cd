"""The console that the commands print to."""

from __future__ import annotations

from rich.console import Console

WIDTH_OFF_TERMINAL = 110
"""Columns for tables in a log file, which has no width of its own."""


def make_console() -> Console:
    """A console that never breaks a path or a sentence in two, and prints names as they are: no
    markup, no emoji."""
    plain = {"soft_wrap": True, "markup": False, "emoji": False}
    console = Console(**plain)
    return console if console.is_terminal else Console(**plain, width=WIDTH_OFF_TERMINAL)
