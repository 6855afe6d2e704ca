"""Does the edit hold in the dtype the model is deployed in?

A measure is a dtype. The edited weights are rounded to the stored dtype and cast, and the model
computes in it, just as `from_pretrained(..., dtype=...)` makes it; the edits' own prompts are asked
again. Counted are those that hold before the cast (column "before"); small updates drown in
bfloat16's eight bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from patchhub.guard.check import Asked, Case, Observed, Wants, stays
from patchhub.guard.measurement import Finding
from patchhub.guard.questions import question
from patchhub.guard.shares import share
from patchhub.scoring.questions import Question


@dataclass(frozen=True, slots=True)
class Survival:
    """The edits' prompts in another dtype."""

    name: ClassVar[str] = "survival"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "the edit holds in the dtype the model is deployed in"
    measures: ClassVar[tuple[str, ...]] = ("bfloat16", "float16")

    def wants(self, case: Case, measure: str) -> Wants:
        """The edits' prompts, in the run-time dtype and in the measure's."""
        return Wants(_questions(case), cast=measure)

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """The share of edits that hold before the cast and hold after it."""
        cast = after.cast(measure)
        trials = []
        for one in _questions(case):
            whole, rounded = after.answer(one), cast.answer(one)
            if whole is not None and rounded is not None:
                trials.append(stays(Asked(one), whole, rounded))
        return share(trials)


def _questions(case: Case) -> tuple[Question, ...]:
    return tuple(question(r, r.prompt, (r.target,), r.target_old) for r in case.requests)


CHECK = Survival()
