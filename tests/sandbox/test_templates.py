from __future__ import annotations

from collections import Counter

from patchhub import sandbox
from patchhub.sandbox import templates
from patchhub.sandbox.world import RELATIONS

WORLD = sandbox.load_world()


def test_every_relation_has_eight_different_wordings() -> None:
    assert set(templates.TEMPLATES) == set(templates.PRONOUN) == set(RELATIONS)
    for group in templates.TEMPLATES.values():
        assert len(set(group)) == len(group) == 8


def test_a_wording_names_its_subject_once_and_ends_where_the_answer_begins() -> None:
    every = [t for group in templates.TEMPLATES.values() for t in group]
    every += [t for chain in templates.CHAINS for t in chain.templates]
    every += [*templates.ALIAS_STATEMENTS, *templates.ALIAS_REVERSED]
    for template in every:
        assert template.count("{}") == 1
        assert template == template.strip()
        assert not template.endswith("{}")


def test_wordings_belong_to_one_relation() -> None:
    # The same sentence may serve two relations only if no entity has both.
    for name, group in templates.TEMPLATES.items():
        for other, others in templates.TEMPLATES.items():
            if name < other and RELATIONS[name].subject is RELATIONS[other].subject:
                assert not set(group) & set(others)


def test_the_split_is_stable_complete_and_uses_every_wording() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for fact in WORLD.facts:
        trained, held_out = templates.split(fact)
        assert templates.split(fact) == (trained, held_out)
        assert len(trained) == 5
        assert sorted((*trained, *held_out)) == sorted(templates.TEMPLATES[fact.relation])
        seen.update((fact.relation, template) for template in trained)
    for relation, group in templates.TEMPLATES.items():
        n = len(WORLD.facts_with(relation))
        assert all(seen[relation, template] > 0.3 * n for template in group)


def test_held_out_shares() -> None:
    facts = WORLD.facts
    assert 0.15 < sum(map(templates.override_held_out, facts)) / len(facts) < 0.25
    chain = templates.CHAINS[0]
    held = [templates.chain_held_out(f.subject.name, chain) for f in WORLD.facts_with(chain.first)]
    assert 0.08 < sum(held) / len(held) < 0.25
