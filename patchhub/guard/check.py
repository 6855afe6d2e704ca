"""What a check is: it says what to ask, and afterwards what the answers before and after mean.

Torch-free, so that checks are. A check never touches the model: the guard asks everything that all
checks want in a few large batches, once without and once with the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from patchhub.guard.measurement import Failure, Finding, Trial
from patchhub.guard.probes import BaseProbes
from patchhub.guard.shares import combined, share
from patchhub.request import EditRequest
from patchhub.scoring import answers
from patchhub.scoring.agreement import agreement
from patchhub.scoring.consistency import References
from patchhub.scoring.questions import Answer, Question
from patchhub.scoring.tasks import ChoiceItem

if TYPE_CHECKING:
    from patchhub.patch import Patch
    from patchhub.scoring.choice import Choice
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

    @classmethod
    def probed(cls, patch: Patch, known: Iterable[EditRequest]) -> Below:
        """The patch with the probes of those of its requests that are known."""
        probes = {request.digest(): request for request in known}
        return cls(patch, tuple(probes.get(own.digest(), own) for own in patch.requests))


@dataclass(frozen=True)
class Case:
    """What is being checked.

    Attributes:
        requests: The edit's requests with their probes.
        probes: The base's own probes.
        patch: The patch itself.
        below: The patches of the stack below it, bottom first.
        beside: Requests edited together with these that are no part of the case.
        references: Texts about things of which the new facts are true.
    """

    requests: tuple[EditRequest, ...]
    probes: BaseProbes
    patch: Patch | None = None
    below: tuple[Below, ...] = ()
    beside: tuple[EditRequest, ...] = ()
    references: References | None = None

    @cached_property
    def edited(self) -> frozenset[str]:
        """Ids of all requests that the model carries."""
        others = (request for below in self.below for request in below.requests)
        return frozenset(r.id for r in (*self.requests, *self.beside, *others) if r.id)

    def concerns(self, text: str) -> bool:
        """Whether a text names an edited subject, so that the edit may well change it."""
        padded = f" {' '.join(answers.words(text))} "
        return any(subject in padded for subject in self._subjects)

    @cached_property
    def _subjects(self) -> tuple[str, ...]:
        carried = (*self.requests, *self.beside)
        # Without a subject the prompt itself is all that is known to change.
        names = {" ".join(answers.words(r.subject or r.prompt)) for r in carried}
        return tuple(f" {name} " for name in sorted(names) if name)


@dataclass(frozen=True, slots=True)
class Wants:
    """What a check wants to know of the model.

    Attributes:
        questions: To be asked.
        texts: Whose losses and next-token distributions are needed.
        openings: Texts to be continued at length.
        choices: Questions with texts to choose from.
        cast: If not empty, the questions are also put to the edited model as it is when loaded in
            this dtype.
    """

    questions: tuple[Question, ...] = ()
    texts: tuple[str, ...] = ()
    openings: tuple[str, ...] = ()
    choices: tuple[ChoiceItem, ...] = ()
    cast: str = ""

    @property
    def nothing(self) -> bool:
        """Whether nothing has to be asked."""
        return not (self.questions or self.texts or self.openings or self.choices)


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

    def choice(self, item: ChoiceItem) -> Choice:
        """The losses of the texts to choose from."""
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
    """A test of a check: one question, or several of which one must (or all must) pass.

    Attributes:
        question: The question.
        given: If not empty, the probe counts only where the model without the edit says one of
            these.
        also: Further questions of the test.
        every: Whether all of its questions must pass.
        conditions: The test counts only where the model without the edit answers these rightly;
            under a protocol that cannot put such a question, they are taken to hold.
        possible: False where the model lacks another edit that the test needs.
    """

    question: Question
    given: tuple[str, ...] = ()
    also: tuple[Question, ...] = ()
    every: bool = False
    conditions: tuple[Question, ...] = ()
    possible: bool = True

    @property
    def questions(self) -> tuple[Question, ...]:
        """All that must pass, the first one first."""
        return (self.question, *self.also)


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
        """All questions of the measure and of its conditions."""
        asked = self.asked(case, measure)
        return Wants(tuple(q for each in asked for q in (*each.questions, *each.conditions)))

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """The share of counted tests that pass."""
        tests = (self._test(each, before, after) for each in self.asked(case, measure))
        return share([trial for trial in tests if trial is not None])

    def _test(self, asked: Asked, before: Observed, after: Observed) -> Trial | None:
        pairs = [(q, before.answer(q), after.answer(q)) for q in asked.questions]
        trials = [
            self.trial(replace(asked, question=question), old, new)
            for question, old, new in pairs
            if old is not None and new is not None
        ]
        if not trials:
            return None
        known = [before.answer(question) for question in asked.conditions]
        holds = asked.possible and all(said is None or said.correct is True for said in known)
        whole = combined(trials, every=asked.every)
        return replace(whole, counts=whole.counts and holds)


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
