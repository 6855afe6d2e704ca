"""Does the edit hold in other words?

``paraphrase`` are the request's own paraphrases. ``made`` stands in where it has none: the prompt
behind neutral sentences, which counts only where the unedited model, so asked, gives the old answer
(if the request names it), because a model that does not follow the wording shows nothing about the
edit.
"""

from __future__ import annotations

from patchhub.guard.check import Asked, Case, QuestionCheck, becomes, probes_of, rival
from patchhub.request import EditRequest, ProbeKind
from patchhub.scoring.questions import Question

CONTEXTS = (
    "It is well known: {}",
    "Here is a fact. {}",
    "I looked it up, and this is what I found. {}",
)


def _asked(case: Case, measure: str) -> list[Asked]:
    if measure == "paraphrase":
        return probes_of(case, ProbeKind.PARAPHRASE)
    return [made for request in case.requests for made in _made(request)]


def _made(request: EditRequest) -> list[Asked]:
    if any(probe.kind is ProbeKind.PARAPHRASE for probe in request.probes):
        return []
    given = () if request.target_old is None else (request.target_old,)
    accepted = (request.target,)
    held = rival(accepted, request.target_old)
    return [
        Asked(Question(context.replace("{}", request.prompt), accepted, held), given)
        for context in CONTEXTS
    ]


CHECK = QuestionCheck(
    name="generalization",
    version=1,
    summary="paraphrases of the prompt get the requested answer",
    measures=("paraphrase", "made"),
    asked=_asked,
    trial=becomes,
)
