"""What is left of earlier edits as more follow: by the edits made since. Torch-free.

An edit belongs to the checkpoint at which it was first asked; with several orders of the same
requests, each order has its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

from patchhub.evaluation.records import ACCURACY, Row
from patchhub.evaluation.results import Results
from patchhub.evaluation.summary.merging import Merged, merged

MEASURE = "reliability.target"

K = TypeVar("K", int, tuple[int, int])


class Kept(NamedTuple):
    """A cell of a retention matrix.

    Attributes:
        value: Mean over the edits.
        n: Different edits; each counts once however many orders and seeds it was asked in.
    """

    value: float
    n: int


class Retention(NamedTuple):
    """How a method's earlier edits fare.

    Attributes:
        data: Name of the data set.
        model: Name of the base.
        method: Name of the method.
        protocol: How it was asked.
        steps: Edits made at the checkpoints, ascending.
        cells: By (step, the checkpoint after which the edits were first asked).
        ages: By edits made since, ascending; 0 is right after. Over all checkpoints.
    """

    data: str
    model: str
    method: str
    protocol: str
    steps: tuple[int, ...]
    cells: Mapping[tuple[int, int], Kept]
    ages: Mapping[int, Kept]


def retention(results: Sequence[Results]) -> tuple[Retention, ...]:
    """The retention matrix of every model, method and protocol with two checkpoints or more.

    Raises:
        InvalidInputError: E159, as in `summarise`.
    """
    return tuple(each for some in merged(results) for each in _matrices(some))


def _matrices(some: Merged) -> Iterator[Retention]:
    runs: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in some.rows:
        if row.measure == MEASURE and row.figure == ACCURACY and not row.variant and row.step:
            runs[row.model, row.method, row.protocol].append(row)
    for key, rows in sorted(runs.items()):
        steps = tuple(sorted({row.step for row in rows}))
        if rows[0].experiment == "sequential" and len(steps) > 1:
            begun = _begun(rows)
            cells = _kept(((row.step, first), row) for row, first in begun)
            ages = _kept((row.step - first, row) for row, first in begun)
            yield Retention(some.data, *key, steps, cells, ages)


def _begun(rows: Iterable[Row]) -> list[tuple[Row, int]]:
    """Rows, each with the step at which its case was first asked in its run."""
    first: dict[tuple[int, int, int], int] = {}
    ordered = sorted(rows, key=lambda row: (row.order, row.seed, row.step, row.case))
    return [(r, first.setdefault((r.order, r.seed, r.case), r.step)) for r in ordered]


def _kept(rows: Iterable[tuple[K, Row]]) -> dict[K, Kept]:
    """The mean over cases, of each over its runs and checkpoints, by key."""
    values: dict[K, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for key, row in rows:
        values[key][row.case].append(row.value)
    return {
        key: Kept(fmean(map(fmean, values[key].values())), len(values[key]))
        for key in sorted(values)
    }
