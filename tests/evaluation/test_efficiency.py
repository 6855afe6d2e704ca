from __future__ import annotations

import math

from patchhub.evaluation.records import Prepared, Spent
from patchhub.evaluation.results import Provenance
from patchhub.evaluation.summary.efficiency import efficiency


def _provenance(spent: list[Spent], prepared: list[Prepared]) -> Provenance:
    return Provenance("", "", {}, {}, 0.0, tuple(spent), tuple(prepared))


def _spent(seconds: float, size: int = 10, peak: int = 5, patch: int = 100) -> Spent:
    return Spent("batch", "m", "ft", size, seconds, peak, patch)


def test_medians_quartiles_and_what_is_done_once() -> None:
    spent = [_spent(s, peak=p, patch=b) for s, p, b in ((1, 5, 100), (2, 9, 50), (9, 6, 70))]
    (found,) = efficiency([_provenance(spent, [Prepared("m", "ft", 30.0, 7, 1.25)])])
    assert (found.seconds, found.quick, found.slow, found.edits) == (2.0, 1.0, 9.0, 3)
    assert found.per_request == 0.2
    assert (found.once_seconds, found.peak_bytes, found.patch_bytes) == (30.0, 9, 7.0)
    assert found.latency == 1.25


def test_one_edit_has_no_spread_and_what_nobody_measured_is_no_number() -> None:
    (found,) = efficiency([_provenance([_spent(3.0)], [])])
    assert (found.seconds, found.quick, found.slow) == (3.0, 3.0, 3.0)
    assert math.isnan(found.once_seconds)
    assert math.isnan(found.latency)
    (again,) = efficiency([_provenance([_spent(3.0)], [Prepared("m", "ft", 1.0, 1, math.nan)])])
    assert (again.once_seconds, math.isnan(again.latency)) == (1.0, True)


def test_sizes_and_experiments_stay_apart_and_runs_come_together() -> None:
    some = _provenance([_spent(1.0, 1), _spent(5.0, 100)], [])
    other = _provenance([_spent(3.0, 1), Spent("single", "m", "ft", 1, 8.0, 1, 1)], [])
    found = efficiency([some, other])
    assert [(one.experiment, one.size, one.edits, one.seconds) for one in found] == [
        ("batch", 1, 2, 2.0),
        ("batch", 100, 1, 5.0),
        ("single", 1, 1, 8.0),
    ]
    assert efficiency([]) == ()
