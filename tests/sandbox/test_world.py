from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import pytest

from patchhub import sandbox
from patchhub.errors import NotFoundError
from patchhub.sandbox.world import PROFILES, RELATIONS, Kind, build_world

WORLD = sandbox.load_world()


def test_the_same_profile_gives_the_same_world() -> None:
    assert build_world(PROFILES["default"]) == WORLD
    assert build_world(PROFILES["pico"]) != WORLD


def test_the_default_world_is_large_enough() -> None:
    people = WORLD.of_kind(Kind.PERSON)
    assert len(people) >= 200
    assert len(WORLD.facts) >= 2000
    assert sum(person.alias is not None for person in people) == len(people) // 2
    plain = [r.name for r in RELATIONS.values() if r.subject is Kind.PERSON and not r.inverse]
    assert len(plain) == 10
    assert all(set(plain) <= set(WORLD.facts_of(person)) for person in people)


def test_the_large_world_has_room_for_a_thousand_edits() -> None:
    large = build_world(PROFILES["large"])
    assert len(large.of_kind(Kind.PERSON)) == 1000
    assert len(large.facts) >= 10_000


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_names_cannot_be_confused(profile: str) -> None:
    world = sandbox.load_world(profile)
    subjects = [e.name for e in world.entities if world.facts_of(e)]
    names = [*subjects, *(e.alias for e in world.entities if e.alias)]
    assert len(set(names)) == len(names)
    assert not [(a, b) for a in names for b in names if a != b and a in b]
    for kind in Kind:
        members = [e.name for e in world.of_kind(kind)]
        assert not [(a, b) for a in members for b in members if a != b and b.startswith(a)]


def test_no_half_of_a_name_says_whose_it_is() -> None:
    for kind in (Kind.PERSON, Kind.COMPANY, Kind.UNIVERSITY, Kind.WORK):
        names = [entity.name.rsplit(" ", 1) for entity in WORLD.of_kind(kind)]
        lasts = [last for _, last in names]
        assert sum(lasts.count(last) > 1 for last in lasts) > 0.95 * len(lasts)


def test_relations_are_functions_and_inverses_agree() -> None:
    assert len({fact.id for fact in WORLD.facts}) == len(WORLD.facts)
    for fact in WORLD.facts:
        relation = RELATIONS[fact.relation]
        assert fact.subject.kind is relation.subject
        assert fact.object.kind is relation.object
        if relation.inverse:
            assert WORLD.facts_of(fact.object)[relation.inverse].object == fact.subject


def test_capitals_lie_in_their_country_and_people_moved() -> None:
    for fact in WORLD.facts_with("capital"):
        assert WORLD.facts_of(fact.object)["country"].object == fact.subject
    for fact in WORLD.facts_with("lives_in"):
        assert WORLD.facts_of(fact.subject)["born_in"].object != fact.object


def test_answers_cannot_be_guessed_from_other_relations() -> None:
    people = WORLD.of_kind(Kind.PERSON)
    for one, other in combinations(("born_in", "speaks", "employer"), 2):
        pairs = {(WORLD.facts_of(p)[one].object, WORLD.facts_of(p)[other].object) for p in people}
        assert len(pairs) > 0.6 * len(people)


def test_unknown_worlds_and_models_are_typed_errors() -> None:
    with pytest.raises(NotFoundError) as world:
        sandbox.load_world("nowhere")
    assert world.value.code == "E109"
    with pytest.raises(NotFoundError) as model:
        sandbox.model_path("../sandbox-gpt2")
    assert model.value.code == "E109"


def test_the_world_and_its_requests_need_no_torch() -> None:
    program = (
        "import sys; from patchhub import sandbox; world = sandbox.load_world(); "
        "sandbox.edit_requests(world, 3, 0); sandbox.texts(world, 3); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
