"""A few of the kills of ``make crash``, so that every run of the tests has some."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.campaign import Campaign

KILLS = 8

pytestmark = pytest.mark.slow


def test_a_kill_at_any_moment_leaves_old_or_new(tmp_path: Path) -> None:
    made = Campaign(tmp_path)
    made.run(KILLS, at_least=0)
    assert [outcome.error for outcome in made.failures()] == []
    assert len(made.outcomes) == KILLS
    # Which of them so few kills meet is chance; `make crash` shows the whole histogram.
    assert {outcome.done for outcome in made.outcomes} <= {"old", "new", "same"}
