"""What the model says now about the subjects of requests: the answers whose way is followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from patchhub.editing.wording.prompts import prompt_of
from patchhub.editing.wording.tokens import encode
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest, Format
from patchhub.scoring.answers import matches
from patchhub.scoring.asking import asking
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Fact:
    """A prompt, the answer that the model gives to it, and where in it the subject stands.

    Attributes:
        request: Whose prompt and subject they are.
        text: What the model reads: the prompt, of a chat with the template around it.
        span: Characters of the subject in it.
        answer: The request's old answer, which the model gives; without one what the model says.
        given: Ids that the model reads before the answer.
        wanted: Ids of the answer.
        subject: Positions of the subject's tokens in ``given``.
    """

    request: EditRequest
    text: str
    span: tuple[int, int]
    answer: str
    given: tuple[int, ...]
    wanted: tuple[int, ...]
    subject: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A request that nothing can be located with, and why."""

    request: EditRequest
    reason: InvalidInputError


def facts_of(
    base: LoadedBase,
    requests: Sequence[EditRequest],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[Fact, ...], tuple[LeftOut, ...]]:
    """Ask the model every request's prompt; only what it knows can be followed through it.

    Args:
        base: The model.
        requests: With subjects. Where they say the old answer, the model must give it.
        progress: Told questions done and in all.

    Raises:
        InvalidInputError: No request is of use, for the first one's reason: E134 it has no subject,
            E132 or E133 where that stands, E143 tokens do not line up, E158 the model gives another
            answer or none, E137 the prompt cannot be put as a chat, E150 it is too long.
    """
    questions = [
        Question(
            request.prompt,
            () if request.target_old is None else (request.target_old,),
            chat=request.format is Format.CHAT,
        )
        for request in requests
    ]
    scorer = Scorer(base.model, base.tokenizer)
    answers = _said(scorer, questions, progress or (lambda done, total: None))
    facts: list[Fact] = []
    left_out: list[LeftOut] = []
    for request, answer in zip(requests, answers, strict=True):
        try:
            if isinstance(answer, InvalidInputError):
                raise answer
            facts.append(_fact(base, request, answer))
        except InvalidInputError as error:
            left_out.append(LeftOut(request, error))
    if not facts:
        if left_out:
            raise left_out[0].reason
        raise InvalidInputError("E134", "nothing to locate", expected="at least one request")
    return tuple(facts), tuple(left_out)


def _said(
    scorer: Scorer, questions: Sequence[Question], progress: Callable[[int, int], None]
) -> list[str | InvalidInputError]:
    """What the model says to each question, or why it cannot be asked.

    Scorers refuse questions together, so one that cannot be asked is closed in on by halves.
    """
    try:
        found = scorer.ask(questions, Protocol.GENERATION, progress=progress)
    except InvalidInputError as error:
        if len(questions) < 2:
            return [error for _ in questions]
    else:
        return [answer.text for answer in found]
    half, total = len(questions) // 2, len(questions)
    first = _said(scorer, questions[:half], lambda done, _: progress(done, total))
    return first + _said(scorer, questions[half:], lambda done, _: progress(half + done, total))


def _fact(base: LoadedBase, request: EditRequest, said: str) -> Fact:
    asked = prompt_of(base.tokenizer, request)
    text, span = asked.text, asked.subject(request)
    old = request.target_old
    if not said or (old is not None and not matches(said, (old,))):
        raise InvalidInputError(
            "E158",
            f"the model does not say this of {request.subject!r}",
            expected="an answer" if old is None else old,
            found=said or "nothing",
            hint="leave target_old out to follow whatever the model says",
        )
    answer = said if old is None else old
    (pair,) = asking(base.model).pairs(base.tokenizer, [(text, answer)])
    read = encode(base.tokenizer, text)
    subject = read.covering(*span)
    last = subject[-1] + 1
    if pair.given[:last] != read.ids[:last]:
        raise InvalidInputError(
            "E143",
            "one token belongs to the subject and to the answer",
            expected=f"a token boundary after {request.subject!r}",
            found=request.prompt,
            hint="word the prompt so that a few words follow the subject",
        )
    return Fact(request, text, span, answer, pair.given, pair.wanted, subject)
