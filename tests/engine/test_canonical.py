import json
import shutil
import subprocess

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub import canonical
from patchhub.errors import IntegrityError, InvalidInputError

KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_bytes_are_those_of_rfc_8785_and_read_back(value: canonical.Json) -> None:
    data = canonical.dumps(value)
    assert data == rfc8785.dumps(value)
    assert canonical.loads(data, what="x") == value


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@settings(deadline=None, max_examples=10)
@given(st.lists(VALUES, min_size=20, max_size=40))
def test_bytes_are_those_of_jq(values: list[canonical.Json]) -> None:
    data = canonical.dumps(values)
    run = subprocess.run(["jq", "-cjS", "."], input=data, capture_output=True, check=True)
    assert run.stdout == data


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0.5, "float"),
        (float("nan"), "float"),
        (2**53, "2**53"),
        (-(2**53), "2**53"),
        ({"é": 1}, "ASCII"),
        ({1: 1}, "ASCII"),
        ({"a\n": 1}, "ASCII"),
        (b"x", "bytes"),
        ("\x7f", "DEL"),
        ("\ud800", "surrogate"),
        ({"a": [{"b": {1, 2}}]}, "$.a[0].b"),
    ],
)
def test_values_without_a_canonical_form_are_refused(value: canonical.Json, word: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        canonical.dumps(value)
    assert caught.value.code == "E113"
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":"\\u0041"}',
        b'{"a":NaN}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":1',
        b"\xff",
        b"",
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b"[" * 100_000,
        b"[" * 900 + b"]" * 900 + b" ",
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        canonical.loads(data, what="some.json")
    assert caught.value.code == "E116"
    assert "some.json" in str(caught.value)


@settings(deadline=None, max_examples=200)
@given(st.floats(allow_nan=False))
def test_decimals_read_back_as_the_same_float(value: float) -> None:
    text = canonical.decimal(value)
    assert float(text) == value
    assert json.loads(canonical.dumps(text)) == text


def test_the_digest_is_the_sha256_of_the_bytes() -> None:
    # sha256sum of these seven bytes, by coreutils.
    expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert canonical.digest({"a": 1}) == expected
