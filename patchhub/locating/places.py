"""Kinds of positions in a prompt, counted from its subject."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Place(StrEnum):
    """The positions of Meng et al. 2022 (arXiv:2202.05262), figure 1 and 2."""

    FIRST_SUBJECT = "first subject token"
    MIDDLE_SUBJECT = "middle subject tokens"
    LAST_SUBJECT = "last subject token"
    FIRST_AFTER = "first token after"
    FURTHER = "further tokens"
    LAST = "last token"


def places(length: int, subject: Sequence[int]) -> dict[Place, tuple[int, ...]]:
    """Positions by kind; kinds that the prompt has none of are left out.

    No position is of two kinds: the only token of a subject is its last, and a subject that ends
    the prompt leaves nothing after it.

    Args:
        length: Tokens of the prompt.
        subject: Positions of the subject's tokens, without gaps.
    """
    end, last = subject[-1], length - 1
    found = {
        Place.FIRST_SUBJECT: tuple(subject[:1]) if len(subject) > 1 else (),
        Place.MIDDLE_SUBJECT: tuple(subject[1:-1]),
        Place.LAST_SUBJECT: (end,),
        Place.FIRST_AFTER: (end + 1,) if end + 1 < last else (),
        Place.FURTHER: tuple(range(end + 2, last)),
        Place.LAST: (last,) if last > end else (),
    }
    return {place: positions for place, positions in found.items() if positions}
