from __future__ import annotations

import math

import pytest

from patchhub.scoring.variety import entropy, repeated


def test_entropy_by_hand() -> None:
    # Bigrams ab, ba, ab: H_2 = 2/3 · log2(3/2) + 1/3 · log2 3. Trigrams aba, bab: H_3 = 1.
    two = 2 / 3 * math.log2(3 / 2) + 1 / 3 * math.log2(3)
    assert entropy("a b a b") == pytest.approx(100 * (2 / 3 * two + 4 / 3) / 2)
    assert entropy("A b, a") == pytest.approx(100 * (2 / 3 * math.log2(3) + 4 / 3) / 2)


@pytest.mark.parametrize("text", ["", "word", "two words", "no no no no no no no no"])
def test_no_variety(text: str) -> None:
    assert entropy(text) == 0.0


def test_hundred_different_words() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    assert entropy(text) == pytest.approx(100 * (2 / 3 * math.log2(99) + 4 / 3 * math.log2(98)) / 2)
    assert repeated(text) == 0.0


def test_repetition() -> None:
    assert repeated("a b c d") == 0.0
    assert repeated("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert repeated("no " * 13) == pytest.approx(0.9)
    assert repeated("too short") == 0.0
