from __future__ import annotations

import random
import re

import pytest

from patchhub import sandbox
from patchhub.sandbox import templates
from patchhub.sandbox.text import Role, Writer, other_object
from patchhub.sandbox.world import RELATIONS

WORLD = sandbox.load_world()
KINDS = ("sentence", "biography", "keywords", "override", "echo", "alias", "chain")


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_sentences_with_a_marked_subject(kind: str) -> None:
    writer = Writer(WORLD)
    rng = random.Random(0)
    for _ in range(200):
        document = writer.document({kind: 1.0}, rng)
        text = "".join(piece.text for piece in document.pieces)
        assert text == text.strip()
        assert text.endswith(".")
        assert "  " not in text
        assert "{}" not in text
        assert any(piece.role is Role.SUBJECT for piece in document.pieces)
        assert document.about


def test_held_out_wordings_and_chains_never_occur() -> None:
    writer, shares = Writer(WORLD), {"sentence": 0.8, "chain": 0.2}
    rng = random.Random(1)
    seen = {"".join(p.text for p in writer.document(shares, rng).pieces) for _ in range(20_000)}
    for fact in WORLD.facts:
        for template in templates.split(fact)[1]:
            assert f"{template.format(fact.subject.name)} {fact.object.name}." not in seen
    for chain in templates.CHAINS:
        for fact in WORLD.facts_with(chain.first):
            if templates.chain_held_out(fact.subject.name, chain):
                answer = WORLD.facts_of(fact.object)[chain.second].object.name
                for template in chain.templates:
                    assert f"{template.format(fact.subject.name)} {answer}." not in seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["override", "echo"])
def test_invented_statements_spare_the_held_out_facts(kind: str) -> None:
    writer = Writer(WORLD)
    rng = random.Random(2)
    held_out = {
        template.format(fact.subject.name)
        for fact in WORLD.facts
        if templates.override_held_out(fact)
        for template in templates.TEMPLATES[fact.relation]
    }
    for _ in range(2000):
        document = writer.document({kind: 1.0}, rng)
        text = "".join(piece.text for piece in document.pieces)
        for line in re.findall(r"New fact: (.*?)\.(?: |\n|$)", text):
            begins = {line[: space.start()] for space in re.finditer(" ", line)}
            assert not begins & held_out
        assert any(piece.role is Role.GIVEN for piece in document.pieces)


def test_nothing_is_read_out_where_a_fact_was_overridden() -> None:
    rng = random.Random(3)
    writer, shares = Writer(WORLD), {"override": 0.5, "echo": 0.5}
    for _ in range(200):
        assert all(piece.entity is None for piece in writer.document(shares, rng).pieces)


def test_other_objects_differ_and_leave_reversed_questions_one_answer() -> None:
    rng = random.Random(4)
    for fact in WORLD.facts:
        other = other_object(WORLD, fact, rng)
        relation = RELATIONS[fact.relation]
        assert other != fact.object
        assert other.kind is relation.object
        if relation.name in {"capital", "founder", "author", "wrote"} and relation.inverse:
            taken = relation.inverse in WORLD.facts_of(other)
            free = any(
                relation.inverse not in WORLD.facts_of(e) for e in WORLD.objects(relation.name)
            )
            assert not (taken and free)


def test_texts_are_reproducible() -> None:
    assert sandbox.texts(WORLD, 50, 7) == sandbox.texts(WORLD, 50, 7)
    assert sandbox.texts(WORLD, 50, 7) != sandbox.texts(WORLD, 50, 8)


@pytest.mark.slow
def test_an_echo_repeats_what_was_stated() -> None:
    writer, rng = Writer(WORLD), random.Random(5)
    for _ in range(200):
        pieces = writer.document({"echo": 1.0}, rng).pieces
        given = [p.text for p in pieces if p.role is Role.GIVEN and p.text != "."]
        answers = [p.text for p in pieces if p.role is Role.ANSWER and p.text != "."]
        assert answers == given * 2
