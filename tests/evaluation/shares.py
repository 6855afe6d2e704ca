"""Results of methods that are right in given shares of the cases, and advice from them."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.evaluation.advice.advise import Advice, advise
from patchhub.evaluation.advice.constraints import Constraints
from patchhub.evaluation.advice.sources import Source
from patchhub.evaluation.records import (
    AGREEMENT,
    COLLAPSED,
    SCORE,
    UNEDITED,
    Prepared,
    Refusal,
    Row,
    Spent,
)
from patchhub.evaluation.results import Provenance
from tests.evaluation.made import results, row

ON_WEIGHTS = {"good": True, "poor": False}

MEASURES = {
    "reliability.target": SCORE,
    "generalization.paraphrase": SCORE,
    "locality.neighbourhood": AGREEMENT,
    "removal.target": SCORE,
}


def rows(
    method: str, shares: Sequence[float], *, n: int = 100, experiment: str = "single",
    size: int = 1, step: int = 1,
) -> list[Row]:  # fmt: skip
    """Right in a share of the cases, by generation, for each of `MEASURES`."""
    return [
        row(
            measure, float(case < round(share * n)), method=method, case=case, figure=figure,
            protocol="generation", experiment=experiment, size=size, step=step,
        )
        for (measure, figure), share in zip(MEASURES.items(), shares, strict=False)
        for case in range(n)
    ]  # fmt: skip


def source(
    *made: list[Row], spent: Sequence[Spent] = (), prepared: Sequence[Prepared] = (),
    refusals: Sequence[Refusal] = (), name: str = "bench",
) -> Source:  # fmt: skip
    found = results([one for some in made for one in some], refusals=refusals)
    took = Provenance("", "", {}, {}, 1.0, tuple(spent), tuple(prepared))
    return Source(name, found, took)


def spent(method: str, seconds: float, *, size: int = 1, experiment: str = "single") -> Spent:
    return Spent(experiment, "m", method, size, seconds, 1 << 30, 5000 * size)


GOOD = rows("good", (0.98, 0.9, 0.99, 0.97))
POOR = rows("poor", (0.6, 0.4, 0.7, 0.3))
BOTH = source(
    GOOD,
    POOR,
    rows(UNEDITED, (0.01, 0.0, 1.0, 0.0)),
    rows(COLLAPSED, (0.0, 0.0, 0.0, 1.0)),
    spent=[spent("good", 2.0), spent("poor", 9.0)],
    prepared=[Prepared("m", "good", 60.0, 2 << 30, 1.02), Prepared("m", "poor", 0.0, 5 << 30, 1.2)],
)


def told(constraints: Constraints, *sources: Source) -> Advice:
    return advise(sources or (BOTH,), constraints, removable=ON_WEIGHTS.get)
