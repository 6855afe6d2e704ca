"""Which numbers a state of a model is measured by, and how a check's finding becomes rows.

The guard's catalog decides: whatever a check can measure is measured, so a check that is added, or
brought by a plugin, joins by being there. Left out is only what loads the model anew in another
dtype, or is about the patches of a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from patchhub.errors import NotFoundError
from patchhub.evaluation.records import ACCURACY, AGREEMENT, MAGNITUDE, SCORE, VALUE
from patchhub.guard.catalog import check_names, load_check
from patchhub.guard.check import Case, Check, Wants
from patchhub.guard.measurement import Finding, Trial


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a check.

    Attributes:
        check: The check.
        part: Which of its numbers.
        whole: It says something of the whole model and is taken once a state, not once a case:
            it asks the base's own probes, or reads texts.
    """

    check: Check
    part: str
    whole: bool

    @property
    def name(self) -> str:
        """Check and part in one word."""
        return f"{self.check.name}.{self.part}"

    def wants(self, case: Case) -> Wants:
        """What has to be asked of a case."""
        return self.check.wants(case, self.part)


@dataclass(frozen=True, slots=True)
class Number:
    """A figure of one case, not yet part of a run.

    Attributes:
        figure: What kind of number; see `records.SCORE`.
        n: Probes or texts it is the mean of.
        value: With the edit.
        before: Without.
    """

    figure: str
    n: int
    value: float
    before: float


def measures_of(everything: Case, names: Sequence[str] = ()) -> tuple[Measure, ...]:
    """All measures that ask anything of a data set, by check name and in the check's order.

    Args:
        everything: All its requests, and the base's own probes.
        names: Measures (or whole checks) to take instead of all.

    Raises:
        NotFoundError: E151, there is no such check or measure.
    """
    found = [m for name in check_names() for m in _parts(load_check(name), everything)]
    here = [m for m, wants in found if not (wants.nothing or wants.cast)]
    unknown = [n for n in names if all(n not in (m.name, m.check.name) for m in here)]
    if unknown:
        raise NotFoundError(
            "E151",
            "there is no such measure here",
            expected=", ".join(m.name for m in here),
            found=", ".join(unknown),
            hint="a check that asks nothing of this data, or of another dtype, is none",
        )
    return tuple(m for m in here if not names or {m.name, m.check.name} & set(names))


def _parts(check: Check, everything: Case) -> Iterator[tuple[Measure, Wants]]:
    for part in check.measures:
        wants = check.wants(everything, part)
        own = not check.wants(replace(everything, requests=()), part).nothing
        yield Measure(check, part, own or bool(wants.openings or wants.texts)), wants


def numbers(finding: Finding) -> Iterator[Number]:
    """The figures in a finding; none where nothing was asked."""
    if not finding.trials:
        if finding.n:
            yield Number(VALUE, finding.n, finding.after, finding.before)
        return
    trials = finding.trials
    counted = [trial for trial in trials if trial.counts]
    if counted:
        yield _mean(SCORE, counted, lambda t: t.after, lambda t: t.before)
    yield _mean(ACCURACY, trials, lambda t: t.after, lambda t: t.before)
    agreeing = [trial for trial in trials if trial.same is not None]
    if agreeing:
        yield _mean(AGREEMENT, agreeing, lambda t: t.same or 0.0, lambda t: 1.0)
    margins = [trial.margins for trial in trials if trial.margins is not None]
    if margins:
        after, before = (sum(pair[i] for pair in margins) / len(margins) for i in (1, 0))
        yield Number(MAGNITUDE, len(margins), after, before)


def _mean(
    figure: str,
    trials: Sequence[Trial],
    after: Callable[[Trial], float],
    before: Callable[[Trial], float],
) -> Number:
    n = len(trials)
    return Number(figure, n, sum(map(after, trials)) / n, sum(map(before, trials)) / n)
