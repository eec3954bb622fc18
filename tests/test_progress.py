# ruff: noqa: F811  (fixtures are imported, then named as arguments)
"""One style of progress bars: shown on terminals, never after --quiet, and without colours."""

import io
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path
from unittest import mock

import datasets
import pytest
from transformers.utils import logging

from mvfer import progress
from mvfer.cli.main import COMMANDS, main
from tests.tiny import face_obj, small_model, small_processor, small_run  # noqa: F401


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _loud():
    with mock.patch.dict(os.environ):
        yield
    progress.be_quiet(False)
    logging.enable_progress_bar()
    datasets.enable_progress_bars()


def shown(stream, monkeypatch, **options) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress.progress_bar(range(3), what="read", unit="scan", **options)) == [0, 1, 2]
    return stream.getvalue()


def test_a_bar_tells_rate_and_time_left_on_terminals_and_in_no_logs(monkeypatch):
    said = shown(Terminal(), monkeypatch)
    assert "read: 100%" in said and "scan/s" in said and "\x1b" not in said
    assert shown(io.StringIO(), monkeypatch) == ""
    assert "read: 100%" in shown(io.StringIO(), monkeypatch, in_logs=True)
    assert shown(Terminal(), monkeypatch, hidden=True) == ""


def test_quiet_shows_none(monkeypatch):
    progress.be_quiet(True)
    assert shown(Terminal(), monkeypatch) == shown(io.StringIO(), monkeypatch, in_logs=True) == ""


def test_quiet_switches_off_the_bars_of_libraries_too():
    assert logging.is_progress_bar_enabled() and not datasets.are_progress_bars_disabled()
    progress.be_quiet(True)
    assert not logging.is_progress_bar_enabled() and datasets.are_progress_bars_disabled()


AT_ONCE = {"app", "audit", "plot", "render", "search"}  # over in seconds, or going on until it is ended


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - AT_ONCE))
def test_every_long_command_can_be_quiet(command, capsys):
    with pytest.raises(SystemExit):
        main([command, *(["simulate"] if command == "federate" else []), "--help"])
    assert "--quiet" in capsys.readouterr().out


def on_a_terminal(argv, folder, **environment) -> str:
    """What a command that writes its answers into a file shows on a terminal."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 120))
    command = [sys.executable, "-m", "mvfer", *map(str, argv)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "TERM": "xterm-256color", **environment}
    with open(folder / "answers.txt", "wb") as answers, open(follower, "wb") as terminal:
        done = subprocess.run(command, cwd=folder, env=env, stdout=answers, stderr=terminal, timeout=300)
    assert done.returncode == 0
    said = b""
    while chunk := _read(leader):
        said += chunk
    os.close(leader)
    return said.decode()


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # all was read, and nobody writes any more
        return b""


@pytest.mark.slow
def test_watch_and_explain_show_a_bar_on_a_terminal_no_colour_and_nothing_when_quiet(small_run, face_obj, tmp_path):
    watch = ["watch", face_obj, face_obj, "--model", small_run, "--labels", "happiness", "sadness"]
    shown = on_a_terminal(watch, tmp_path, NO_COLOR="1")
    assert "watch: 100%" in shown and "frame/s" in shown and "\x1b[3" not in shown
    assert len((tmp_path / "answers.txt").read_text().splitlines()) == 2
    assert on_a_terminal([*watch, "--quiet"], tmp_path) == ""
    explain = ["explain", face_obj, "--model", small_run, "--labels", "happiness", "sadness", "--out", "face.ply"]
    shown = on_a_terminal(explain, tmp_path)
    assert "explain: 100%" in shown and "step/s" in shown and "\x1b[3" not in shown
    assert on_a_terminal([*explain, "--quiet"], tmp_path) == "" and (tmp_path / "face.ply").is_file()
