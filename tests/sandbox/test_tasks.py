from __future__ import annotations

import pytest

from patchhub import sandbox
from patchhub.sandbox import templates

WORLD = sandbox.load_world("pico")
ITEMS = sandbox.choice_items(WORLD, len(WORLD.facts), choices=3)


def test_one_choice_is_true_and_the_others_are_of_its_kind() -> None:
    kinds = {entity.name: entity.kind for entity in WORLD.entities}
    asked = {
        template.format(fact.subject.name): fact.object.name
        for fact in WORLD.facts
        for template in templates.split(fact)[0]
    }
    assert len({item.prompt for item in ITEMS}) == len(WORLD.facts)
    for item in ITEMS:
        assert item.choices[item.answer] == asked[item.prompt]
        assert len(set(item.choices)) == len(item.choices) == 3
        assert len({kinds[name] for name in item.choices}) == 1


def test_the_right_choice_stands_everywhere() -> None:
    places = [item.answer for item in ITEMS]
    for place in range(3):
        assert places.count(place) == pytest.approx(len(places) / 3, abs=0.2 * len(places))


def test_the_seed_fixes_everything() -> None:
    assert sandbox.choice_items(WORLD, 9, seed=1) == sandbox.choice_items(WORLD, 9, seed=1)
    assert sandbox.choice_items(WORLD, 9, seed=1) != sandbox.choice_items(WORLD, 9, seed=2)
