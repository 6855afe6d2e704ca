"""Does the model answer the edit's own prompt as requested?"""

from __future__ import annotations

from patchhub.guard.check import Asked, Case, QuestionCheck, becomes
from patchhub.guard.questions import question


def _asked(case: Case, measure: str) -> list[Asked]:
    return [Asked(question(r, r.prompt, (r.target,), r.target_old)) for r in case.requests]


CHECK = QuestionCheck(
    name="reliability",
    version=1,
    summary="the edit's own prompt gets the requested answer",
    measures=("target",),
    asked=_asked,
    trial=becomes,
)
