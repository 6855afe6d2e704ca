"""What results say about a method for a purpose: its figures, each with its n and its file.

Torch-free. Of several measures of one check, and of several files, the one with the worst lower end
counts, so that neither an easy question nor a lucky file speaks for a method. An edit that a method
refused failed, whatever the unedited model says to it. Numbers of different states, bases or
protocols never meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

from patchhub.evaluation.advice.refusals import GENERALIZATION, RELIABILITY, REMOVAL, counted
from patchhub.evaluation.advice.sources import Source, one_model
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
from patchhub.evaluation.results import Results
from patchhub.evaluation.summary.lines import ALL, Line
from patchhub.evaluation.summary.summarise import summarise
from patchhub.scoring.intervals import mean_interval
from patchhub.scoring.protocols import Protocol

LOCALITY = "locality"
_CHECKS = (RELIABILITY, GENERALIZATION, LOCALITY, REMOVAL)

__all__ = ["GENERALIZATION", "LOCALITY", "RELIABILITY", "REMOVAL", "Evidence", "Figure", "State"]


@dataclass(frozen=True, slots=True, order=True)
class State:
    """How a method was used when it was measured.

    Attributes:
        experiment: ``single``, ``batch`` or ``sequential``.
        size: Requests per edit.
        step: Requests the model carried.
    """

    experiment: str
    size: int
    step: int

    def __str__(self) -> str:
        if self.experiment == "single":
            return "single edits"
        if self.experiment == "batch":
            return f"batches of {self.size:,}"
        return f"{self.step:,} in sequence" + (f" by {self.size:,}" if self.size > 1 else "")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its interval.

    Attributes:
        what: Of which measure, or of what.
        value: The number.
        low: Lower end of the 95 % interval.
        high: Upper end.
        n: Cases, edits or times it is the mean (or the most) of.
        source: Where it stands.
    """

    what: str
    value: float
    low: float
    high: float
    n: int
    source: str


class Evidence:
    """Everything that results say about the methods on one base.

    Args:
        sources: The results.
        model: Name of the base; not needed where all are about one.
        protocol: How it was asked.
        rungs: Measures of locality that count; all if empty.

    Raises:
        NotFoundError: E106, there is no such base, or several and none was named.
        InvalidInputError: E155, work on the base failed; E159, two results contradict each other.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        model: str | None = None,
        protocol: str = "generation",
        rungs: Sequence[str] = (),
    ) -> None:
        self.model = one_model(sources, model)
        for one in sources:
            one.results.require_finished([self.model], one.name)
        self.protocol = protocol
        self._rungs = frozenset(rungs)
        self._sources = sources
        self._lines = [(s.name, line) for s in sources for line in self._read(s.results)]

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that were tried, also where they refused everything."""
        found = {method for method, _ in self._used}
        found |= {refusal.method for refusal in self._refusals()}
        return tuple(sorted(found - {UNEDITED, COLLAPSED}))

    @cached_property
    def _used(self) -> frozenset[tuple[str, State]]:
        """Every method in every state, whatever was asked there."""
        rows = (row for source in self._sources for row in source.results.rows)
        plain = (r for r in rows if (r.model, r.variant) == (self.model, ""))
        found = {(r.method, r.experiment, r.size, r.step) for r in plain}
        found |= {(x.method, x.experiment, x.size, x.step) for _, x in self._lines}
        return frozenset((method, State(kind, size, step)) for method, kind, size, step in found)

    @property
    def protocols(self) -> tuple[str, ...]:
        """How anything was asked."""
        rows = (row for source in self._sources for row in source.results.rows)
        found = {r.protocol for r in rows if r.model == self.model and r.figure == SCORE}
        return tuple(sorted(found))

    def states(self, method: str) -> tuple[State, ...]:
        """The states a method was measured in; of batches the full ones."""
        found = {state for used, state in self._used if used == method}
        return tuple(sorted(s for s in found if s.experiment != "batch" or s.step in (0, s.size)))

    def quality(
        self, method: str, state: State | None, check: str, protocol: str | None = None
    ) -> Figure | None:
        """The worst of a check's measures: agreement for locality, else what is right."""
        figure = AGREEMENT if check == LOCALITY else SCORE
        found = [
            Figure(x.measure, x.value, x.low, x.high, x.n_cases, source)
            for source, x in self._lines
            if (x.method, State(x.experiment, x.size, x.step)) == (method, state)
            and (x.protocol, x.figure) == (protocol or self.protocol, figure)
            and self._counts(x.measure, check)
            and isfinite(x.low)
        ]
        return min(found, key=lambda one: (one.low, one.value, one.what), default=None)

    def unedited(self, experiment: str, check: str) -> Figure | None:
        """As `quality`, of the model without edits."""
        states = [one for one in self.states(UNEDITED) if one.experiment == experiment]
        found = [self.quality(UNEDITED, one, check) for one in states]
        return next((one for one in found if one is not None), None)

    def refused(self, method: str, state: State | None) -> int:
        """How many of the requests a method left out."""
        if state is None:
            return 0
        same = method, state.experiment, state.size
        found = (o.cases for o in self._refusals() if (o.method, o.experiment, o.size) == same)
        return len(set().union(*found))

    def seconds(self, method: str, state: State | None) -> Figure | None:
        """Seconds per request."""
        return self._cost("seconds per edit", method, state, lambda one: one.seconds / one.size)

    def size(self, method: str, state: State | None) -> Figure | None:
        """Bytes of the patch per request."""
        return self._cost("bytes per edit", method, state, lambda one: one.patch_bytes / one.size)

    def memory(self, method: str, state: State | None) -> Figure | None:
        """The most bytes held, while preparing or editing."""
        found = [(name, float(one.peak_bytes)) for name, one in self._spent(method, state)]
        once = [(name, float(one.peak_bytes)) for name, one in self._prepared(method)]
        return _most("memory", [*found, *once] if found else [])

    def latency(self, method: str) -> Figure | None:
        """Answer time with a patch divided by that without."""
        found = [(name, one.latency) for name, one in self._prepared(method)]
        return _most("latency", [pair for pair in found if isfinite(pair[1])])

    def once(self, method: str) -> Figure | None:
        """Seconds for what is done once for the base."""
        return _most("once", [(name, one.seconds) for name, one in self._prepared(method)])

    def _read(self, results: Results) -> list[Line]:
        rows = [row for row in results.rows if self._matters(row)]
        refusals = [one for one in results.refusals if one.model == self.model]
        judged = replace(results, rows=tuple(counted(rows, refusals)), known=())
        return [line for line in summarise([judged]).lines if line.column == ALL]

    def _matters(self, row: Row) -> bool:
        return (
            (row.model, row.variant) == (self.model, "")
            and row.figure in (SCORE, AGREEMENT)
            and row.protocol in (self.protocol, Protocol.GENERATION)
            and row.measure.partition(".")[0] in _CHECKS
        )

    def _counts(self, measure: str, check: str) -> bool:
        name, _, part = measure.partition(".")
        return name == check and (
            check != LOCALITY or not self._rungs or bool({part, measure} & self._rungs)
        )

    def _refusals(self) -> list[Refusal]:
        found = [one for s in self._sources for one in s.results.refusals]
        return [one for one in found if one.model == self.model]

    def _spent(self, method: str, state: State | None) -> list[tuple[str, Spent]]:
        """Edits of the state's size: of its experiment, or where that has none of any."""
        if state is None:
            return []
        found = [
            (s.name, one)
            for s in self._sources
            for one in (s.provenance.spent if s.provenance else ())
            if (one.model, one.method, one.size) == (self.model, method, state.size)
        ]
        return [pair for pair in found if pair[1].experiment == state.experiment] or found

    def _prepared(self, method: str) -> list[tuple[str, Prepared]]:
        return [
            (s.name, one)
            for s in self._sources
            for one in (s.provenance.prepared if s.provenance else ())
            if (one.model, one.method) == (self.model, method)
        ]

    def _cost(
        self, what: str, method: str, state: State | None, of: Callable[[Spent], float]
    ) -> Figure | None:
        """The mean of each file; the file with the highest upper end counts."""
        by_file: dict[str, list[float]] = {}
        for name, one in self._spent(method, state):
            by_file.setdefault(name, []).append(of(one))
        found = [_mean(what, name, values) for name, values in by_file.items()]
        return max(found, key=lambda one: (one.high, one.value), default=None)


def _mean(what: str, source: str, values: Sequence[float]) -> Figure:
    mean, low, high = mean_interval(values)
    if len(values) < 2:
        low = high = mean
    return Figure(what, mean, low, high, len(values), source)


def _most(what: str, found: Sequence[tuple[str, float]]) -> Figure | None:
    if not found:
        return None
    source, value = max(found, key=lambda pair: pair[1])
    return Figure(what, value, value, value, len(found), source)
