from __future__ import annotations

import math

import pytest

from patchhub.scoring.agreement import agreement
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Answer


def _said(text: str) -> Answer:
    return Answer(text, None, 0.0)


def _forced(*tokens: int, score: float = 0.0) -> Answer:
    return Answer("", score == 1.0, score, tokens, protocol=Protocol.TEACHER_FORCED)


def _preferred(margin: float) -> Answer:
    right = margin > 0
    return Answer("", right, float(right), margin=margin, protocol=Protocol.LIKELIHOOD)


def test_generated_texts_agree_once_normalised() -> None:
    assert agreement(_said("The Oslo"), _said("oslo!")) == 1.0
    assert agreement(_said("Oslo"), _said("Oslo, a city")) == 0.0
    assert agreement(_said(""), _said("")) == 1.0
    assert agreement(_said(""), _said("Oslo")) == 0.0


def test_forced_tokens_agree_position_by_position() -> None:
    assert agreement(_forced(4, 5, 6), _forced(4, 9, 6)) == 2 / 3
    # Wrong before and wrong in the same way after: that is agreement.
    assert agreement(_forced(4, 5), _forced(4, 5)) == 1.0
    assert agreement(_forced(1, score=1.0), _forced(2)) == 0.0


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [(0.2, 0.9, 1.0), (-0.1, -0.3, 1.0), (0.2, -0.2, 0.0), (-0.2, 0.2, 0.0), (-0.2, math.nan, 0.0)],
)
def test_preferences_agree(before: float, after: float, same: float) -> None:
    assert agreement(_preferred(before), _preferred(after)) == same


def test_answers_by_different_protocols_are_not_compared() -> None:
    with pytest.raises(ValueError, match="teacher_forced"):
        agreement(_said("Oslo"), _forced(1))
