"""Pairs of prompts for the interchange test, drawn from the world."""

from __future__ import annotations

import random

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub.locating.interchange import Pair, Side
from patchhub.sandbox import templates
from patchhub.sandbox.world import Fact, World


def interchange_pairs(
    world: World, tokenizer: PreTrainedTokenizerBase, n: int, seed: int = 0
) -> list[Pair]:
    """Return `n` pairs with one wording, subjects of equally many tokens and different answers."""
    rng = random.Random(f"interchange|{seed}")
    result: list[Pair] = []
    while len(result) < n:
        one = rng.choice(world.facts)
        other = rng.choice(world.facts_with(one.relation))
        template = rng.choice(templates.TEMPLATES[one.relation])
        if one.object != other.object and _length(tokenizer, one) == _length(tokenizer, other):
            result.append(Pair(_side(template, one), _side(template, other)))
    return result


def _length(tokenizer: PreTrainedTokenizerBase, fact: Fact) -> tuple[int, int]:
    # With and without the space in front: a subject may open its sentence.
    name = fact.subject.name
    return tuple(len(tokenizer.encode(t, add_special_tokens=False)) for t in (name, f" {name}"))  # type: ignore[return-value]


def _side(template: str, fact: Fact) -> Side:
    return Side(template.format(fact.subject.name), fact.subject.name, fact.object.name)
