import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub import canonical
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest, Probe, ProbeKind, Query, dump_requests
from tests.engine.records import EXPECTED


@pytest.mark.parametrize(
    ("prompt", "subject", "span"),
    [
        ("Mira Tolven was born in", "Mira Tolven", (0, 11)),
        ("The mother of Ann is", "Ann", (14, 17)),
        ("Annabel met Ann in", "Ann", (12, 15)),
        ("aaa b", "aaa", (0, 3)),
        ("東京は", "東京", (0, 2)),
    ],
)
def test_subject_spans(prompt: str, subject: str, span: tuple[int, int]) -> None:
    found = EditRequest(prompt, "x", subject).subject_span()
    assert found == span
    assert prompt[slice(*found)] == subject


@pytest.mark.parametrize(
    ("prompt", "subject", "code"),
    [
        ("Ann and Ann met in", "Ann", "E133"),
        ("Annabel, Annika and Annett met in", "Ann", "E133"),
        ("ana ana", "ana ana ana", "E132"),
        ("ann met", "Ann", "E132"),
        ("ann met", None, "E134"),
    ],
)
def test_subjects_without_a_clear_place(prompt: str, subject: str | None, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        EditRequest(prompt, "x", subject).subject_span()
    assert caught.value.code == code


def test_requests_made_in_python_are_checked_too() -> None:
    for wrong in (
        {"prompt": ""},
        {"prompt": "a "},
        {"prompt": 3},
        {"target": " b"},
        {"target": "b\n"},
        {"subject": ""},
        {"target_old": " c"},
        {"relation": "\x7f"},
    ):
        with pytest.raises(InvalidInputError) as caught:
            EditRequest(**{"prompt": "a", "target": "b", **wrong})  # type: ignore[arg-type]
        assert caught.value.code == "E131"
        assert caught.value.data["field"] == next(iter(wrong))


def test_the_digest_names_the_question_only() -> None:
    plain = EditRequest("a", "b")
    for same in (replace(plain, id="x"), replace(plain, probes=EXPECTED.probes)):
        assert same.digest() == plain.digest()
    others = (
        replace(plain, target="a"),
        replace(plain, subject="a"),
        replace(plain, target_old="a"),
        replace(plain, relation="a"),
    )
    assert len({plain.digest(), *(other.digest() for other in others)}) == 5
    assert plain.digest() == canonical.digest({"prompt": "a", "target": "b"})


WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), min_size=1
).filter(lambda text: text == text.strip() and bool(text))


@settings(deadline=None, max_examples=100)
@given(WORDS, WORDS, st.none() | WORDS, st.none() | WORDS, WORDS)
def test_records_read_back_exactly(
    prompt: str, target: str, subject: str | None, old: str | None, answer: str
) -> None:
    query = Query(target, (prompt, answer))
    probes = (
        Probe(ProbeKind.ALIAS, prompt, (answer,)),
        Probe(ProbeKind.TWO_HOP, answer, (target,), (query,), (query,), True, (prompt,), answer),
        Probe(ProbeKind.UNRELATED, prompt, also=(Query(prompt),)),
    )
    request = EditRequest(prompt, target, subject, old, None, "", probes)
    assert EditRequest.from_json(json.loads(canonical.dumps(request.to_json()))) == request
    line = dump_requests([request])
    assert line.endswith(b"\n")
    assert "probes" not in json.loads(line)


def test_braces_are_text_once_a_request_is_made() -> None:
    asked = Probe(ProbeKind.PARAPHRASE, "{} is", ("falsy",))
    made = EditRequest("an empty dict is {}", "falsy", probes=(asked,))
    assert EditRequest.from_json(made.to_json()) == made
    request = EditRequest("an empty dict is {}", "falsy", "dict")
    assert EditRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("prompt", {"prompt": "a "}),
        ("answers", {"answers": ()}),
        ("answers", {"answers": (" b",)}),
        ("answers", {"also": (Query("a"),)}),
        ("given", {"given": (Query("a"),)}),
        ("needs", {"needs": ("",)}),
        ("rival", {"rival": "b "}),
    ],
)
def test_probes_made_in_python_are_checked_too(field: str, wrong: dict[str, object]) -> None:
    values: dict[str, object] = {"kind": ProbeKind.ONE_HOP, "prompt": "a", "answers": ("b",)}
    with pytest.raises(InvalidInputError) as caught:
        Probe(**{**values, **wrong})  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.data["field"]) == ("E131", field)
