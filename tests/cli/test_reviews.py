"""Days after which an edit shall be looked at again: recorded, and asked for by `status`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from patchhub.errors import InvalidInputError
from patchhub_registry import Registry
from patchhub_registry.operations.reviews import SOON, due
from tests.cli.conftest import FT, Data, Run


def _in(days: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days)).isoformat()


def test_status_asks_for_what_is_overdue_or_due_soon(registry: Path, run: Run, data: Data) -> None:
    data("add", "../spare", "--name", "late", "--review-after", _in(-2))
    data("edit", *FT, "../born.json", "--seed", "3", "--name", "soon", "--review-after", _in(1))
    data(
        "edit", *FT, "../born.json", "--seed", "4", "--name", "far", "--review-after", "2999-01-01"
    )
    data("apply", "soon", "--stack", "prod")
    assert data("status")["reviews"] == [
        {"ref": "late@1", "review_after": _in(-2), "days": -2, "overdue": True, "stacks": []},
        {"ref": "soon@1", "review_after": _in(1), "days": 1, "overdue": False, "stacks": ["prod"]},
    ]
    said = run("status").stdout
    assert f"late@1 overdue by 2 days ({_in(-2)}), in no stack" in said
    assert f"soon@1 due in 1 day ({_in(1)}), in prod" in said
    assert data("show", "far")["record"]["review_after"] == "2999-01-01"


def test_the_day_itself_is_not_overdue(registry: Path) -> None:
    with Registry.open() as book:
        book.add("../spare", name="one", review_after=date(2030, 5, 10))
        patches = book.patches()
    found = {
        today: [(review.days, review.overdue) for review in due(patches, [], today)]
        for today in (date(2030, 5, 9), date(2030, 5, 10), date(2030, 5, 11))
    }
    assert list(found.values()) == [[(1, False)], [(0, False)], [(-1, True)]]
    assert due(patches, [], date(2030, 5, 10) - timedelta(SOON)) != ()
    assert due(patches, [], date(2030, 5, 9) - timedelta(SOON)) == ()


@pytest.mark.parametrize("day", ["tomorrow", "2030-02-30", "30.1.2030"])
def test_what_is_no_day(day: str, registry: Path, run: Run) -> None:
    assert run("add", "../spare", "--review-after", day).exit_code == 2
    before = Registry.open().head
    with pytest.raises(InvalidInputError, match="no day of the calendar"):
        Registry.open().edit("ft", "../born.json", review_after=day)
    assert Registry.open().head == before


def test_a_mistyped_stack_is_not_taken_in_silence(registry: Path, run: Run, data: Data) -> None:
    data("apply", "born", "--stack", "prod")
    said = run("edit", *FT, "../born.json", "--seed", "2", "--stack", "prdo")
    assert said.exit_code == 0
    expected = "stack 'prdo' has no entries, so this is the bare base; did you mean prod?"
    assert said.stderr.startswith(f"warning: {expected}\n")
    said = run("check", "born", "--stack", "prdo", "--json")
    assert f'"warnings": ["{expected}"]' in said.stdout
    assert run("check", "born", "--stack", "prod").stderr == ""
