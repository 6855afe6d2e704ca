"""Bars: only on a terminal, only when it takes a while, never on stdout."""

from __future__ import annotations

import sys

import pytest

from patchhub_cli import progress
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
