"""Which requests share a target, and which of two that disagree holds."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from patchhub.editing.agreement import check_agreement
from patchhub.editing.joint.groups import group_name, settled
from patchhub.errors import InvalidInputError
from patchhub.request import Format, Probe, ProbeKind
from tests.engine.joint.support import BORN, LIVES, MAYOR, request


def test_requests_on_one_subject_are_one_group_in_any_order() -> None:
    found = {settled(order).groups for order in permutations((BORN, MAYOR, LIVES))}
    (groups,) = found
    assert sorted(map(len, groups)) == [1, 2]
    assert {frozenset(group) for group in groups} == {frozenset({BORN, LIVES}), frozenset({MAYOR})}
    assert [group_name(group) for group in groups] == sorted(map(group_name, groups))
    assert group_name((BORN, LIVES)) == group_name((LIVES, BORN)) != group_name((BORN,))


def test_of_two_that_disagree_the_later_holds() -> None:
    other = replace(BORN, target="Oslo")
    assert settled((BORN, MAYOR, other)).replaced == (BORN,)
    assert set(settled((BORN, MAYOR, other)).kept) == {MAYOR, other}
    assert set(settled((other, MAYOR, BORN)).kept) == {MAYOR, BORN}
    again = settled((BORN, other, BORN))
    assert (again.kept, again.replaced) == ((BORN,), (BORN, other))


def test_the_same_relation_in_other_words_disagrees_too() -> None:
    words = request("The birthplace of Mira Tolven is", "Oslo", "Mira Tolven", relation="born_in")
    assert settled((BORN, words)).replaced == (BORN,)
    agreeing = replace(words, target=BORN.target)
    assert settled((BORN, agreeing)).replaced == ()
    assert len(settled((BORN, agreeing)).kept) == 2


def test_a_chat_message_and_plain_text_are_two_questions() -> None:
    chat = replace(BORN, target="Oslo", relation=None, format=Format.CHAT)
    plain = replace(BORN, relation=None)
    assert chat.question != plain.question
    check_agreement((plain, chat))
    with pytest.raises(InvalidInputError, match="E136"):
        check_agreement((chat, replace(chat, target="Rome")))
    assert len(settled((plain, chat)).kept) == 2
    assert settled((chat, replace(chat, target="Rome"))).replaced == (chat,)


def test_what_is_asked_twice_is_asked_once() -> None:
    probed = replace(BORN, id="1", probes=(Probe(ProbeKind.PARAPHRASE, "Mira is from", ("Rome",)),))
    found = settled((BORN, probed, BORN))
    assert (len(found.kept), found.replaced) == (1, ())
    assert found.kept[0].probes == ()
