"""Try methods, the cheapest first, until the guard is content with an edit; keep the log.

What a method takes was measured: by experiments on the same base where there are any, otherwise by
a forecast on the model itself. A method that cannot run on this model or for these requests is
passed over, and so is one that fails; what the guard itself raises ends the search, as it would
with any method. Nothing is written here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan

from patchhub.errors import GuardRefusedError, InvalidInputError
from patchhub.evaluation.search.attempts import Attempt, Candidate, Fate, fault_of
from patchhub.guard.measurement import Measurement
from patchhub.guard.verdict import Verdict
from patchhub.patch import Patch


@dataclass(frozen=True, eq=False)
class Search:
    """What was tried, in order, and the edit that passed.

    Attributes:
        attempts: One per method that was tried or could not be, up to the one that passed.
        patch: Of the last attempt, if it passed.
        untried: Methods that would have come after it.
    """

    attempts: tuple[Attempt, ...]
    patch: Patch | None
    untried: tuple[str, ...]

    @property
    def best(self) -> Attempt | None:
        """The passing attempt, else the one refused for the least.

        The least: fewest measurements in the way, then the smallest sum of what they lack, then
        the cheaper one. None where no edit was made.
        """
        judged = [one for one in self.attempts if one.verdict is not None]
        return min(judged, key=_shortfall, default=None)

    def ensure_passed(self, what: str) -> Patch:
        """The patch.

        Raises:
            GuardRefusedError: E404, no edit passed.
            InvalidInputError: E157, no method made one.
        """
        if self.patch is not None:
            return self.patch
        raise NoEditError(self, what) if self.best is None else NonePassedError(self, what)


class NonePassedError(GuardRefusedError):
    """The guard's no to every edit, with everything that was tried.

    Args:
        search: Every method's attempt; at least one made an edit.
        what: The patch there would be, for the message.
    """

    def __init__(self, search: Search, what: str) -> None:
        best = search.best.method if search.best else "none"
        super().__init__(
            "E404",
            f"guard said no to {what} by every method; the best was {best}",
            expected="an edit that passes every check of the policy",
            found=_lines(search),
            hint=f"change the request or the settings, or waive: patchhub edit {best} …",
            best=best,
            refused={one.method: [m.name for m in one.blocking] for one in search.attempts},
        )
        self.search = search


class NoEditError(InvalidInputError):
    """No method made an edit; arguments as for `NonePassedError`."""

    def __init__(self, search: Search, what: str) -> None:
        super().__init__(
            "E157",
            f"no method could make an edit for {what}",
            expected="a method that can run on this model and with these requests",
            found=_lines(search),
        )
        self.search = search


def in_order(
    methods: Sequence[str],
    measured: Mapping[str, tuple[float, str]],
    forecast: Callable[[str], float | None],
) -> tuple[Candidate, ...]:
    """The methods by what they take: known ones first, then unknown ones, then impossible ones.

    Args:
        methods: Their names.
        measured: Seconds and who measured them, by method.
        forecast: Measures what is not known yet; called once for each such method.
    """
    found = [_candidate(name, measured, forecast) for name in methods]
    return tuple(sorted(found, key=_rank))


def search(
    candidates: Sequence[Candidate],
    make: Callable[[str], Patch],
    judge: Callable[[Patch], Verdict],
) -> Search:
    """Try the candidates in their order until one passes.

    Args:
        candidates: From `in_order`.
        make: Computes the edit with a method.
        judge: Asks the guard.

    Raises:
        PatchHubError: Whatever ``judge`` raises, and of what ``make`` raises all that is no fault
            of the method: see `fault_of`.
    """
    attempts: list[Attempt] = []
    for place, candidate in enumerate(candidates):
        attempt, patch = _try(candidate, make, judge)
        attempts.append(attempt)
        if attempt.fate is Fate.PASSED:
            rest = candidates[place + 1 :]
            return Search(tuple(attempts), patch, tuple(one.method for one in rest))
    return Search(tuple(attempts), None, ())


def _candidate(
    name: str,
    measured: Mapping[str, tuple[float, str]],
    forecast: Callable[[str], float | None],
) -> Candidate:
    if name in measured:
        return Candidate(name, *measured[name])
    try:
        seconds = forecast(name)
    except Exception as error:  # a foreign method may raise anything
        fault = fault_of(error)
        if fault is None:
            raise
        return Candidate(name, fault=fault)
    return Candidate(name, seconds, "" if seconds is None else "forecast")


def _rank(one: Candidate) -> tuple[bool, float, str]:
    return one.fault is not None, inf if one.seconds is None else one.seconds, one.method


def _try(
    candidate: Candidate, make: Callable[[str], Patch], judge: Callable[[Patch], Verdict]
) -> tuple[Attempt, Patch | None]:
    if candidate.fault is not None:
        return Attempt(candidate, Fate.SKIPPED, fault=candidate.fault), None
    begun = time.perf_counter()
    try:
        patch = make(candidate.method)
    except Exception as error:  # as above
        fault = fault_of(error)
        if fault is None:
            raise
        return Attempt(candidate, Fate.SKIPPED, time.perf_counter() - begun, fault=fault), None
    made = time.perf_counter()
    verdict = judge(patch)
    fate = Fate.PASSED if verdict.passed else Fate.REFUSED
    times = made - begun, time.perf_counter() - made
    return Attempt(candidate, fate, *times, patch.manifest.method.hparams, verdict), patch


def _shortfall(attempt: Attempt) -> tuple[int, float]:
    return len(attempt.blocking), sum(map(_lacking, attempt.blocking))


def _lacking(one: Measurement) -> float:
    """How far a measurement is from its limit; of `all` from everything, of a ceiling above it."""
    limit = float(one.floor) if one.floor else 1.0
    lack = one.value - limit if one.rule == "ceiling" else limit - one.value
    return inf if isnan(lack) else max(0.0, lack)


def _lines(search: Search) -> str:
    return "; ".join(map(_line, search.attempts)) or "no methods"


def _line(one: Attempt) -> str:
    if one.fault is not None:
        return f"{one.method} was skipped ({one.fault.code or 'error'}: {one.fault.message})"
    return f"{one.method}: {', '.join(_figures(one))}"


def _figures(one: Attempt) -> Iterator[str]:
    return (f"{m.name} {m.value:.3f} (n = {m.n})" for m in one.blocking)
