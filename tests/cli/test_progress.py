"""Bars: only on a terminal, only when it takes a while, never on stdout."""

from __future__ import annotations

import re
import sys
import time

import pytest

from patchhub_cli import bars as columns
from patchhub_cli import progress
from patchhub_cli.bars import about
from patchhub_cli.progress import Progress


def test_off_a_terminal_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(enabled=False) as bars:
        bars("hash", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_quick_work_draws_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(enabled=True) as bars:
        bars("hash", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_bars_go_to_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Progress(enabled=True) as bars:
        bars("hash base", 1, 2)
        bars("hash base", 2, 2)
        bars("write model", 0, 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "hash base" in err
    assert "100%" in err
    assert "rich.progress" in sys.modules


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, and no patience."""
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def test_many_jobs_share_one_bar_that_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], terminal: None
) -> None:
    with Progress(enabled=True) as bars:
        bars.remaining(5.0)  # nothing is drawn yet
        bars.overall("", 0, 40)
        bars.overall("edit x", 0, 40)
        bars.remaining(12 * 60 + 20)
        bars.overall("measure y", 10, 40)
    last = plain(capsys.readouterr().err).splitlines()[-1]
    assert "measure y" in last
    assert "25%" in last
    assert last.rstrip().endswith("about 12 min left")
    assert len(last.rstrip()) <= 80


def test_off_a_terminal_jobs_draw_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(enabled=False) as bars:
        bars.overall("edit x", 1, 2)
        bars.remaining(3.0)
    assert capsys.readouterr() == ("", "")


def test_a_long_phase_tells_its_time_left_by_its_speed(
    capsys: pytest.CaptureFixture[str], terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_PATIENCE", 0.0)
    with Progress(enabled=True) as bars:
        for done in range(4):
            bars("hash base", done, 1000)
            time.sleep(0.02)
    assert re.search(r"a few seconds left|about \d+ s left", plain(capsys.readouterr().err))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "a few seconds"),
        (9.9, "a few seconds"),
        (42.0, "about 40 s"),
        (100.0, "about 2 min"),
        (3600.0, "about 60 min"),
        (5400.0, "about 1 h 30 min"),
        (7210.0, "about 2 h"),
        (30000.0, "about 8 h 20 min"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert about(seconds) == words


def plain(text: str) -> str:
    """Without the terminal's escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").strip()
