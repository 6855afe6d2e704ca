"""Does everything else stay as it was? A ladder from near to far.

``other_relation``: the same subject, another relation. ``neighbourhood``: the same relation,
another subject. ``forgetfulness``: the same subject and relation, other objects, where there may be
several (RippleEdits, Cohen et al. 2024, arXiv:2307.12976). ``distractor``: a neighbour with the
edit stated in front (CounterFact+, Hoelscher-Obermaier et al. 2023, arXiv:2305.17553).
``unrelated``: any other question (zsRE's from Natural Questions). ``base``: the base's own
questions, without those that name an edited subject, whose answers the edit may well change.
"""

from __future__ import annotations

from patchhub.guard.check import Asked, Case, QuestionCheck, stays
from patchhub.guard.questions import probes_of


def _asked(case: Case, measure: str) -> list[Asked]:
    if measure != "base":
        return probes_of(case, measure)
    return [Asked(q) for q in case.probes.questions if not case.concerns(q.prompt)]


CHECK = QuestionCheck(
    name="locality",
    version=2,
    summary="what the edit does not say stays as it was",
    measures=(
        "other_relation",
        "neighbourhood",
        "forgetfulness",
        "distractor",
        "unrelated",
        "base",
    ),
    asked=_asked,
    trial=stays,
)
