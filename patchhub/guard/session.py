"""Ask everything that all measures want, in few batches, of the model as it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from patchhub import canonical
from patchhub.composer.composer import Composer
from patchhub.errors import InvalidInputError
from patchhub.guard.check import Wants
from patchhub.loading import LoadedBase, load_base
from patchhub.patch import Patch
from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.choice import Choice, choose
from patchhub.scoring.continuation import continue_texts
from patchhub.scoring.divergence import TextScore
from patchhub.scoring.instruction import SHORT_ANSWER
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Answer, Question, Scorer
from patchhub.scoring.tasks import ChoiceItem

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Called with a phase (``before``, ``after``, a dtype), units done and units in all."""

Wanted = Sequence[tuple[Protocol, Wants]]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the model in one state said under one protocol; an `Observed`."""

    answers: Mapping[Question, Answer]
    texts: Mapping[str, TextScore] = field(default_factory=dict)
    continuations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    choices: Mapping[ChoiceItem, Choice] = field(default_factory=dict)
    casts: Mapping[str, Seen] = field(default_factory=dict)

    def answer(self, question: Question) -> Answer | None:
        """The answer; None where the protocol cannot ask the question."""
        return self.answers.get(question)

    def text(self, text: str) -> TextScore:
        """The score of a text."""
        return self.texts[text]

    def continued(self, opening: str) -> tuple[str, ...]:
        """Texts that begin with an opening."""
        return self.continuations[opening]

    def choice(self, item: ChoiceItem) -> Choice:
        """The losses of the texts to choose from."""
        return self.choices[item]

    def cast(self, dtype: str) -> Seen:
        """The edited model in another dtype."""
        return self.casts[dtype]


class Session:
    """One model asked in several states.

    Args:
        base: The base; its model is in the state to be observed whenever `observe` is called.
        wanted: What is to be known, by protocol.
        cache: Keeps answers.
        max_new_tokens: Longest answer under generation.
        chat: Put instructions by the tokenizer's chat template, where it has one.
        progress: Told phase, units done, units in all.
    """

    def __init__(
        self,
        base: LoadedBase,
        wanted: Wanted,
        cache: AnswerCache,
        *,
        max_new_tokens: int,
        chat: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self._base = base
        self._wanted = wanted
        self._cache = cache
        self._progress = progress
        self._max_new_tokens = max_new_tokens
        self._instruction = replace(SHORT_ANSWER, chat=chat)
        self._texts = unique(text for _, wants in wanted for text in wants.texts)
        self._openings = unique(text for _, wants in wanted for text in wants.openings)
        self._choices = unique(item for _, wants in wanted for item in wants.choices)

    @property
    def settings(self) -> dict[str, str | int]:
        """What the answers depend on, beside model and questions."""
        found: dict[str, str | int] = {
            "dtype": _name(self._base.model.dtype),
            "max_new_tokens": self._max_new_tokens,
        }
        if any(protocol is Protocol.INSTRUCTION for protocol, _ in self._wanted):
            found["instruction"] = self._instruction.digest(self._base.tokenizer)
        return found

    def observe(self, phase: str, identity: str) -> dict[Protocol, Seen]:
        """Everything, of the model as it is now."""
        report = _Report(self._progress, phase)
        scorer = self._scorer(self._base, identity)
        questions = {protocol: self._questions(protocol) for protocol in Protocol}
        asked = sum(map(len, questions.values()))
        report.total = asked + len(self._texts) + len(self._openings) + len(self._choices)
        answers = self._ask(scorer, questions, report)
        scores = scorer.texts(self._texts, progress=report.part)
        report.done += len(self._texts)
        continued = continue_texts(
            self._base.model, self._base.tokenizer, self._openings, progress=report.part
        )
        report.done += len(self._openings)
        chosen = choose(self._base.model, self._base.tokenizer, self._choices, progress=report.part)
        report.end()
        shared = (
            dict(zip(self._texts, scores, strict=True)),
            dict(zip(self._openings, continued, strict=True)),
            dict(zip(self._choices, chosen, strict=True)),
        )
        return {protocol: Seen(found, *shared) for protocol, found in answers.items()}

    def observe_casts(
        self, after: Mapping[Protocol, Seen], identity: str, stack: Sequence[Patch]
    ) -> dict[Protocol, Seen]:
        """The edited model's observations, with those in other dtypes added.

        Args:
            after: The observations of the edited model.
            identity: Its identity.
            stack: All patches it carries.

        Raises:
            InvalidInputError: E146, there is no such dtype.
        """
        complete = dict(after)
        for dtype in unique(wants.cast for _, wants in self._wanted if wants.cast):
            said = self._cast(dtype, after, identity, stack)
            for protocol, seen in complete.items():
                casts = {**seen.casts, dtype: said[protocol]}
                complete[protocol] = replace(seen, casts=casts)
        return complete

    def _cast(
        self,
        dtype: str,
        after: Mapping[Protocol, Seen],
        identity: str,
        stack: Sequence[Patch],
    ) -> Mapping[Protocol, Seen]:
        if dtype == _name(self._base.model.dtype):
            return after
        # Loaded anew, as a deployment does: a cast in place would round what is no weight as well.
        other = load_base(
            self._base.directory,
            dtype=_dtype(dtype),
            device=self._base.model.device,
            fingerprint=self._base.fingerprint,
        )
        questions = {protocol: self._questions(protocol, dtype) for protocol in Protocol}
        report = _Report(self._progress, dtype, sum(map(len, questions.values())))
        with Composer.over(other).applied(*stack):
            scorer = self._scorer(other, identity)
            said = self._ask(scorer, questions, report)
            seen = {protocol: Seen(found) for protocol, found in said.items()}
        report.end()
        return seen

    def _questions(self, protocol: Protocol, cast: str = "") -> list[Question]:
        return unique(
            question
            for asked, wants in self._wanted
            if asked is protocol and (not cast or wants.cast == cast)
            for question in wants.questions
            if question.fits(protocol)
        )

    def _ask(
        self, scorer: Scorer, questions: Mapping[Protocol, Sequence[Question]], report: _Report
    ) -> dict[Protocol, dict[Question, Answer]]:
        said = scorer.ask_each(questions, progress=report.part)
        report.done += sum(map(len, questions.values()))
        return {p: dict(zip(questions[p], found, strict=True)) for p, found in said.items()}

    def _scorer(self, base: LoadedBase, identity: str) -> Scorer:
        return Scorer(
            base.model,
            base.tokenizer,
            max_new_tokens=self._max_new_tokens,
            cache=self._cache,
            state=_state(base, identity),
            instruction=self._instruction,
        )


class _Report:
    """Progress of one phase over all its parts."""

    def __init__(self, progress: Progress | None, phase: str, total: int = 0) -> None:
        self._progress = progress
        self._phase = phase
        self.total = total
        self.done = 0

    def part(self, done: int, _: int) -> None:
        if self._progress is not None:
            self._progress(self._phase, self.done + done, self.total)

    def end(self) -> None:
        if self._progress is not None:
            self._progress(self._phase, self.total, self.total)


def unique(items: Iterable[T]) -> list[T]:
    """The items without repetitions, in order."""
    return list(dict.fromkeys(items))


def _state(base: LoadedBase, identity: str) -> str:
    fingerprint = base.fingerprint
    return canonical.digest(
        {
            "model": identity,
            "config": fingerprint.config,
            "tokenizer": dict(fingerprint.tokenizer),
        }
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    if name in _DTYPES:
        return _DTYPES[name]
    raise InvalidInputError(
        "E146", "no such dtype to cast a model to", expected=", ".join(_DTYPES), found=name
    )
