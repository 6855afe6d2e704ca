"""Do the edits of the stack below still hold?

Counted are those that held before this edit, but for those that it means to replace: the same
prompt, or the same subject and relation.
"""

from __future__ import annotations

from patchhub.guard.check import Asked, Case, QuestionCheck, stays
from patchhub.request import EditRequest
from patchhub.scoring.questions import Question


def _asked(case: Case, measure: str) -> list[Asked]:
    # Of several edits of one prompt the latest is the one to keep.
    latest = {request.prompt: request for request in case.earlier}
    return [
        Asked(Question(request.prompt, (request.target,)))
        for request in latest.values()
        if not any(_replaces(new, request) for new in case.requests)
    ]


def _replaces(new: EditRequest, old: EditRequest) -> bool:
    if new.prompt == old.prompt:
        return True
    same_subject = new.subject is not None and new.subject == old.subject
    return same_subject and new.relation is not None and new.relation == old.relation


CHECK = QuestionCheck(
    name="retention",
    version=1,
    summary="earlier edits of the stack still hold",
    measures=("stack",),
    asked=_asked,
    trial=stays,
)
