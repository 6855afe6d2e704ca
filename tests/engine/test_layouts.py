import json
from pathlib import Path

import pytest
import yaml

from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest, Probe, ProbeKind, load_requests
from tests.engine.records import COUNTERFACT, EXPECTED, FLAT, FULL, ZSRE, refuse, save

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data samples are not here")


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
        Probe(ProbeKind.UNRELATED, "nq question: who sang it", ("Abba",)),
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
        ("zsre/zsre_train_1000.json", 1000, "paraphrase unrelated"),
        ("portability/counterfact_one_hop_300.json", 300, "paraphrase neighbourhood one_hop"),
        ("portability/zsre_one_hop_300.json", 300, "paraphrase unrelated one_hop"),
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
