import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.request import load_requests
from tests.engine.records import COUNTERFACT, FLAT, FULL, ZSRE, refuse, save

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
        (FLAT, ("portability",), "x", "portability"),
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
    error = refuse(save(tmp_path / "b.json", '[{"riddle": "x",\n "answer": "y"}]'))
    assert (error.code, error.exit) == ("E135", 9)
    assert "riddle, answer" in str(error)


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
