"""What a check is: it says what to ask, and afterwards what the answers before and after mean.

Torch-free, so that checks are. A check never touches the model: the guard asks everything that all
checks want in a few large batches, once without and once with the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from patchhub.guard.measurement import Failure, Finding, Trial
from patchhub.guard.probes import BaseProbes
from patchhub.request import LOCALITY, EditRequest, Probe
from patchhub.scoring import answers
from patchhub.scoring.agreement import agreement
from patchhub.scoring.intervals import mean_interval, wilson
from patchhub.scoring.questions import Answer, Question

if TYPE_CHECKING:
    from patchhub.patch import Patch
    from patchhub.scoring.divergence import TextScore


@dataclass(frozen=True, slots=True)
class Below:
    """A patch that the model carries already.

    Attributes:
        patch: The patch; it stores its requests without probes.
        requests: Its requests, with what probes of them are known.
    """

    patch: Patch
    requests: tuple[EditRequest, ...]


@dataclass(frozen=True)
class Case:
    """What is being checked.

    Attributes:
        requests: The edit's requests with their probes.
        probes: The base's own probes.
        patch: The patch itself.
        below: The patches of the stack below it, bottom first.
    """

    requests: tuple[EditRequest, ...]
    probes: BaseProbes
    patch: Patch | None = None
    below: tuple[Below, ...] = ()

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
        openings: Texts to be continued at length.
        cast: If not empty, the questions are also put to the edited model as it is when loaded in
            this dtype.
    """

    questions: tuple[Question, ...] = ()
    texts: tuple[str, ...] = ()
    openings: tuple[str, ...] = ()
    cast: str = ""


class Observed(Protocol):
    """What the model in one state made of everything that was wanted."""

    def answer(self, question: Question) -> Answer | None:
        """The answer to a question; None where the protocol needs an accepted one and has none."""
        ...

    def text(self, text: str) -> TextScore:
        """The score of a text."""
        ...

    def continued(self, opening: str) -> tuple[str, ...]:
        """Texts that begin with an opening, drawn alike in every state."""
        ...

    def cast(self, dtype: str) -> Observed:
        """The edited model in another dtype."""
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
    return _trial(failure, before, after, counts)


def stays(asked: Asked, before: Answer, after: Answer) -> Trial:
    """The edit must leave the answer as it was.

    With accepted answers, a question counts if the model knew one before, and passes if it still
    does. Without, whatever it said before is what it shall say.
    """
    if asked.question.answers:
        expected = asked.question.answers[0]
        failure = Failure(asked.question.prompt, expected, before.text, after.text)
        counts = before.correct is True
        return _trial(failure, before, after, counts)
    failure = Failure(asked.question.prompt, before.text, before.text, after.text)
    same = agreement(before, after)
    return Trial(failure, 1.0, same, same=same)


def _trial(failure: Failure, before: Answer, after: Answer, counts: bool) -> Trial:
    same = agreement(before, after)
    return Trial(failure, before.score, after.score, counts, margins(before, after), same)


def margins(before: Answer, after: Answer) -> tuple[float, float] | None:
    """The magnitudes of two answers, where the protocol has any."""
    if before.margin is None or after.margin is None:
        return None
    return before.margin, after.margin


def rival(accepted: Sequence[str], other: str | None) -> str:
    """What a question's canonical answer is held against: another answer, if it is another one."""
    if other is None or not accepted or answers.same(accepted[0], other):
        return ""
    return other


def share(trials: Sequence[Trial]) -> Finding:
    """The share of counted trials that pass, with Wilson's interval.

    Details name what was asked in all; under likelihood also the mean magnitude over all that was
    asked, as ROME defines it, with its normal interval.
    """
    counted = [trial for trial in trials if trial.counts]
    n = len(counted)
    total = sum(trial.after for trial in counted)
    low, high = wilson(total, n)
    details: dict[str, int | float] = {"asked": len(trials)}
    if n < len(trials):
        details["correct_before"] = sum(trial.before for trial in trials) / len(trials)
        details["correct_after"] = sum(trial.after for trial in trials) / len(trials)
    details |= _magnitudes(trials)
    return Finding(
        before=sum(trial.before for trial in counted) / n if n else 0.0,
        after=total / n if n else 0.0,
        value=total / n if n else 0.0,
        n=n,
        low=low,
        high=high,
        failed=sum(trial.after < 1.0 for trial in counted),
        trials=tuple(trials),
        details=details,
    )


def _magnitudes(trials: Sequence[Trial]) -> dict[str, float]:
    pairs = [trial.margins for trial in trials if trial.margins is not None]
    if not pairs:
        return {}
    after, low, high = mean_interval([new for _, new in pairs])
    return {
        "magnitude_before": mean_interval([old for old, _ in pairs])[0],
        "magnitude_after": after,
        "magnitude_low": low,
        "magnitude_high": high,
    }


def probes_of(case: Case, kind: str) -> list[Asked]:
    """All probes of one kind, of all requests."""
    return [
        Asked(_question(probe, request))
        for request in case.requests
        for probe in request.probes
        if probe.kind == kind
    ]


def _question(probe: Probe, request: EditRequest) -> Question:
    """Under likelihood, what must stay is held against the new answer, the rest against the old."""
    other = request.target if probe.kind in LOCALITY else request.target_old
    return Question(probe.prompt, probe.answers, rival(probe.answers, other))
