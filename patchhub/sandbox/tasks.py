"""Other tasks for a model of the world: which of several things of a kind is it?"""

from __future__ import annotations

import random

from patchhub.sandbox.probes import question
from patchhub.sandbox.world import Fact, World
from patchhub.scoring.tasks import ChoiceItem


def choice_items(world: World, n: int, *, choices: int = 4, seed: int = 0) -> list[ChoiceItem]:
    """Questions about facts drawn without replacement, with other objects of the same kind.

    Args:
        world: The world.
        n: How many; at most the number of facts.
        choices: Texts to choose from, the right one included; fewer where the world has fewer
            things of the kind, and every relation's objects are at least two.
        seed: Fixes facts, wordings, wrong choices and the right one's place.
    """
    rng = random.Random(f"tasks|{seed}")
    return [_item(world, fact, choices, rng) for fact in rng.sample(world.facts, n)]


def _item(world: World, fact: Fact, choices: int, rng: random.Random) -> ChoiceItem:
    wrong = [e.name for e in world.objects(fact.relation) if e.name != fact.object.name]
    offered = [fact.object.name, *rng.sample(wrong, min(choices - 1, len(wrong)))]
    rng.shuffle(offered)
    return ChoiceItem(question(fact, rng), tuple(offered), offered.index(fact.object.name))
