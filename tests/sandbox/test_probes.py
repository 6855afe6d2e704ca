from __future__ import annotations

import random
from collections import Counter

import pytest

from patchhub import sandbox
from patchhub.request import ProbeKind
from patchhub.sandbox import templates
from patchhub.sandbox.world import RELATIONS, Fact

WORLD = sandbox.load_world()
FACTS = {fact.id: fact for fact in WORLD.facts}


@pytest.mark.parametrize("profile", ["default", "pico"])
def test_every_fact_yields_a_sound_request(profile: str) -> None:
    world = sandbox.load_world(profile)
    rng = random.Random(0)
    for fact in world.facts:
        request = sandbox.request_for(world, fact, rng)
        start, end = request.subject_span()
        assert request.prompt[start:end] == fact.subject.name
        assert request.target != request.target_old == fact.object.name
        assert request.target in {e.name for e in world.objects(fact.relation)}
        prompts = [probe.prompt for probe in request.probes]
        assert len(set(prompts)) == len(prompts)
        assert request.prompt not in prompts
        kinds = Counter(probe.kind for probe in request.probes)
        assert kinds[ProbeKind.PARAPHRASE] == 3
        assert kinds[ProbeKind.NEIGHBOURHOOD] >= 1
        assert kinds[ProbeKind.DISTRACTOR] >= 1
        assert kinds[ProbeKind.ALIAS] == (fact.subject.alias is not None)
        assert kinds[ProbeKind.REVERSED] == (RELATIONS[fact.relation].inverse is not None)


def test_requests_are_fixed_by_their_seed() -> None:
    assert sandbox.edit_requests(WORLD, 20, 3) == sandbox.edit_requests(WORLD, 20, 3)
    assert sandbox.edit_requests(WORLD, 20, 3) != sandbox.edit_requests(WORLD, 20, 4)
    assert len({r.id for r in sandbox.edit_requests(WORLD, 200, 0)}) == 200


def _asked(prompt: str) -> Fact:
    """The one fact that a plain question is about; fails when it is not unique."""
    hits = [
        fact
        for fact in WORLD.facts
        if fact.subject.name in prompt
        and any(t.format(fact.subject.name) == prompt for t in templates.TEMPLATES[fact.relation])
    ]
    assert len(hits) == 1, prompt
    return hits[0]


def test_locality_probes_ask_for_other_facts_and_name_the_truth() -> None:
    same_object = total = 0
    for request in sandbox.edit_requests(WORLD, 60, 1):
        fact = FACTS[request.id]
        for probe in request.probes:
            if probe.kind is ProbeKind.NEIGHBOURHOOD:
                other = _asked(probe.prompt)
                assert other.relation == fact.relation
                assert other.subject != fact.subject
                assert probe.answers == (other.object.name,)
                assert other.object.name != request.target
                same_object += other.object == fact.object
                total += 1
            elif probe.kind is ProbeKind.OTHER_RELATION:
                other = _asked(probe.prompt)
                assert other.subject == fact.subject
                assert other.relation != fact.relation
                assert probe.answers == (other.object.name,)
            elif probe.kind is ProbeKind.DISTRACTOR:
                front = f"{request.prompt} {request.target}. "
                assert probe.prompt.startswith(front)
                other = _asked(probe.prompt.removeprefix(front))
                assert other.subject != fact.subject
                assert probe.answers == (other.object.name,)
    assert same_object > 0.7 * total


def test_what_must_follow_asks_for_the_new_truth() -> None:
    names = {entity.name: entity for entity in WORLD.entities}
    hops = 0
    for request in sandbox.edit_requests(WORLD, 300, 2):
        fact = FACTS[request.id]
        for probe in request.probes:
            if probe.kind in (ProbeKind.PARAPHRASE, ProbeKind.ALIAS):
                assert probe.answers == (request.target,)
            if probe.kind is ProbeKind.ALIAS:
                assert fact.subject.alias is not None
                assert fact.subject.alias in probe.prompt
                assert fact.subject.name not in probe.prompt
            if probe.kind is ProbeKind.REVERSED:
                assert request.target in probe.prompt
                assert probe.answers == (fact.subject.name,)
            if probe.kind is ProbeKind.ONE_HOP:
                hops += 1
                ends = {
                    WORLD.facts_of(names[request.target])[chain.second].object.name
                    for chain in templates.CHAINS
                    if chain.first == fact.relation
                }
                assert probe.answers[0] in {*ends, request.target}
    assert hops > 50


def _walk(prompt: str, edited: Fact, target: str) -> list[tuple[str, str, str]]:
    """Subject, relation and object of every step of a chain's question, after an edit."""
    names = {entity.name: entity for entity in WORLD.entities}
    every: list[templates.Chain | templates.LongChain]
    every = [*templates.CHAINS, *templates.LONG_CHAINS]
    for chain in every:
        for template in chain.templates:
            head, _, tail = template.partition("{}")
            name = prompt.removeprefix(head).removesuffix(tail)
            if template.format(name) == prompt and name in names:
                steps = []
                for relation in chain.relations:
                    true = WORLD.facts_of(names[name])[relation]
                    end = target if true == edited else true.object.name
                    steps.append((name, relation, end))
                    name = end
                return steps
    raise AssertionError(prompt)


def test_chains_count_on_their_other_facts_and_hold_the_new_end_against_the_old() -> None:
    seen = Counter[ProbeKind]()
    for request in sandbox.edit_requests(WORLD, 300, 2):
        edited = FACTS[request.id]
        for probe in request.probes:
            if probe.kind not in (ProbeKind.ONE_HOP, ProbeKind.TWO_HOP):
                assert not probe.given
                continue
            seen[probe.kind] += 1
            steps = _walk(probe.prompt, edited, request.target)
            assert probe.answers == (steps[-1][2],)
            assert probe.rival == _walk(probe.prompt, edited, edited.object.name)[-1][2]
            assert probe.rival != probe.answers[0]
            links = {step for step in steps if step[:2] != (edited.subject.name, edited.relation)}
            asked = [_asked(query.prompt) for query in probe.given]
            assert {(f.subject.name, f.relation, f.object.name) for f in asked} == links
            assert [query.answers for query in probe.given] == [(f.object.name,) for f in asked]
            assert len(steps) == len(links) + 1 == (2 if probe.kind is ProbeKind.ONE_HOP else 3)
    assert min(seen[ProbeKind.ONE_HOP], seen[ProbeKind.TWO_HOP]) > 50


def test_a_named_target_is_used() -> None:
    fact = WORLD.facts[0]
    target = next(e for e in WORLD.objects(fact.relation) if e != fact.object)
    request = sandbox.request_for(WORLD, fact, random.Random(0), target)
    assert request.target == target.name
