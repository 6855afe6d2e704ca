from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchhub import sandbox
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation.datasets import load_dataset
from tests.engine.records import FULL


def _file(path: Path, count: int) -> Path:
    records = [{**FULL, "id": str(n), "target": f"Oslo {n}"} for n in range(count)]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_a_world_gives_a_request_for_every_fact() -> None:
    world = sandbox.load_world("pico")
    data = load_dataset("sandbox:pico")
    assert data.name == "sandbox:pico"
    assert {request.id for request in data.requests} == {fact.id for fact in world.facts}
    assert len(data.requests) == len(world.facts)
    truth = {fact.object.name for fact in world.facts}
    assert all(set(q.answers) <= truth for q in data.probes.questions)
    assert data.texts == tuple(sandbox.texts(world, 2500))


def test_texts_for_drift_are_not_those_for_statistics() -> None:
    data = load_dataset("sandbox", limit=1)
    assert (len(data.probes.questions), len(data.probes.texts)) == (400, 64)
    assert data.probes.texts != data.texts[:64]


@pytest.mark.parametrize("kind", ["world", "file"])
def test_a_larger_sample_begins_with_the_smaller(tmp_path: Path, kind: str) -> None:
    source = "sandbox:pico" if kind == "world" else _file(tmp_path / "a.json", 40)
    small, large = (load_dataset(source, limit=n, seed=3) for n in (7, 25))
    assert len(small.requests) == 7
    assert large.requests[:7] == small.requests
    assert len({request.id for request in large.requests}) == 25
    assert small.digest != large.digest
    other = load_dataset(source, limit=7, seed=4)
    assert [r.id for r in other.requests] != [r.id for r in small.requests]
    every = load_dataset(source, limit=10**6)
    assert {r.id for r in every.requests} == {r.id for r in load_dataset(source).requests}


def test_a_whole_file_keeps_its_order(tmp_path: Path) -> None:
    data = load_dataset(_file(tmp_path / "facts.json", 5))
    assert [request.id for request in data.requests] == ["0", "1", "2", "3", "4"]
    assert (data.name, data.skipped, data.texts) == ("facts", (), ())


def test_the_digest_covers_probes(tmp_path: Path) -> None:
    plain = {key: value for key, value in FULL.items() if key != "probes"}
    one, other = tmp_path / "a.json", tmp_path / "b.json"
    one.write_text(json.dumps([FULL]), encoding="utf-8")
    other.write_text(json.dumps([plain]), encoding="utf-8")
    assert load_dataset(one).digest != load_dataset(other).digest
    assert load_dataset(one).digest == load_dataset(str(one)).digest


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="E109"):
        load_dataset("sandbox:huge")
    with pytest.raises(NotFoundError, match="E109"):
        load_dataset(tmp_path / "none.json")
    with pytest.raises(InvalidInputError, match="limit"):
        load_dataset("sandbox:pico", limit=0)
