"""One style of progress bars: shown on terminals, never after --quiet, and without colours."""

import io
import sys

import pytest

from mvfer import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _loud():
    yield
    progress.be_quiet(False)


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
