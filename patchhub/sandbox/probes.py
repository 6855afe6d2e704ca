"""For any fact: the request that edits it, and the questions that show what the edit did.

What must change: paraphrases, the alias, the reversed question, one-hop chains. What must not:
other subjects of the relation, with and without the edit in front, and the subject's other facts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from patchhub.request import EditRequest, Probe, ProbeKind
from patchhub.sandbox import templates
from patchhub.sandbox.text import other_object
from patchhub.sandbox.world import RELATIONS, Entity, Fact, World

PARAPHRASES = 3
NEIGHBOURS = 4
OTHER_RELATIONS = 4
DISTRACTORS = 2
CHAINED = 2


def edit_requests(world: World, n: int, seed: int) -> list[EditRequest]:
    """Return requests for `n` facts drawn without replacement, each with a new object and probes.

    Args:
        world: The world whose facts are edited.
        n: How many; at most the number of facts.
        seed: Fixes facts, new objects and probes.
    """
    rng = random.Random(f"requests|{seed}")
    return [request_for(world, fact, rng) for fact in rng.sample(world.facts, n)]


def request_for(
    world: World, fact: Fact, rng: random.Random, target: Entity | None = None
) -> EditRequest:
    """Return the request that gives `fact` another object, with probes of every kind that applies.

    Args:
        world: The world the fact is from.
        fact: The fact to edit.
        rng: Draws the target, if none is given, and the probes.
        target: The new object; must be of the kind that the relation asks for.
    """
    target = target or other_object(world, fact, rng)
    template = templates.split(fact)[0][0]
    prompt = template.format(fact.subject.name)
    probes = (
        *_paraphrases(fact, target, template, rng),
        *_aliases(fact, target, rng),
        *_reversed(fact, target, rng),
        *_one_hop(world, fact, target, rng),
        *_neighbours(world, fact, target, prompt, rng),
        *_other_relations(world, fact, rng),
    )
    return EditRequest(
        prompt=prompt, target=target.name, subject=fact.subject.name,
        target_old=fact.object.name, relation=fact.relation, id=fact.id, probes=probes,
    )  # fmt: skip


def question(fact: Fact, rng: random.Random) -> str:
    """Return the fact as an unanswered prompt, in a wording it was trained on."""
    return rng.choice(templates.split(fact)[0]).format(fact.subject.name)


def _paraphrases(fact: Fact, target: Entity, used: str, rng: random.Random) -> Iterator[Probe]:
    others = [t for t in templates.TEMPLATES[fact.relation] if t != used]
    for template in rng.sample(others, PARAPHRASES):
        yield Probe(ProbeKind.PARAPHRASE, template.format(fact.subject.name), (target.name,))


def _aliases(fact: Fact, target: Entity, rng: random.Random) -> Iterator[Probe]:
    if fact.subject.alias:
        template = rng.choice(templates.split(fact)[0])
        yield Probe(ProbeKind.ALIAS, template.format(fact.subject.alias), (target.name,))


def _reversed(fact: Fact, target: Entity, rng: random.Random) -> Iterator[Probe]:
    inverse = RELATIONS[fact.relation].inverse
    if inverse:
        template = rng.choice(templates.TEMPLATES[inverse])
        yield Probe(ProbeKind.REVERSED, template.format(target.name), (fact.subject.name,))


def _one_hop(world: World, fact: Fact, target: Entity, rng: random.Random) -> Iterator[Probe]:
    """Chains that pass through the edit, as first or as second step, and whose end it changes."""
    found: list[Probe] = []
    for chain in templates.CHAINS:
        template = rng.choice(chain.templates)
        if chain.first == fact.relation:
            new = world.facts_of(target)[chain.second].object
            old = world.facts_of(fact.object)[chain.second].object
            if new != old:
                prompt = template.format(fact.subject.name)
                found.append(Probe(ProbeKind.ONE_HOP, prompt, (new.name,)))
        if chain.second == fact.relation:
            starts = [f.subject for f in world.facts_with(chain.first) if f.object == fact.subject]
            for start in rng.sample(starts, min(1, len(starts))):
                prompt = template.format(start.name)
                found.append(Probe(ProbeKind.ONE_HOP, prompt, (target.name,)))
    yield from found[:CHAINED]


def _neighbours(
    world: World, fact: Fact, target: Entity, prompt: str, rng: random.Random
) -> Iterator[Probe]:
    """Other subjects of the relation, those with the same true object first; some as distractor."""
    every = [f for f in world.facts_with(fact.relation) if f != fact and f.object != target]
    rng.shuffle(every)
    chosen = sorted(every, key=lambda f: f.object != fact.object)[:NEIGHBOURS]
    for number, near in enumerate(chosen):
        asked = question(near, rng)
        yield Probe(ProbeKind.NEIGHBOURHOOD, asked, (near.object.name,))
        if number < DISTRACTORS:
            text = f"{prompt} {target.name}. {asked}"
            yield Probe(ProbeKind.DISTRACTOR, text, (near.object.name,))


def _other_relations(world: World, fact: Fact, rng: random.Random) -> Iterator[Probe]:
    others = [f for f in world.facts_of(fact.subject).values() if f.relation != fact.relation]
    for other in rng.sample(others, min(OTHER_RELATIONS, len(others))):
        prompt = question(other, rng)
        yield Probe(ProbeKind.OTHER_RELATION, prompt, (other.object.name,))
