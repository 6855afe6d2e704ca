"""How varied the words of a text are: n-gram entropy and repetition. Torch-free.

Words are runs of letters and digits, and single other signs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+|[^\w\s]")
_WEIGHTS = {2: 2 / 3, 3: 4 / 3}


def entropy(text: str) -> float:
    """Generation entropy GE of a text, 0 for fewer than three words.

    With H_n the entropy in bits of the text's n-grams, GE = 100 · mean of (2/3)·H_2 and (4/3)·H_3
    (Zhang et al. 2018, arXiv:1809.05972, as ROME weighs it, arXiv:2202.05262). Texts of 100 tokens
    by GPT-2 XL have about 620 to 635; a model that repeats itself falls under 400.
    """
    words = _WORD.findall(text)
    parts = [weight * _bits(_grams(words, n)) for n, weight in _WEIGHTS.items()]
    return 100 * sum(parts) / len(parts)


def repeated(text: str, n: int = 4) -> float:
    """Share of a text's n-grams that occurred before in it (Welleck et al. 2019, 1908.04319)."""
    grams = _grams(_WORD.findall(text), n)
    total = sum(grams.values())
    return 1 - len(grams) / total if total else 0.0


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _bits(grams: Counter[tuple[str, ...]]) -> float:
    total = sum(grams.values())
    return math.fsum(-c / total * math.log2(c / total) for c in grams.values()) + 0.0
