"""What experiments say about the time of an edit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation.records import Failed, Prepared, Spent
from patchhub.evaluation.results import Provenance, Results
from patchhub.evaluation.search.costs import nearest_size, seconds_by_method
from tests.evaluation.made import results, row

BASE, OTHER = "a" * 64, "b" * 64


def source(where: Path, *spent: Spent, prepared: tuple[Prepared, ...] = ()) -> Path:
    """Results of the models m (with weights `BASE`) and other."""
    where.mkdir()
    results([row()], models=("m", "other")).write(where / "results.json")
    Provenance("", "", {}, {}, 1.0, spent, prepared).write(where / "provenance.json")
    return where


def spent(method: str, size: int, seconds: float, model: str = "m") -> Spent:
    return Spent("batch", model, method, size, seconds, 0, 0)


def test_the_median_of_the_nearest_size_times_the_requests(tmp_path: Path) -> None:
    edits = [spent("x", 1, 9.0), *(spent("x", 10, s) for s in (10.0, 20.0, 900.0))]
    place = source(tmp_path / "r", *edits, spent("y", 1, 0.5), spent("x", 10, 0.1, "other"))
    found = seconds_by_method([place], BASE, 8, ("x", "y", "z"), lambda name: True)
    assert found == {"x": (16.0, str(place)), "y": (4.0, str(place))}


def test_what_is_done_once_counts_until_it_is_done(tmp_path: Path) -> None:
    once = (Prepared("m", "x", 100.0, 0, 1.0), Prepared("other", "x", 7.0, 0, 1.0))
    place = source(tmp_path / "r", spent("x", 1, 1.0), prepared=once)
    for ready, seconds in ((("x",), 1.0), (("y",), 101.0)):
        found = seconds_by_method([place], BASE, 1, ("x",), ready.__contains__)
        assert found["x"][0] == seconds


def test_the_first_source_that_knows_a_method_counts(tmp_path: Path) -> None:
    one = source(tmp_path / "one", spent("x", 1, 1.0))
    two = source(tmp_path / "two", spent("x", 1, 2.0), spent("y", 1, 3.0))
    found = seconds_by_method([one, two], BASE, 1, ("x", "y"), lambda name: True)
    assert found == {"x": (1.0, str(one)), "y": (3.0, str(two))}


def test_results_of_other_bases_say_nothing(tmp_path: Path) -> None:
    place = source(tmp_path / "r", spent("x", 1, 1.0))
    with pytest.raises(InvalidInputError, match="say nothing about this base") as caught:
        seconds_by_method([place], "f" * 64, 1, ("x",), lambda name: True)
    assert caught.value.code == "E154"
    with pytest.raises(NotFoundError):
        seconds_by_method([tmp_path / "none"], BASE, 1, ("x",), lambda name: True)
    assert seconds_by_method([], BASE, 1, ("x",), lambda name: True) == {}


@pytest.mark.parametrize(("wanted", "size"), [(1, 1), (3, 1), (4, 10), (31, 10), (32, 100)])
def test_sizes_are_near_by_ratio(wanted: int, size: int) -> None:
    assert nearest_size((100, 10, 1), wanted) == size


def test_results_without_what_failed_are_refused_for_the_base_that_lacks_them(
    tmp_path: Path,
) -> None:
    place = source(tmp_path / "r", spent("x", 1, 1.0), spent("x", 1, 2.0, "other"))
    whole = Results.read(place)
    failed = Failed("single", "m", "edit by y", "MemoryError: no room", 3)
    replace(whole, failures=(failed,)).write(place / "results.json")
    with pytest.raises(InvalidInputError, match="edit by y on m") as caught:
        seconds_by_method([place], BASE, 1, ("x",), lambda name: True)
    assert (caught.value.code, caught.value.exit) == ("E155", 9)
    other = whole.models["other"]
    found = seconds_by_method([place], other, 1, ("x",), lambda name: True)
    assert found["x"][0] == 2.0
