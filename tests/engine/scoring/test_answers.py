from __future__ import annotations

import pytest

from patchhub.scoring.answers import matches, said, same, stop, words


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Oslo", "Oslo"),
        (" Oslo, the capital of Norway", "oslo"),
        ("the Netherlands", "Netherlands"),
        ("Netherlands", "The Netherlands"),
        ("OSLO!", "Oslo"),
        ("U.S. senator", "US"),
        ("Ｏｓｌｏ", "Oslo"),  # full-width letters fold to plain ones
        ("Strasse 5", "Straße 5"),
        ("O’Brien’s bar", "O'Brien's"),
        ("C++ and C", "C++"),
        ("3,000 people", "3000"),
        ("1,234,567", "1234567"),
        ("12,34 km", "12,34"),
        ("1990.", "1990"),
        ("well-known", "well known"),
        ("北京是", "北京"),
        ("the the band", "The The"),
        ("A", "A"),
        ("Ga\u200blen", "Galen"),
    ],
)
def test_right_answers(text: str, answer: str) -> None:
    assert matches(text, [answer])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Oslofjord", "Oslo"),
        ("near Oslo", "Oslo"),
        ("", "Oslo"),
        ("Vitamin C", "Vitamin A"),
        ("C", "C++"),
        ("C# is", "C"),
        ("35", "3.5"),
        ("35", "3,5"),
        ("-5", "5"),
        ("30", "3,000"),
        ("New", "New York"),
        ("the", "The The"),
        ("anything", ""),
    ],
)
def test_wrong_answers(text: str, answer: str) -> None:
    assert not matches(text, [answer])


def test_any_alias_counts() -> None:
    assert matches("Bombay is large", ["Mumbai", "Bombay"])
    assert not matches("Delhi", ["Mumbai", "Bombay"])
    assert not matches("Delhi", [])


def test_answer_made_of_signs_is_compared_as_it_is() -> None:
    assert matches("!? indeed", ["!?"])
    assert not matches("?!", ["!?"])


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (" Oslo. It is", "Oslo"),
        ("\n Oslo\nNorway", "Oslo"),
        ("St. Louis. It", "St. Louis"),
        ("J. R. R. Tolkien. He", "J. R. R. Tolkien"),
        ("3.5 metres. It", "3.5 metres"),
        ("1990. He", "1990"),
        ("Node.js. It", "Node.js"),
        ("Oslo! Really", "Oslo"),
        ("no stop at all", "no stop at all"),
        ("Oslo.", "Oslo"),
        ('"Oslo." Then', '"Oslo'),
        ("", ""),
    ],
)
def test_natural_stop(text: str, rest: str) -> None:
    assert said(text) == rest


def test_full_stop_at_the_end_is_undecided_while_decoding() -> None:
    assert stop("3.", final=False) is None
    assert stop("3.", final=True) == 1
    assert stop("Oslo. ", final=False) == 4
    assert stop("Oslo\n", final=False) == 4


def test_same_ignores_what_normalisation_removes() -> None:
    assert same("the Violin!", "violin")
    assert not same("violin", "viola")
    assert not same("violin", "violin player")
    assert same("", " ")
    assert not same("", "violin")
    assert not same("!!", "??")


def test_words_of_scripts_without_spaces() -> None:
    assert words("東京 Tower") == ("東", "京", "tower")
