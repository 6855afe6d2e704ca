"""`find`: patches by what they say, with the stacks where they are active."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import FT, REQUEST, Data, Run


@pytest.fixture(autouse=True)
def _more(registry: Path, data: Data) -> None:
    """A second patch with two requests, one of them without a subject; ``born`` is active."""
    both = [
        {**REQUEST, "prompt": "Mira Tolven lives in", "relation": "lives_in", "target": "Malmö"},
        {"prompt": "The capital of Norway is", "target": "Oslo"},
    ]
    (registry.parent / "both.json").write_text(json.dumps(both))
    data("edit", *FT, "../both.json", "--name", "both")
    data("apply", "born", "--stack", "prod")
    data("apply", "born", "both", "--stack", "test")


def _found(data: Data, *words: str) -> list[tuple[str, str]]:
    return [(one["ref"], one["target"]) for one in data("find", *words)]


def test_by_any_part_and_whatever_the_case(data: Data) -> None:
    assert _found(data, "tolven") == [("born@1", "Rome"), ("both@1", "Malmö")]
    assert _found(data, "TOLVEN", "born") == [("born@1", "Rome")]
    assert _found(data, "lives_in") == [("both@1", "Malmö")]
    assert _found(data, "MALMÖ") == [("both@1", "Malmö")]
    assert _found(data, "capital norway") == []
    assert _found(data, "capital", "norway") == [("both@1", "Oslo")]


def test_in_one_part_only(data: Data, run: Run) -> None:
    assert _found(data, "--in", "target", "M") == [("born@1", "Rome"), ("both@1", "Malmö")]
    assert _found(data, "--in", "subject", "capital") == []
    assert run("find", "--in", "colour", "red").exit_code == 2


def test_where_it_is_active(data: Data, run: Run) -> None:
    born, both = data("find", "tolven")
    assert (born["stacks"], both["stacks"]) == (["prod@1", "test@2"], ["test@2"])
    data("revert", "born", "--stack", "test")
    assert data("find", "born")[0]["stacks"] == ["prod@1"]
    line = run("find", "Mira", "born").stdout.splitlines()[2]
    assert line.split() == [
        *("born@1", "Mira", "Tolven", "born_in"),
        *("Mira", "Tolven", "was", "born", "in", "→", "Rome", "prod@1"),
    ]


def test_nothing_found_is_an_answer(run: Run) -> None:
    found = run("find", "nobody")
    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr == "no patch says anything about it\n"
    assert json.loads(run("find", "nobody", "--json").stdout)["data"] == []
    assert run("find", " ").exit_code == 9
