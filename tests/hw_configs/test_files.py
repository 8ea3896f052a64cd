"""Output replaces files only, whole or not at all; a command ends in one line, however it ends."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from hw_configs.files import UserError, check_replaceable, replacing, run_command


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
