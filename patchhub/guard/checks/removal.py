"""Is the old answer gone?

``target``: at the edit's own prompt. ``paraphrase``: at its paraphrases. Counted where the unedited
model gives the old answer. Under generation it passes where the old answer does not occur at all in
what the model says: what must be forgotten must not be mentioned in passing either.
"""

from __future__ import annotations

from patchhub.guard.check import Asked, Case, QuestionCheck
from patchhub.guard.measurement import Failure, Trial
from patchhub.guard.questions import question
from patchhub.request import ProbeKind
from patchhub.scoring import answers
from patchhub.scoring.agreement import agreement
from patchhub.scoring.questions import Answer


def _asked(case: Case, measure: str) -> list[Asked]:
    found = []
    for request in case.requests:
        if request.target_old is None:
            continue
        old = (request.target_old,)
        prompts = [request.prompt]
        if measure == "paraphrase":
            prompts = [p.prompt for p in request.probes if p.kind is ProbeKind.PARAPHRASE]
        found += [Asked(question(request, prompt, old, request.target)) for prompt in prompts]
    return found


def _gone(asked: Asked, before: Answer, after: Answer) -> Trial:
    (old, *_) = asked.question.answers
    failure = Failure(asked.question.prompt, f"not {old}", before.text, after.text)
    counts = before.correct is True
    same = agreement(before, after)
    return Trial(failure, 1.0 - _left(old, before), 1.0 - _left(old, after), counts, same=same)


def _left(old: str, answer: Answer) -> float:
    """How much of the old answer is there, in [0, 1]."""
    if not answer.protocol.generates:
        return answer.score
    said, wanted = (f" {' '.join(answers.words(text))} " for text in (answer.text, old))
    return max(answer.score, float(wanted in said))


CHECK = QuestionCheck(
    name="removal",
    version=1,
    summary="the old answer is gone",
    measures=("target", "paraphrase"),
    asked=_asked,
    trial=_gone,
)
