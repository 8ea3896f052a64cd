"""Output replaces files only, whole or not at all; a command ends in one line, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from hw_configs.files import (
    BROKEN_PIPE,
    UserError,
    check_replaceable,
    replacing,
    run_command,
    temporary_beside,
)


def test_a_file_or_nothing_is_replaced(tmp_path):
    for _ in range(2):
        with replacing(tmp_path / "new" / "a.txt") as file:
            file.write_text("whole")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "new" / "a.txt") as file:
        file.write_text("half")
        1 / 0  # noqa: B018
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("what", ["folder", "pipe", "socket", "link to a pipe"])
def test_what_is_no_file_is_not_written_over(tmp_path, what):
    path = tmp_path / "thing"
    if what == "folder":
        path.mkdir()
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(path))
    else:
        pipe = path if what == "pipe" else tmp_path / "pipe"
        os.mkfifo(pipe)
        if path != pipe:
            path.symlink_to(pipe)
    before = path.lstat()
    with pytest.raises(UserError, match="thing: is no file"):
        check_replaceable(path)
    with pytest.raises(UserError, match="thing: is no file"), replacing(path):
        pytest.fail("work was done")
    assert path.lstat() == before


def test_what_a_dead_process_left_is_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (f".a.txt.{dead.pid}.tmp", f"..a.txt.{dead.pid}.unproven.{dead.pid}.tmp",
                 f".a.txt.{os.getppid()}.tmp", f".b.txt.{dead.pid}.tmp", ".a.txt.x.tmp"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".results.{dead.pid}.tmp").mkdir()
    assert temporary_beside(tmp_path / "a.txt").name == f".a.txt.{os.getpid()}.tmp"
    temporary_beside(tmp_path / "results")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([
        f".a.txt.{os.getppid()}.tmp", f".b.txt.{dead.pid}.tmp", ".a.txt.x.tmp"])


def test_an_error_is_one_line_whatever_it_quotes(capsys):
    def main():
        raise UserError("a\nb\x1b[31m\udcff" + "n" * 10**5)

    assert run_command(main) == 2
    said = capsys.readouterr().err
    assert said.startswith(r"error: a\nb\x1b[31m\udcffnnn") and said.count("\n") == 1
    assert len(said) < 2100


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replacing(tmp_path / "link") as file:
        file.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_in_one_line(number, capsys):
    def main():
        os.kill(os.getpid(), number)
        signal.pause()

    # Ctrl-C is ignored by what a shell starts in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    assert run_command(main, "stopped; nothing is lost") == 130
    assert capsys.readouterr().err == "stopped; nothing is lost\n"
    assert before == {n: signal.getsignal(n) for n in before}


def test_a_reader_that_has_enough():
    """`command | head`: no traceback."""
    code = ("from hw_configs.files import run_command; import sys; "
            "sys.exit(run_command(lambda: [print('x' * 80) for _ in range(100_000)] and 0))")
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    run.stdout.readline()
    run.stdout.close()
    assert run.stderr.read() == ""
    run.stderr.close()
    assert run.wait(timeout=60) == BROKEN_PIPE
