"""The questions of a case: its facts and their probes, put in the format of their requests."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.guard.check import Asked, Case
from patchhub.request import LOCALITY, EditRequest, Format, Probe, ProbeKind, Query
from patchhub.scoring import answers
from patchhub.scoring.questions import Question


def rival(accepted: Sequence[str], other: str | None) -> str:
    """What a question's canonical answer is held against: another answer, if it is another one."""
    if other is None or not accepted or answers.same(accepted[0], other):
        return ""
    return other


def question(
    request: EditRequest, prompt: str, accepted: Sequence[str], other: str | None = None
) -> Question:
    """A question of a request, put in the request's format.

    Args:
        request: What it belongs to.
        prompt: The text.
        accepted: Accepted answers.
        other: What the canonical one is held against under likelihood.
    """
    chat = request.format is Format.CHAT
    return Question(prompt, tuple(accepted), rival(accepted, other), chat)


def probes_of(case: Case, kind: str) -> list[Asked]:
    """All probes of one kind, of all requests."""
    return [
        Asked(
            _question(probe.queries[0], probe, request),
            also=tuple(_question(query, probe, request) for query in probe.also),
            every=probe.every,
            conditions=tuple(
                question(request, query.prompt, query.answers) for query in probe.given
            ),
            possible=case.edited.issuperset(probe.needs),
        )
        for request in case.requests
        for probe in request.probes
        if probe.kind == kind
    ]


def _question(query: Query, probe: Probe, request: EditRequest) -> Question:
    """A question with what its answer is held against under likelihood.

    What must stay is held against the new answer, the fact itself in other words against the old
    one. What follows from the fact has another kind of answer, so only the probe knows its rival.
    """
    usual = request.target if probe.kind in LOCALITY else None
    if probe.kind in (ProbeKind.PARAPHRASE, ProbeKind.ALIAS):
        usual = request.target_old
    return question(request, query.prompt, query.answers, probe.rival or usual)
