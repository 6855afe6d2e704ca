"""What a summary is made of: lines, refusals by reason, and what the unedited models knew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from patchhub.evaluation.records import ACCURACY, AGREEMENT, SCORE

ALL, WRONG, OLD = "all", "wrong before", "knew old"
"""Columns: every edit; those that the unedited model got wrong; those whose old fact it knew."""

SHARES = frozenset({SCORE, ACCURACY, AGREEMENT})
"""Figures that lie between 0 and 1."""

S = "score.S"
"""Measure: the harmonic mean of ES, PS and NS (ROME, Meng et al. 2022, arXiv:2202.05262)."""


class Line(NamedTuple):
    """A mean over cases.

    Attributes:
        data: Name of the data set.
        experiment: ``single``, ``batch`` or ``sequential``.
        model: Name of the base.
        method: Name of the method, or `UNEDITED` or `COLLAPSED`.
        size: Requests per edit.
        step: Requests edited so far when it was asked.
        variant: As in `Row`.
        measure: As in `Row`, or `S`.
        protocol: How it was asked.
        figure: As in `Row`.
        column: `ALL`, `WRONG` or `OLD`.
        value: Mean over the cases; of a case, over orders and seeds.
        low: Lower end of the 95 % interval.
        high: Upper end.
        interval: ``wilson``, ``bootstrap``, or "" with infinite ends where there is none.
        n_cases: Cases; of numbers about the whole model, edits.
        n_probes: Probes (or texts) of all of them, each counted once.
        before: The same mean of the unedited model.
        runs: Orders and seeds.
        lowest: The least mean of a run.
        highest: The greatest.
    """

    data: str
    experiment: str
    model: str
    method: str
    size: int
    step: int
    variant: str
    measure: str
    protocol: str
    figure: str
    column: str
    value: float
    low: float
    high: float
    interval: str
    n_cases: int
    n_probes: int
    before: float
    runs: int
    lowest: float
    highest: float

    @property
    def key(self) -> tuple[str | int, ...]:
        """The fields from ``data`` to ``column``; no two lines of a summary share them."""
        return self[:11]


class Refused(NamedTuple):
    """Edits that a method did not make, by the reason it gave.

    Attributes:
        data: Name of the data set.
        experiment: Of the run.
        model: Name of the base.
        method: Name of the method.
        size: Requests per edit.
        code: Of the error.
        edits: How many edits.
        cases: How many different requests they left out.
        message: What the first of them says.
    """

    data: str
    experiment: str
    model: str
    method: str
    size: int
    code: str
    edits: int
    cases: int
    message: str


class Knew(NamedTuple):
    """What the unedited model made of the requests of an experiment.

    Attributes:
        data: Name of the data set.
        experiment: Of the run.
        model: Name of the base.
        protocol: How it was asked.
        cases: Requests.
        right: It gives the new answer to so many, without any edit.
        with_old: So many name an old answer.
        old: It gives the old answer to so many.
    """

    data: str
    experiment: str
    model: str
    protocol: str
    cases: int
    right: int
    with_old: int
    old: int


@dataclass(frozen=True)
class Summary:
    """Everything that tables, figures and advice are made of.

    Attributes:
        lines: Sorted by their key.
        refused: Sorted.
        knew: Sorted.
    """

    lines: tuple[Line, ...]
    refused: tuple[Refused, ...]
    knew: tuple[Knew, ...]
