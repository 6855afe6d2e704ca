import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub import canonical
from patchhub.errors import InvalidInputError, NotFoundError, PatchHubError
from patchhub.request import EditRequest, Probe, ProbeKind, dump_requests, load_requests

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data samples are not here")

FULL = {
    "prompt": "{} was born in",
    "target": "Oslo",
    "subject": "Mira Tolven",
    "target_old": "Rome",
    "relation": "born_in",
    "id": "m1",
    "probes": [
        {"kind": "paraphrase", "prompt": "The home of {} is", "answers": ["Oslo", "Oslo, Norway"]},
        {"kind": "neighbourhood", "prompt": "Jon Arvel was born in"},
    ],
}  # fmt: skip
EXPECTED = EditRequest(
    prompt="Mira Tolven was born in",
    target="Oslo",
    subject="Mira Tolven",
    target_old="Rome",
    relation="born_in",
    id="m1",
    probes=(
        Probe(ProbeKind.PARAPHRASE, "The home of Mira Tolven is", ("Oslo", "Oslo, Norway")),
        Probe(ProbeKind.NEIGHBOURHOOD, "Jon Arvel was born in"),
    ),
)
COUNTERFACT: dict[str, Any] = {
    "case_id": 7,
    "pararel_idx": 12,
    "requested_rewrite": {
        "prompt": "{} works in",
        "relation_id": "P937",
        "target_new": {"str": "Paris", "id": "Q90"},
        "target_true": {"str": "Rome", "id": "Q220"},
        "subject": "Jon Arvel",
    },
    "paraphrase_prompts": ["No rain. Jon Arvel's office is in "],
    "neighborhood_prompts": ["Ada Bru works in"],
    "attribute_prompts": ["Max Ide works in"],
    "generation_prompts": ["Jon Arvel goes to work by"],
    "distracting_neighborhood_prompts": ["Jon Arvel works in Paris. Ada Bru works in"],
    "portability": {"Recalled Relation": "", "New Question": "Its river is", "New Answer": "Seine"},
    "unrelated_relation": {"relation_id": "x", "object": "human", "question": "Jon Arvel is a"},
    "alternative_subject": "J. Arvel",
}  # fmt: skip
ZSRE: dict[str, Any] = {
    "case_id": 3,
    "subject": "Jon Arvel",
    "src": "Who is the father of Jon Arvel?",
    "pred": "Max",
    "rephrase": "Jon Arvel's father is who?",
    "alt": " Ole Arvel ",
    "answers": ["Per Arvel", "P. Arvel"],
    "loc": "nq question: who sang it",
    "loc_ans": "Abba",
    "cond": "Max >> Ole Arvel || Who is the father of Jon Arvel?",
    "inverse question": "Who is the son of Ole Arvel?",
    "alternative_subject": "J. Arvel",
    "alter_subject_question": "Who is the father of J. Arvel?",
}
FLAT: dict[str, Any] = {
    "case_id": 9,
    "prompt": "Jon Arvel works in",
    "target_new": "Paris",
    "subject": "Jon Arvel",
    "ground_truth": "Rome",
    "rephrase_prompt": "Jon Arvel's office is in",
    "locality_prompt": "Ada Bru works in",
    "locality_ground_truth": "Rome",
}


def refuse(path: Path) -> PatchHubError:
    with pytest.raises(PatchHubError) as caught:
        load_requests(path)
    return caught.value


def save(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.yaml", "a.yml", "A.JSON"])
def test_every_format_gives_the_same_request(tmp_path: Path, name: str) -> None:
    if name.endswith("l") and not name.endswith("jsonl"):
        text = yaml.safe_dump([FULL])
    elif name.endswith("jsonl"):
        text = f"\n{json.dumps(FULL)}\n\n"
    else:
        text = "\ufeff" + json.dumps([FULL], indent=2)
    assert load_requests(save(tmp_path / name, text)) == (EXPECTED,)


def test_a_single_record_needs_no_list(tmp_path: Path) -> None:
    assert load_requests(save(tmp_path / "a.json", json.dumps(FULL))) == (EXPECTED,)
    assert load_requests(save(tmp_path / "a.yaml", json.dumps(FULL))) == (EXPECTED,)


def test_counterfact(tmp_path: Path) -> None:
    (request,) = load_requests(save(tmp_path / "a.json", json.dumps([COUNTERFACT])))
    assert request.prompt == "Jon Arvel works in"
    assert (request.target, request.target_old, request.relation) == ("Paris", "Rome", "P937")
    assert (request.subject, request.id) == ("Jon Arvel", "7")
    assert request.probes == (
        Probe(ProbeKind.PARAPHRASE, "No rain. Jon Arvel's office is in", ("Paris",)),
        Probe(ProbeKind.NEIGHBOURHOOD, "Ada Bru works in", ("Rome",)),
        Probe(ProbeKind.DISTRACTOR, "Jon Arvel works in Paris. Ada Bru works in", ("Rome",)),
        Probe(ProbeKind.OTHER_RELATION, "Jon Arvel is a", ("human",)),
        Probe(ProbeKind.ONE_HOP, "Its river is", ("Seine",)),
        Probe(ProbeKind.ALIAS, "J. Arvel works in", ("Paris",)),
    )


def test_zsre(tmp_path: Path) -> None:
    (request,) = load_requests(save(tmp_path / "a.jsonl", json.dumps(ZSRE)))
    assert request.prompt == "Who is the father of Jon Arvel?"
    assert (request.target, request.target_old) == ("Ole Arvel", "Per Arvel")
    assert (request.subject, request.id, request.relation) == ("Jon Arvel", "3", None)
    assert request.probes == (
        Probe(ProbeKind.PARAPHRASE, "Jon Arvel's father is who?", ("Ole Arvel",)),
        Probe(ProbeKind.ALIAS, "Who is the father of J. Arvel?", ("Ole Arvel",)),
        Probe(ProbeKind.REVERSED, "Who is the son of Ole Arvel?", ("Jon Arvel",)),
        Probe(ProbeKind.NEIGHBOURHOOD, "nq question: who sang it", ("Abba",)),
    )


def test_flattened_counterfact(tmp_path: Path) -> None:
    (request,) = load_requests(save(tmp_path / "a.yaml", yaml.safe_dump([FLAT])))
    assert request == EditRequest(
        "Jon Arvel works in",
        "Paris",
        "Jon Arvel",
        "Rome",
        None,
        "9",
        (
            Probe(ProbeKind.PARAPHRASE, "Jon Arvel's office is in", ("Paris",)),
            Probe(ProbeKind.NEIGHBOURHOOD, "Ada Bru works in", ("Rome",)),
        ),
    )


def test_layouts_may_be_mixed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", json.dumps([FULL, COUNTERFACT, ZSRE, FLAT]))
    assert [r.id for r in load_requests(path)] == ["m1", "7", "3", "9"]


@needs_data
@pytest.mark.parametrize(
    ("name", "count", "kinds"),
    [
        ("counterfact/counterfact_dev_1000.json", 1000, "paraphrase neighbourhood"),
        ("counterfact/easyedit_layout_1000.json", 1000, "paraphrase neighbourhood"),
        ("zsre/zsre_train_1000.json", 1000, "paraphrase neighbourhood"),
        ("portability/counterfact_one_hop_300.json", 300, "paraphrase neighbourhood one_hop"),
        ("portability/zsre_one_hop_300.json", 300, "paraphrase neighbourhood one_hop"),
        ("portability/counterfact_subject_replace_80.json", 80, "paraphrase neighbourhood alias"),
        ("portability/zsre_inverse_relation_120.json", 120, "paraphrase reversed"),
        (
            "locality/counterfact_distracting_neighbor_250.json",
            250,
            "paraphrase neighbourhood distractor other_relation one_hop",
        ),
    ],
)
def test_real_samples(name: str, count: int, kinds: str) -> None:
    requests = load_requests(DATA / name)
    assert len(requests) == count
    for request in requests:
        assert {str(probe.kind) for probe in request.probes} == set(kinds.split())
        assert EditRequest.from_json(request.to_json()) == request
    # One record of all these names a subject that its question does not hold; every other one does.
    lost = [r for r in requests if r.subject is None or r.subject not in r.prompt]
    assert len(lost) == (1 if "inverse" in name else 0)
    for request in lost:
        with pytest.raises(InvalidInputError, match="E132"):
            request.subject_span()


def test_known_facts_are_no_requests() -> None:
    path = DATA / "counterfact" / "known_facts_600.json"
    if path.is_file():
        assert refuse(path).code == "E135"


NATIVE_FAULTS: list[tuple[str, object, str, str, str]] = [
    ("target", 7, "E131", "[1].target", "must be text"),
    ("target", "", "E131", "[1].target", "blank"),
    ("target", " Oslo", "E131", "[1].target", "white space"),
    ("target", None, "E131", "[1].target", "must be text"),
    ("prompt", "born in ", "E131", "[1].prompt", "white space"),
    ("prompt", "{} or {} was born in", "E131", "[1].prompt", "more than once"),
    ("prompt", "She was born in", "E132", "[1].subject", "does not occur"),
    ("prompt", "Mira Tolven knows Mira Tolven of", "E133", "[1].subject", "2 times"),
    ("subject", None, "E131", "[1].prompt", "no subject"),
    ("subject", "Tol\ud800ven", "E131", "[1].subject", "surrogate"),
    ("relation", ["a"], "E131", "[1].relation", "must be text"),
    ("target_old", "\n", "E131", "[1].target_old", "blank"),
    ("id", 5, "E131", "[1].id", "must be text"),
    ("colour", "red", "E131", "[1].colour", "not a known field"),
    ("probes", {}, "E131", "[1].probes", "must be a list"),
    ("probes", ["x"], "E131", "[1].probes[0]", "must be an object"),
    ("probes", [{"kind": "alias", "prompt": "x"}], "E131", "[1].probes[0].answers", "needs"),
    ("probes", [{"kind": "odd", "prompt": "x"}], "E131", "[1].probes[0].kind", "paraphrase"),
    ("probes", [{"kind": "alias", "answers": ["y"]}], "E131", "[1].probes[0].prompt", "missing"),
    (
        "probes",
        [{"kind": "alias", "prompt": "x", "answers": ["y", 1]}],
        "E131",
        "[1].probes[0].answers[1]",
        "must be text",
    ),
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".jsonl"])
@pytest.mark.parametrize(("field", "value", "code", "place", "words"), NATIVE_FAULTS)
def test_errors_name_file_line_and_field(
    tmp_path: Path, field: str, value: object, code: str, place: str, words: str, suffix: str
) -> None:
    broken = {**FULL, field: value}
    text = json.dumps([FULL, broken], indent=1)
    lines = text.split("\n")
    second = lines.index(" },") + 2
    keyed = [n for n, line in enumerate(lines, 1) if n > second and f'"{field}"' in line]
    # A template error without a subject shows up at the prompt, a lost subject at the subject.
    named = place.removeprefix("[1].").split(".")[0].split("[")[0]
    if named != field:
        keyed = [n for n, line in enumerate(lines, 1) if n > second and f'"{named}"' in line]
    if suffix == ".jsonl":
        text = f"{json.dumps(FULL)}\n\n{json.dumps(broken)}"
    elif suffix == ".yaml" and "\\u" in text:
        pytest.skip("YAML has no surrogate escapes")
    path = save(tmp_path / f"facts{suffix}", text)
    error = refuse(path)
    assert (error.code, error.exit) == (code, 9)
    assert error.data["field"] == place
    assert words in str(error)
    line = error.data["line"]
    if suffix == ".jsonl":
        assert line == 3
    elif "[0]" in place:
        assert isinstance(line, int)
        assert line > keyed[0]
    else:
        assert line == keyed[0]
    assert f"{path}:{line}: {place}: " in str(error)


@pytest.mark.parametrize(
    ("record", "path", "value", "place"),
    [
        (COUNTERFACT, ("requested_rewrite", "target_new", "str"), 3, "target_new.str"),
        (COUNTERFACT, ("requested_rewrite", "target_true"), "Rome", "target_true"),
        (COUNTERFACT, ("requested_rewrite", "subject"), "  ", "subject"),
        (COUNTERFACT, ("requested_rewrite", "extra"), "x", "extra"),
        (COUNTERFACT, ("paraphrase_prompts", 0), None, "paraphrase_prompts[0]"),
        (COUNTERFACT, ("portability", "New Answer"), ["Seine"], "portability.New Answer"),
        (COUNTERFACT, ("case_id",), "7", "case_id"),
        (ZSRE, ("alt",), "", "alt"),
        (ZSRE, ("answers",), "Per", "answers"),
        (ZSRE, ("extra",), 1, "extra"),
        (FLAT, ("locality_prompt",), 4, "locality_prompt"),
        (FLAT, ("subject",), True, "subject"),
        (FLAT, ("portability",), {}, "portability"),
    ],
)
def test_errors_in_foreign_layouts(
    tmp_path: Path, record: dict[str, Any], path: tuple[str | int, ...], value: object, place: str
) -> None:
    broken = json.loads(json.dumps(record))
    inner = broken
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    text = json.dumps([broken], indent=1)
    error = refuse(save(tmp_path / "a.json", text))
    assert error.code == "E131"
    field = str(error.data["field"])
    assert field.endswith(place)
    line = text.split("\n")[int(str(error.data["line"])) - 1]
    last = path[-1]
    assert (f'"{last}"' in line) if isinstance(last, str) else ("null" in line)


def test_a_subject_missing_from_a_benchmark_question_counts_when_it_is_needed(
    tmp_path: Path,
) -> None:
    record = {**ZSRE, "subject": "Jon of Arvel"}
    (request,) = load_requests(save(tmp_path / "a.json", json.dumps([record])))
    with pytest.raises(InvalidInputError) as caught:
        request.subject_span()
    assert caught.value.code == "E132"


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("a.json", '[{"prompt": "a",\n "target": }]', 2, "value"),
        ("a.json", '[\n{"prompt": "a", "prompt": "b"}]', None, "'prompt' occurs twice"),
        ("a.json", '[\n{"target": NaN}]', None, "NaN"),
        ("a.json", "[" * 100_000, None, "recursion"),
        ("a.json", "[]", None, "no request"),
        ("a.jsonl", '{"a": 1}\n{"a": 1,\n', 2, "cannot be parsed"),
        ("a.jsonl", '{"a": 1}\n\n{"a": 1, "a": 2}\n', 3, "twice"),
        ("a.yaml", "- prompt: x\n  target: y\n- prompt: [\n", 4, "cannot be parsed"),
        ("a.yaml", "- prompt: x\n  target: y\n  prompt: z\n", 3, "'prompt' occurs twice"),
        ("a.yaml", "- prompt: !!python/object:os.system x\n", 1, "constructor"),
        ("a.yaml", "", None, "no request"),
        ("a.yaml", "a: \x01", None, "special characters"),
        ("a.txt", "hello", None, "suffix"),
        ("a", "hello", None, "no suffix"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, text: str, line: int | None, words: str) -> None:
    error = refuse(save(tmp_path / name, text))
    assert (error.code, error.exit) == ("E130", 9)
    assert name in str(error)
    assert words in str(error)
    if line is not None:
        assert f"{name}:{line}:" in str(error)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[\n{"prompt": "\xff"}]')
    error = refuse(path)
    assert error.code == "E130"
    assert "a.json:2" in str(error)


def test_a_missing_file(tmp_path: Path) -> None:
    error = refuse(tmp_path / "none.json")
    assert isinstance(error, NotFoundError)
    assert (error.code, error.exit) == ("E109", 7)
    assert refuse(tmp_path).code in ("E109", "E130")


def test_records_that_are_no_objects_or_of_no_layout(tmp_path: Path) -> None:
    error = refuse(save(tmp_path / "a.json", '[\n"x"]'))
    assert error.code == "E131"
    assert "a.json:2: [0]: must be an object" in str(error)
    error = refuse(save(tmp_path / "b.json", '[{"question": "x",\n "answer": "y"}]'))
    assert (error.code, error.exit) == ("E135", 9)
    assert "question, answer" in str(error)


def test_yaml_words_that_are_no_text_are_refused(tmp_path: Path) -> None:
    error = refuse(save(tmp_path / "a.yaml", "- prompt: Is it so?\n  target: yes\n"))
    assert error.code == "E131"
    assert "a.yaml:2: [0].target" in str(error)
    assert "bool True" in str(error)


def test_an_expanding_yaml_file_is_refused_quickly(tmp_path: Path) -> None:
    rows = ["a: &a [x, x, x, x, x, x, x, x]"]
    rows += [f"{c}: &{c} [{', '.join(['*' + p] * 8)}]" for p, c in pairwise("abcdefghijkl")]
    error = refuse(save(tmp_path / "a.yaml", "\n".join([*rows, "target: *l", "prompt: x"])))
    assert error.code == "E131"
    assert len(str(error)) < 2000


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
    probes = (Probe(ProbeKind.ALIAS, prompt, (answer,)),)
    request = EditRequest(prompt, target, subject, old, None, "", probes)
    assert EditRequest.from_json(json.loads(canonical.dumps(request.to_json()))) == request
    line = dump_requests([request])
    assert line.endswith(b"\n")
    assert "probes" not in json.loads(line)


def test_braces_are_text_once_a_request_is_made() -> None:
    request = EditRequest("an empty dict is {}", "falsy", "dict")
    assert EditRequest.from_json(request.to_json()) == request
