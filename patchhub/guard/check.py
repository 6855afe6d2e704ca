"""What a check is: it says what to ask, and afterwards what the answers before and after mean.

Torch-free, so that checks are. A check never touches the model: the guard asks everything that all
checks want in a few large batches, once without and once with the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from patchhub.guard.measurement import Failure, Finding
from patchhub.guard.probes import BaseProbes
from patchhub.request import EditRequest
from patchhub.scoring import answers
from patchhub.scoring.intervals import wilson
from patchhub.scoring.questions import Answer, Question

if TYPE_CHECKING:
    from patchhub.scoring.divergence import TextScore

SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Case:
    """What is being checked.

    Attributes:
        requests: The edit's requests with their probes.
        probes: The base's own probes.
        earlier: Requests of the patches below, bottom first.
    """

    requests: tuple[EditRequest, ...]
    probes: BaseProbes
    earlier: tuple[EditRequest, ...] = ()

    def concerns(self, text: str) -> bool:
        """Whether a text names an edited subject, so that the edit may well change it."""
        padded = f" {' '.join(answers.words(text))} "
        return any(subject in padded for subject in self._subjects)

    @cached_property
    def _subjects(self) -> tuple[str, ...]:
        names = {" ".join(answers.words(r.subject)) for r in self.requests if r.subject}
        # Without a subject the prompt itself is all that is known to change.
        names |= {" ".join(answers.words(r.prompt)) for r in self.requests if not r.subject}
        return tuple(f" {name} " for name in sorted(names) if name)


@dataclass(frozen=True, slots=True)
class Wants:
    """What a check wants to know of the model.

    Attributes:
        questions: To be asked.
        texts: Whose losses and next-token distributions are needed.
    """

    questions: tuple[Question, ...] = ()
    texts: tuple[str, ...] = ()


class Observed(Protocol):
    """What the model in one state made of everything that was wanted."""

    def answer(self, question: Question) -> Answer | None:
        """The answer to a question; None where the protocol needs an accepted one and has none."""
        ...

    def text(self, text: str) -> TextScore:
        """The score of a text."""
        ...


class Check(Protocol):
    """A check, found by the name of its file in ``patchhub/guard/checks`` or by entry point.

    Attributes:
        name: As policies call it.
        version: Goes up when the same model would get other numbers.
        summary: One line.
        measures: Names of its numbers.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def summary(self) -> str: ...  # noqa: D102
    @property
    def measures(self) -> tuple[str, ...]: ...  # noqa: D102

    def wants(self, case: Case, measure: str) -> Wants:
        """What has to be asked for a measure."""
        ...

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """What the answers say."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """A probe, seen without and with the edit.

    Attributes:
        failure: Its texts, shown when it does not pass.
        before: Score without the edit, in [0, 1].
        after: Score with it; 1.0 passes.
        counts: Whether its precondition holds.
    """

    failure: Failure
    before: float
    after: float
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a check.

    Attributes:
        question: The question.
        given: If not empty, the probe counts only where the model without the edit says one of
            these.
    """

    question: Question
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionCheck:
    """A check whose every number is a share of questions.

    Attributes:
        name: As policies call it.
        version: Goes up when the same model would get other numbers.
        summary: One line.
        measures: Names of its numbers.
        asked: The questions of a measure.
        trial: What two answers to one of them mean: `becomes` or `stays`.
    """

    name: str
    version: int
    summary: str
    measures: tuple[str, ...]
    asked: Callable[[Case, str], Sequence[Asked]]
    trial: Callable[[Asked, Answer, Answer], Trial]

    def wants(self, case: Case, measure: str) -> Wants:
        """All questions of the measure."""
        return Wants(tuple(each.question for each in self.asked(case, measure)))

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """The share of counted questions that pass."""
        trials = []
        for each in self.asked(case, measure):
            old, new = before.answer(each.question), after.answer(each.question)
            if old is not None and new is not None:
                trials.append(self.trial(each, old, new))
        return share(trials)


def becomes(asked: Asked, before: Answer, after: Answer) -> Trial:
    """The edit must make the model say one of the accepted answers."""
    failure = Failure(asked.question.prompt, asked.question.answers[0], before.text, after.text)
    counts = not asked.given or answers.matches(before.text, asked.given)
    return Trial(failure, before.score, after.score, counts)


def stays(asked: Asked, before: Answer, after: Answer) -> Trial:
    """The edit must leave the answer as it was.

    With accepted answers, a question counts if the model knew one before, and passes if it still
    does. Without, whatever it said before is what it shall say.
    """
    if asked.question.answers:
        expected = asked.question.answers[0]
        failure = Failure(asked.question.prompt, expected, before.text, after.text)
        return Trial(failure, before.score, after.score, counts=before.correct is True)
    failure = Failure(asked.question.prompt, before.text, before.text, after.text)
    return Trial(failure, 1.0, float(answers.same(before.text, after.text)))


def share(trials: Sequence[Trial]) -> Finding:
    """The share of counted trials that pass, with Wilson's interval."""
    counted = [trial for trial in trials if trial.counts]
    failed = [trial.failure for trial in counted if trial.after < 1.0]
    n = len(counted)
    total = sum(trial.after for trial in counted)
    low, high = wilson(total, n)
    details: dict[str, int | float] = {"asked": len(trials)}
    if n < len(trials):
        details["correct_before"] = sum(trial.before for trial in trials) / len(trials)
        details["correct_after"] = sum(trial.after for trial in trials) / len(trials)
    return Finding(
        before=sum(trial.before for trial in counted) / n if n else 0.0,
        after=total / n if n else 0.0,
        value=total / n if n else 0.0,
        n=n,
        low=low,
        high=high,
        failed=len(failed),
        failures=tuple(failed[:SHOWN_FAILURES]),
        details=details,
    )


def probes_of(case: Case, kind: str) -> list[Asked]:
    """All probes of one kind, of all requests."""
    return [
        Asked(Question(probe.prompt, probe.answers))
        for request in case.requests
        for probe in request.probes
        if probe.kind == kind
    ]
