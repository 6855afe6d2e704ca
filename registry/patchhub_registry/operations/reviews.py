"""Days on which edits shall be looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError

if TYPE_CHECKING:
    from patchhub_registry.patches import PatchSummary
    from patchhub_registry.stack import StackState

SOON = 30
"""Days before its day on which a review is announced."""


@dataclass(frozen=True, slots=True)
class Review:
    """A patch to be looked at again.

    Attributes:
        ref: The patch.
        day: After this day, ``YYYY-MM-DD``.
        days: Days left; negative once it is overdue.
        stacks: Names of the stacks that hold the patch.
    """

    ref: str
    day: str
    days: int
    stacks: tuple[str, ...]

    @property
    def overdue(self) -> bool:
        """Whether the day is over."""
        return self.days < 0

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        return {
            "ref": self.ref,
            "review_after": self.day,
            "days": self.days,
            "overdue": self.overdue,
            "stacks": self.stacks,
        }


def day(given: str | date | None) -> str | None:
    """A day as record.json writes it.

    Raises:
        InvalidInputError: E113, there is no such day.
    """
    if given is None:
        return None
    try:
        return (given if isinstance(given, date) else date.fromisoformat(given)).isoformat()[:10]
    except ValueError as error:
        raise InvalidInputError(
            "E113",
            "review_after is no day of the calendar",
            expected="YYYY-MM-DD",
            found=ascii(given)[:80],
        ) from error


def due(
    patches: Sequence[PatchSummary], stacks: Sequence[StackState], today: date | None = None
) -> tuple[Review, ...]:
    """The reviews that are overdue or due within `SOON` days, the oldest first.

    Args:
        patches: Of the registry.
        stacks: As they are now.
        today: In UTC; by default the machine's.
    """
    now = today or datetime.now(UTC).date()
    found = [
        Review(
            patch.ref,
            patch.review_after,
            (date.fromisoformat(patch.review_after) - now).days,
            _holding(stacks, patch.id),
        )
        for patch in patches
        if patch.review_after is not None
    ]
    return tuple(sorted((r for r in found if r.days <= SOON), key=lambda r: (r.day, r.ref)))


def _holding(stacks: Sequence[StackState], patch: str) -> tuple[str, ...]:
    return tuple(state.name for state in stacks if patch in state.ids)
