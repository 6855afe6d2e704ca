"""Does the model still do other things as well as before?

``choice``: of several texts behind a prompt, is the right one still the likeliest per token (PIQA's
form, as Yao et al. 2023, arXiv:2305.13172, measure "other tasks")? Counted are the base's own items
that the model without the edit gets right; those that name an edited subject are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from patchhub.guard.check import Case, Observed, Wants
from patchhub.guard.measurement import Failure, Finding, Trial
from patchhub.guard.shares import share
from patchhub.scoring.tasks import ChoiceItem

if TYPE_CHECKING:
    from patchhub.scoring.choice import Choice


@dataclass(frozen=True, slots=True)
class Tasks:
    """Choice by loss per token."""

    name: ClassVar[str] = "tasks"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "the model chooses the right text as often as before"
    measures: ClassVar[tuple[str, ...]] = ("choice",)

    def wants(self, case: Case, measure: str) -> Wants:
        """The base's items."""
        return Wants(choices=_items(case))

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """The share of right choices."""
        return share([_trial(i, before.choice(i), after.choice(i)) for i in _items(case)])


def _items(case: Case) -> tuple[ChoiceItem, ...]:
    tasks = case.probes.tasks
    return tuple(
        item for item in tasks if not case.concerns(" ".join((item.prompt, *item.choices)))
    )


def _trial(item: ChoiceItem, old: Choice, new: Choice) -> Trial:
    said = (_text(item, old), _text(item, new))
    failure = Failure(item.prompt, item.choices[item.answer], *said)
    same = float(old.per_token == new.per_token)
    return Trial(failure, float(old.right), float(new.right), counts=old.right, same=same)


def _text(item: ChoiceItem, choice: Choice) -> str:
    place = choice.per_token
    return "" if place is None else item.choices[place]


CHECK = Tasks()
