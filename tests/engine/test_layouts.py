import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from patchhub.errors import InvalidInputError
from patchhub.guard.probes import BaseProbes
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
        ("counterfact/known_facts_600.json", 600, ""),
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
        ("relations/company_hq.json", 300, "paraphrase"),
        ("relations/country_capital_city.json", 24, "paraphrase"),
        ("relations/landmark_in_country.json", 300, "paraphrase"),
        ("relations/person_native_language.json", 300, "paraphrase"),
        ("relations/person_occupation.json", 300, "paraphrase"),
        ("relations/person_plays_instrument.json", 300, "paraphrase"),
        ("knowedit/wikibio_test_60.json", 60, "other_relation"),
        ("tofu/forget01.json", 40, ""),
        ("tofu/forget10.json", 400, ""),
        ("tofu/forget10_perturbed.json", 400, "paraphrase"),
        ("tofu/real_authors_perturbed.json", 100, ""),
        ("tofu/retain90_first_400.json", 400, ""),
        ("tofu/retain_perturbed_200.json", 200, "paraphrase"),
        ("tofu/world_facts_perturbed.json", 117, ""),
    ],
)
def test_real_samples(name: str, count: int, kinds: str) -> None:
    requests = load_requests(DATA / name)
    assert len(requests) == count
    for request in requests:
        assert {str(probe.kind) for probe in request.probes} == set(kinds.split())
        assert EditRequest.from_json(request.to_json()) == request
    # One record of all these names a subject that its question does not hold; every other one does.
    lost = [r for r in requests if r.subject is not None and r.subject not in r.prompt]
    assert len(lost) == (1 if "inverse" in name else 0)
    for request in lost:
        with pytest.raises(InvalidInputError, match="E132"):
            request.subject_span()


@needs_data
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        (
            "wiki_counterfact_test_100",
            {
                "alias": 347,
                "one_hop": 273,
                "logical": 48,
                "other_relation": 648,
                "forgetfulness": 54,
            },
        ),
        (
            "wiki_recent_test_100",
            {
                "alias": 76,
                "one_hop": 844,
                "logical": 73,
                "other_relation": 411,
                "forgetfulness": 73,
            },
        ),
        (
            "zsre_test_100",
            {"alias": 25, "one_hop": 53, "logical": 22, "other_relation": 200, "paraphrase": 100},
        ),
    ],
)
def test_real_samples_of_knowedit(name: str, kinds: dict[str, int]) -> None:
    requests = load_requests(DATA / "knowedit" / f"{name}.json")
    assert len(requests) == 100
    assert Counter(str(probe.kind) for r in requests for probe in r.probes) == kinds
    for request in requests:
        assert EditRequest.from_json(request.to_json()) == request


@needs_data
def test_texts_are_no_requests_but_probes_of_a_base() -> None:
    path = DATA / "perplexity" / "me_ppl_50.json"
    assert refuse(path).code == "E135"
    assert len(BaseProbes.read(path).texts) == 50
