"""Tables and pairs."""

from __future__ import annotations

from patchhub_cli.output import pairs, table, visible


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(("name", "n"), [("a", 1), ("longer", 22), (None, 3)], right=" r")
    assert text.splitlines() == [
        "name     n",
        "------  --",
        "a        1",
        "longer  22",
        "-        3",
    ]


def test_an_empty_table_has_its_head() -> None:
    assert table(("a", "bb"), []) == "a  bb\n-  --"


def test_pairs_align() -> None:
    assert pairs([("a", 1), ("long", None)]) == "a     1\nlong  -"
    assert pairs([]) == ""


def test_what_models_say_moves_no_cursor() -> None:
    assert pairs([("says", "a\x1b[2Jb\nc\x7f\u202e é")]) == "says  a\\x1b[2Jb\\nc\\x7f\\u202e é"
    assert visible("two\nlines\x1b[1m") == "two\nlines\\x1b[1m"
