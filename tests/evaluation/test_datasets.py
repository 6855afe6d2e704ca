from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchhub import sandbox
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation.datasets import load_dataset
from patchhub.scoring.questions import Question
from tests.engine.benchmarks import MQUAKE, SANITATION
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


def test_requests_of_one_record_stay_together_and_their_order_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps([{**MQUAKE, "case_id": n} for n in range(9)]), encoding="utf-8")
    assert len(load_dataset(path).requests) == 18
    ids = [request.id for request in load_dataset(path, limit=9, seed=1).requests]
    assert len(ids) == 9
    pairs = list(zip(ids[::2], ids[1::2], strict=False))
    assert all(one == f"{other[0]}/1" and other[1:] == "/2" for one, other in pairs)


def test_what_a_file_wants_kept_are_probes_of_the_base(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(SANITATION), encoding="utf-8")
    data = load_dataset(path)
    assert len(data.requests) == 1
    assert data.probes.questions == (Question("Who sang it?", ("Abba", "ABBA")),) * 2


def test_skipped_records_are_named(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.json", 3)
    records = [*json.loads(path.read_text()), {"prompt": "x", "target": 3}]
    path.write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"\[3\].target"):
        load_dataset(path)
    data = load_dataset(path, skip_bad=True)
    assert len(data.requests) == 3
    (skipped,) = data.skipped
    assert skipped == f"[E131] {path}:1: [3].target: must be text"
