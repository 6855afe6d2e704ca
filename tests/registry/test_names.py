from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchhub.errors import InvalidInputError
from patchhub_registry.names import Ref, check_name

MALICIOUS = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "a\n",
    "\na",
    "a\x00b",
    "-rf",
    "--upload-pack=x",
    "A",
    "é",
    "ａ",
    "a b",
    "a.lock",
    "a@1",
    "x" * 64,
    "x" * 100_000,
    "nul",
    "com1",
]
NAMES = st.from_regex(re.compile(r"[a-z0-9][a-z0-9-]{0,62}"), fullmatch=True).filter(
    lambda name: (
        name not in {"con", "prn", "aux", "nul"} and not re.fullmatch("(com|lpt)[1-9]", name)
    )
)


@pytest.mark.parametrize("text", MALICIOUS, ids=lambda text: f"{len(text)}-{text[:12]!a}")
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_name(text)
    assert caught.value.code == "E101"
    assert caught.value.exit == 9
    assert len(str(caught.value)) < 500
    assert str(caught.value).isascii() or "…" in str(caught.value)


@given(NAMES)
def test_names_pass(name: str) -> None:
    assert check_name(name) == name


def test_a_stack_may_not_be_called_base() -> None:
    assert check_name("base", "base") == "base"
    with pytest.raises(InvalidInputError, match="E101"):
        check_name("base", "stack")


@given(NAMES, st.none() | st.integers(1, 999_999))
def test_a_name_reference_reads_back(name: str, version: int | None) -> None:
    ref = Ref(name, version)
    assert Ref.parse(str(ref)) == ref


@given(st.from_regex(re.compile("[0-9a-f]{4,64}"), fullmatch=True))
def test_an_id_reference_reads_back(digits: str) -> None:
    assert Ref.parse(f"ph:{digits}") == Ref(id=digits)


def test_sixty_four_digits_are_an_id_and_fewer_a_name() -> None:
    assert Ref.parse("a" * 64) == Ref(id="a" * 64)
    assert Ref.parse("a" * 63) == Ref(name="a" * 63)


@given(st.text() | st.text("abz09-@:ph", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidInputError):
        assert str(Ref.parse(text)) in (text, f"ph:{text}")


@pytest.mark.parametrize(
    "text", ["a@", "a@0", "a@01", "a@-1", "a@1000000", "a@1\n", "ph:abc", "ph:ABCD", "ph:", "@1"]
)
def test_near_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="E101"):
        Ref.parse(text)
