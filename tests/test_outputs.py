"""Every option that names an output refuses what is no file (or no folder), before anything else:
the inputs here do not even exist."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys

import pytest
from test_flags import FROZEN, SCRIPTS

from hw_configs.files import UserError, holding

FILES = {  # the rest of the command
    "export-netx": ["no/model.pt", "--out"], "import-nir": ["no.nir", "--out"],
    "export-nir": ["no.net", "--out"], "energy-report": ["--fit", "no.net", "--describe"],
    "train-autoencoder": ["--dataset", "digits", "--out"]}
FOLDERS = {
    "train-fsvae": ["--dataset", "digits", "--run-dir"],
    "finetune-fsvae": ["no/model.pt", "--run-dir"],
    "run-lava": ["no.net", "--out"], "score-fsvae": ["no/model.pt", "--out"],
    "sweep-fsvae": ["no/model.pt", "--out"]}
NODES = ["pipe", "socket", "folder", "device", "link to a pipe"]


def _node(path, what: str) -> None:
    if what == "device":
        if os.geteuid():
            pytest.skip("only root makes devices")
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("no devices may be made here")
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    elif what == "folder":
        path.mkdir()
    else:
        os.mkfifo(path if what == "pipe" else path.with_name("pipe"))
        if what != "pipe":
            path.symlink_to("pipe")


def _identity(path) -> tuple[int, ...]:
    """Of the node itself, but not when it was last looked at."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _run(command: str, arguments: list[str]) -> None:
    """The command itself, as `run_command` would call it."""
    module, name = SCRIPTS[command].split(":")
    module = importlib.import_module(module)
    found = [n for n in vars(module) if n.endswith("command") and n != "run_command"]
    name = name.replace("main", "command") if name != "main" else found[0]
    getattr(module, name)(arguments)


@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
@pytest.mark.parametrize("what", NODES)
def test_outputs_replace_files_only(command, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    path = tmp_path / "node"
    if what == "folder" and command in FOLDERS:
        path.write_text("a file")
    else:
        _node(path, what)
    before = _identity(path)
    arguments = [*(FILES | FOLDERS)[command], "node"]
    with pytest.raises(UserError, match="node: (is no f|is there already)"):
        _run(command, arguments)
    assert _identity(path) == before


def test_no_output_is_forgotten():
    """Options of outputs go by these names; another one needs a line above."""
    for command, flags in FROZEN.items():
        name = command.split()[0]
        named = {"--out", "--run-dir", "--describe"} & {*flags}
        assert len(named) <= 1 and (not named or (FILES | FOLDERS)[name][-1] in named), command


# --- two commands in one folder ---------------------------------------------------------------

HOLD = ("import sys, time; from pathlib import Path; from hw_configs.files import holding\n"
        "with holding(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)")


def test_a_folder_has_one_writer_and_a_dead_one_holds_nothing(tmp_path):
    folder = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE,
                             text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=re.escape(
                f"--run-dir {folder}: another command is writing there")), holding(
                folder, "--run-dir"):
            pytest.fail("two at once")
        assert folder.is_dir()  # which is the other's
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with holding(folder):
        (folder / "file").write_text("mine")
    assert [f.name for f in folder.iterdir()] == ["file"]


def test_a_folder_that_nothing_came_into_is_removed(tmp_path):
    with pytest.raises(UserError, match="no data"), holding(tmp_path / "a"):
        raise UserError("no data")
    assert not (tmp_path / "a").exists()
