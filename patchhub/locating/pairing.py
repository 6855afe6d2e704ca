"""Pairs of facts that ask the same of two subjects, for the interchange test."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations

from patchhub.locating.facts import Fact
from patchhub.locating.interchange import Pair, Side
from patchhub.scoring.answers import same


def pairs_of(facts: Sequence[Fact], most: int, seed: int = 0) -> list[Pair]:
    """Facts worded alike, with subjects of as many tokens and different answers, both ways round.

    Args:
        facts: What the model knows.
        most: Of more pairs, so many are drawn.
        seed: Of the draw.
    """
    alike: dict[tuple[object, ...], list[Fact]] = defaultdict(list)
    for fact in facts:
        start, end = fact.span
        wording = fact.text[:start], fact.text[end:]
        alike[(*wording, len(fact.given), fact.subject)].append(fact)
    found = [
        (one, other)
        for some in alike.values()
        for one, other in permutations(some, 2)
        if not same(one.answer, other.answer)
    ]
    if len(found) > most:
        found = random.Random(f"pairs|{seed}").sample(found, most)
    return [Pair(_side(one), _side(other)) for one, other in found]


def _side(fact: Fact) -> Side:
    start, end = fact.span
    return Side(fact.text, fact.text[start:end], fact.answer)
