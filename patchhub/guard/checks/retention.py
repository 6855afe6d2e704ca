"""Do the edits of the stack below still hold?

``stack``: the prompts of all of them. ``sites``: of the patches that touch a tensor this one
touches too, where edits can undo each other, the prompts and every paraphrase and alias known of
them. Counted are those that held before this edit, but for those that it means to replace: the same
prompt, or the same subject and relation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from patchhub.guard.check import Asked, Below, Case, QuestionCheck, stays
from patchhub.guard.questions import question
from patchhub.request import EditRequest, ProbeKind

if TYPE_CHECKING:
    from patchhub.patch import Patch

_SAME_FACT = (ProbeKind.PARAPHRASE, ProbeKind.ALIAS)


def _asked(case: Case, measure: str) -> list[Asked]:
    near = measure == "sites"
    requests = (
        r for below in case.below if not near or _shared(case, below) for r in below.requests
    )
    # Of several edits of one prompt the latest is the one to keep.
    latest = {request.question: request for request in requests}
    return [
        Asked(question(request, prompt, accepted, request.target_old))
        for request in latest.values()
        if not any(_replaces(new, request) for new in case.requests)
        for prompt, accepted in _wordings(request, probes=near)
    ]


def _shared(case: Case, below: Below) -> bool:
    return case.patch is not None and bool(_tensors(case.patch) & _tensors(below.patch))


def _tensors(patch: Patch) -> set[str]:
    return {site.tensor for site in patch.manifest.sites}


def _wordings(request: EditRequest, *, probes: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield request.prompt, (request.target,)
    for probe in request.probes if probes else ():
        if probe.kind in _SAME_FACT:
            yield probe.prompt, probe.answers


def _replaces(new: EditRequest, old: EditRequest) -> bool:
    if new.question == old.question:
        return True
    same_subject = new.subject is not None and new.subject == old.subject
    return same_subject and new.relation is not None and new.relation == old.relation


CHECK = QuestionCheck(
    name="retention",
    version=2,
    summary="earlier edits of the stack still hold",
    measures=("stack", "sites"),
    asked=_asked,
    trial=stays,
)
