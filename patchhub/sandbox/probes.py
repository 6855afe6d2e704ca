"""For any fact: the request that edits it, and the questions that show what the edit did.

What must change: paraphrases, the alias, the reversed question, chains of two and three facts. What
must not: other subjects of the relation, with and without the edit in front, and the subject's
other facts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain

from patchhub.request import EditRequest, Probe, ProbeKind, Query
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
        *_two_hop(world, fact, target),
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
    found = (_chained(world, fact, target, each, rng) for each in templates.CHAINS)
    yield from list(chain.from_iterable(found))[:CHAINED]


def _two_hop(world: World, fact: Fact, target: Entity) -> Iterator[Probe]:
    """The same with chains of three facts; one of those that apply."""
    rng = random.Random(f"two hops|{fact.id}|{target.id}")
    found = (_chained(world, fact, target, each, rng) for each in templates.LONG_CHAINS)
    every = list(chain.from_iterable(found))
    yield from rng.sample(every, min(1, len(every)))


def _chained(
    world: World,
    fact: Fact,
    target: Entity,
    question: templates.Chain | templates.LongChain,
    rng: random.Random,
) -> list[Probe]:
    """The question, where it passes through the edit; it counts if the other steps are known."""
    template = rng.choice(question.templates)
    kind = ProbeKind.ONE_HOP if len(question.relations) == 2 else ProbeKind.TWO_HOP
    probes = []
    for place, relation in enumerate(question.relations):
        if relation == fact.relation:
            before = _backward(world, fact.subject, question.relations[:place], rng)
            after = _forward(world, target, question.relations[place + 1 :])
            old = _forward(world, fact.object, question.relations[place + 1 :])
            new_end, old_end = (
                steps[-1].object if steps else end
                for steps, end in ((after, target), (old, fact.object))
            )
            if before is not None and new_end != old_end:
                start = before[0].subject if before else fact.subject
                prompt = template.format(start.name)
                given = tuple(_known(step) for step in (*before, *after))
                probes.append(Probe(kind, prompt, (new_end.name,), given, rival=old_end.name))
    return probes


def _backward(
    world: World, end: Entity, relations: Sequence[str], rng: random.Random
) -> list[Fact] | None:
    """Facts along the relations, in their order, that lead to `end`, if any do."""
    steps: list[Fact] = []
    for relation in reversed(relations):
        leading = [fact for fact in world.facts_with(relation) if fact.object == end]
        if not leading:
            return None
        steps.insert(0, *rng.sample(leading, 1))
        end = steps[0].subject
    return steps


def _forward(world: World, start: Entity, relations: Sequence[str]) -> list[Fact]:
    """Facts along the relations that lead on from `start`."""
    steps: list[Fact] = []
    for relation in relations:
        steps.append(world.facts_of(steps[-1].object if steps else start)[relation])
    return steps


def _known(fact: Fact) -> Query:
    """The fact as a condition, in the wording that its own edit would use."""
    return Query(templates.split(fact)[0][0].format(fact.subject.name), (fact.object.name,))


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
