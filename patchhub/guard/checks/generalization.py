"""Does the edit hold in other words?

``paraphrase`` are the request's own paraphrases. ``made`` stands in where it has none: the prompt
behind neutral sentences, which counts only where the unedited model, so asked, gives the old answer
(if the request names it), because a model that does not follow the wording shows nothing about the
edit.
"""

from __future__ import annotations

from patchhub.guard.check import Asked, Case, QuestionCheck, becomes
from patchhub.guard.questions import probes_of, question
from patchhub.request import EditRequest, ProbeKind

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
    prompts = (context.replace("{}", request.prompt) for context in CONTEXTS)
    return [
        Asked(question(request, prompt, (request.target,), request.target_old), given)
        for prompt in prompts
    ]


CHECK = QuestionCheck(
    name="generalization",
    version=1,
    summary="paraphrases of the prompt get the requested answer",
    measures=("paraphrase", "made"),
    asked=_asked,
    trial=becomes,
)
