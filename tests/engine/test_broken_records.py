"""Wrong records of every layout: a typed error that names the place, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import InvalidInputError
from patchhub.layouts import read_file
from patchhub.request import load_requests
from tests.engine.benchmarks import EVERY
from tests.engine.records import FULL
from tests.engine.test_layouts import DATA

VARIANTS = 500
RECORDS: dict[str, dict[str, Any]] = {"native": FULL, **EVERY}
UNREAD = frozenset(
    {"single_hops", "orig", "answer_extended", "properties", "phrase", "query_type"}
    | {"second_relation", "second_hop_target_ids", "target_ids"}
)
"""Fields whose values are not looked at."""

Path_ = tuple[str | int, ...]


def places(value: Any, here: Path_ = ()) -> Iterator[Path_]:
    """Paths of all values inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*here, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*here, key))


def changed(record: Any, place: Path_, change: Callable[[Any, Any], None]) -> Any:
    copy = json.loads(json.dumps(record))
    inner = copy
    for step in place[:-1]:
        inner = inner[step]
    change(inner, place[-1])
    return copy


def looked_at(place: Path_) -> bool:
    names = [step for step in place if isinstance(step, str)]
    if "original_fact" in names:
        return names[-1] in ("original_fact", "prompt")
    return not any(name in UNREAD for name in names)


def rename(inner: Any, key: Any) -> None:
    inner[f"{key}_"] = inner.pop(key)


def junk(inner: Any, key: Any) -> None:
    inner[key] = {"x": [[1, None], {"y": "z"}]}


def number(inner: Any, key: Any) -> None:
    inner[key] = -1.5


def surrogate(inner: Any, key: Any) -> None:
    inner[key] = "lone \ud800"


def blank_deep(inner: Any, key: Any) -> None:
    inner[key] = [[[["deep"]]]]


CHANGES = (junk, number, surrogate, blank_deep)


def _variants(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field renamed, and every value that is looked at made one of another kind."""
    for place in places(record):
        if isinstance(place[-1], str) and not any(step in UNREAD for step in place[:-1]):
            yield f"{place} renamed", changed(record, place, rename)
        if looked_at(place):
            for change in CHANGES:
                yield f"{place} {change.__name__}", changed(record, place, change)


def _all() -> list[tuple[str, Any]]:
    return [
        (f"{name}: {what}", broken)
        for name, record in RECORDS.items()
        for what, broken in _variants(record)
    ]


def _check_refused(path: Path, variants: list[tuple[str, Any]]) -> None:
    for what, record in variants:
        path.write_text(json.dumps([record], indent=1), encoding="utf-8")
        error = _error(path)
        assert error is not None, what
        assert error.code in ("E131", "E132", "E133", "E135"), what
        assert str(path) in str(error), what
        assert isinstance(error.data["line"], int), what


def _error(path: Path) -> InvalidInputError | None:
    try:
        load_requests(path)
    except InvalidInputError as error:
        return error
    return None


def test_wrong_fields(tmp_path: Path) -> None:
    _check_refused(tmp_path / "a.json", random.Random(0).sample(_all(), VARIANTS))


@pytest.mark.slow
def test_every_wrong_field(tmp_path: Path) -> None:
    _check_refused(tmp_path / "a.json", _all())


@pytest.mark.skipif(not DATA.is_dir(), reason="the data samples are not here")
def test_wrong_fields_of_real_records(tmp_path: Path) -> None:
    rng = random.Random(1)
    variants = []
    for source in sorted(DATA.glob("*/*.json")):
        value = json.loads(source.read_text(encoding="utf-8"))
        if source.parent.name != "perplexity":
            record = {**value, "samples": value["samples"][:2]} if "samples" in value else value[0]
            found = list(_variants(record))
            variants += [
                (f"{source}: {what}", b) for what, b in rng.sample(found, min(12, len(found)))
            ]
    assert len(variants) > 200
    _check_refused(tmp_path / "a.json", variants)


def test_cut_and_wrong_bytes(tmp_path: Path) -> None:
    rng = random.Random(2)
    path = tmp_path / "a.json"
    for name, record in RECORDS.items():
        data = json.dumps([record], indent=rng.choice((None, 1))).encode()
        for number in range(20):
            place = rng.randrange(1, len(data))
            broken = data[:place] if number % 2 else data[:place] + b"\xff" + data[place:]
            path.write_bytes(broken)
            with pytest.raises(InvalidInputError, match="E130") as caught:
                load_requests(path)
            assert str(path) in str(caught.value), name


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_skipped_records_are_named_one_by_one(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(3)
    path = tmp_path / f"a{suffix}"
    right = {
        name: record for name, record in RECORDS.items() if name not in ("sanitation", "relation")
    }
    wrong = [record for what, record in rng.sample(_all(), 40) if what.split(":")[0] in right]
    lines: list[tuple[Any, bool]] = [(record, True) for record in right.values()]
    lines += [(record, False) for record in wrong] + [(7, False), ("text", False)]
    rng.shuffle(lines)
    texts = [json.dumps(record) for record, _ in lines]
    if suffix == ".jsonl":
        texts[-1], lines[-1] = '{"prompt": ', (None, False)
    path.write_text(
        "\n".join(texts) if suffix == ".jsonl" else "[\n" + ",\n".join(texts) + "\n]",
        encoding="utf-8",
    )
    with pytest.raises(InvalidInputError):
        read_file(path)
    file = read_file(path, skip_bad=True)
    assert len(file.records) == sum(fine for _, fine in lines)
    first = 1 if suffix == ".jsonl" else 2
    bad = [number for number, (_, fine) in enumerate(lines, first) if not fine]
    assert [error.data["line"] for error in file.skipped] == bad
    assert all(f"{path}:{number}" in str(e) for number, e in zip(bad, file.skipped, strict=True))


def test_pairs_and_questions_inside_an_object_are_skipped_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    relation, lists = EVERY["relation"], EVERY["sanitation"]
    pairs = [*relation["samples"], {"subject": "Atlantis"}]
    path.write_text(json.dumps({**relation, "samples": pairs}), encoding="utf-8")
    file = read_file(path, skip_bad=True)
    assert len(file.requests) == 2
    assert [error.data["field"] for error in file.skipped] == ["samples[2].object"]
    kept = [*lists["K_R"], {"question": "Why?"}]
    path.write_text(json.dumps({**lists, "K_R": kept}), encoding="utf-8")
    file = read_file(path, skip_bad=True)
    assert (len(file.requests), len(file.kept)) == (1, 2)
    assert [error.data["field"] for error in file.skipped] == ["K_R[2].ground_truth"]


def test_a_file_of_nothing_but_wrong_records_is_no_file_of_requests(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"prompt": "x"},\n3]', encoding="utf-8")
    with pytest.raises(InvalidInputError, match="E130") as caught:
        read_file(path, skip_bad=True)
    assert "[0]" in str(caught.value.found)
