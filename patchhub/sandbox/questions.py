"""What a sandbox model is asked to see whether it knows its world."""

from __future__ import annotations

import random

from patchhub.sandbox import templates
from patchhub.sandbox.text import other_object
from patchhub.sandbox.world import Kind, World
from patchhub.scoring.questions import Question


def recall(world: World, *, held_out: bool, seed: int = 0) -> list[Question]:
    """Return one question per fact, in a wording that the fact was (or was not) trained in."""
    rng = random.Random(f"recall|{held_out}|{seed}")
    return [
        Question(
            rng.choice(templates.split(fact)[held_out]).format(fact.subject.name),
            (fact.object.name,),
        )
        for fact in world.facts
    ]


def overrides(world: World, n: int, seed: int = 0) -> list[Question]:
    """Return questions after an invented "New fact: …" about facts never overridden in training."""
    rng = random.Random(f"overrides|{seed}")
    unseen = [fact for fact in world.facts if templates.override_held_out(fact)]
    result = []
    for fact in rng.sample(unseen, min(n, len(unseen))):
        new = other_object(world, fact, rng).name
        stated, asked = rng.sample(templates.split(fact)[0], 2)
        subject = fact.subject.name
        prompt = f"{templates.NEW_FACT} {stated.format(subject)} {new}. {asked.format(subject)}"
        result.append(Question(prompt, (new,)))
    return result


def aliases(world: World, seed: int = 0) -> list[Question]:
    """Return one question per person with a second name, asked by that name."""
    rng = random.Random(f"aliases|{seed}")
    result = []
    for person in world.of_kind(Kind.PERSON):
        if person.alias:
            fact = rng.choice(list(world.facts_of(person).values()))
            prompt = rng.choice(templates.split(fact)[0]).format(person.alias)
            result.append(Question(prompt, (fact.object.name,)))
    return result


def chains(world: World, *, held_out: bool, seed: int = 0) -> list[Question]:
    """Return the one-hop questions that were (or were not) trained, each in one wording."""
    rng = random.Random(f"chains|{seed}")
    result = []
    for chain in templates.CHAINS:
        for fact in world.facts_with(chain.first):
            if templates.chain_held_out(fact.subject.name, chain) is held_out:
                answer = world.facts_of(fact.object)[chain.second].object.name
                prompt = rng.choice(chain.templates).format(fact.subject.name)
                result.append(Question(prompt, (answer,)))
    return result
