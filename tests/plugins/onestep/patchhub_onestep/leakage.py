"""Does the new answer turn up where nobody asked for it?

An edit that is too strong answers "Rome" to whatever is asked. Locality notices that answers
changed; this check says that they changed into the edit's own target.
"""

from __future__ import annotations

from patchhub.guard.check import Asked, Case, QuestionCheck
from patchhub.guard.measurement import Failure, Trial
from patchhub.request import LOCALITY
from patchhub.scoring.questions import Answer, Question


def _asked(case: Case, measure: str) -> list[Asked]:
    """Probes of what must stay, of the requests and of the base, each with all targets."""
    targets = tuple(dict.fromkeys(request.target for request in case.requests))
    prompts = [
        probe.prompt
        for request in case.requests
        for probe in request.probes
        if probe.kind in LOCALITY
    ]
    prompts += [q.prompt for q in case.probes.questions if not case.concerns(q.prompt)]
    return [Asked(Question(prompt, targets)) for prompt in dict.fromkeys(prompts)]


def _trial(asked: Asked, before: Answer, after: Answer) -> Trial:
    """A probe that got a target for an answer before cannot tell."""
    failure = Failure(asked.question.prompt, before.text, before.text, after.text)
    leaked = after.correct is True
    return Trial(failure, 1.0, 0.0 if leaked else 1.0, counts=before.correct is not True)


CHECK = QuestionCheck(
    name="leakage",
    version=1,
    summary="questions about other things do not get the edit's target for an answer",
    measures=("elsewhere",),
    asked=_asked,
    trial=_trial,
)
