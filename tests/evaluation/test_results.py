from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation.records import CaseRecord, Failed, Known, Prepared, Refusal, Row, Spent
from patchhub.evaluation.results import Provenance, Results

ROW = Row(
    "single", "m", "ft", 1, 0, 0, 1, "", 0, "reliability.target", "generation", "score", 1, 1.0, 0.0
)
WORSE = Row(
    "single", "m", "ft", 1, 0, 0, 1, "", -1, "drift.perplexity", "", "value", 9,
    float("inf"), float("nan"),
)  # fmt: skip


def _results(*rows: Row) -> Results:
    return Results(
        "single",
        {"m": "ab"},
        {"name": "facts", "digest": "cd", "records": 1, "skipped": 0},
        {"protocols": ["generation"]},
        (CaseRecord("1", "A is", "A", "b", "", ""),),
        rows,
        (Known("m", 0, "generation", False, True),),
        (Refusal("single", "m", "rome", 1, 0, 0, 1, (0,), "E140", "no"),),
    )


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    results = _results(ROW)
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert Results.read(tmp_path) == results
    assert "failures" not in json.loads((tmp_path / "results.json").read_text())
    failed = Failed("single", "m", "edit by rome", "E706 the process was killed by SIGKILL", 2)
    partial = replace(results, failures=(failed,))
    partial.write(tmp_path / "results.json")
    assert Results.read(tmp_path) == partial


def test_numbers_that_are_not_finite_survive_in_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    _results(WORSE).write(path)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (found,) = Results.read(path).rows
    assert found.value == float("inf")
    assert found.before != found.before


def test_provenance_comes_back(tmp_path: Path) -> None:
    provenance = Provenance(
        "patchhub bench single", "2026-11-21T00:00:00Z", {"cpus": 2}, {"torch": "2.13.0"}, 1.5,
        (Spent("single", "m", "ft", 1, 0.5, 10, 20),), (Prepared("m", "ft", 0.0, 10, 1.0),),
    )  # fmt: skip
    provenance.write(tmp_path / "provenance.json")
    assert Provenance.read(tmp_path) == provenance


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema":"patchhub.results/0"}', "\xff"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidInputError, match="holds no results"):
        Results.read(path)
    with pytest.raises(NotFoundError):
        Results.read(tmp_path / "none.json")
