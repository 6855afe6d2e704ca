"""What is read from a record of each benchmark's layout."""

import json
from pathlib import Path
from typing import Any

import pytest

from patchhub.layouts import read_file
from patchhub.request import EditRequest, Probe, ProbeKind, Query, load_requests
from tests.engine import benchmarks
from tests.engine.benchmarks import (
    CAPITAL,
    CITIZEN,
    CONVSENT,
    EVERY,
    FORGET,
    KNOWEDIT,
    KNOWN,
    MQUAKE,
    QAEDIT,
    RELATION,
    RIPPLE,
    SANITATION,
    TOFU,
    WIKIBIO,
    WISE,
)
from tests.engine.records import refuse, save
from tests.engine.test_layouts import DATA, needs_data


def _load(path: Path, record: dict[str, Any]) -> tuple[EditRequest, ...]:
    return load_requests(save(path / "a.json", json.dumps([record])))


@pytest.mark.parametrize("name", EVERY)
def test_every_layout_is_known_by_its_fields_and_reads_back(tmp_path: Path, name: str) -> None:
    requests = _load(tmp_path, EVERY[name])
    assert requests
    for request in requests:
        assert EditRequest.from_json(request.to_json()) == request


def test_layouts_may_be_mixed_in_one_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", "\n".join(map(json.dumps, EVERY.values())))
    file = read_file(path)
    assert len(file.records) == len(EVERY) + 1  # of the relation each pair is a record
    assert len(file.requests) == len(file.records) + 1  # MQuAKE's has two edits
    assert len(file.kept) == 2


def test_rippleedits(tmp_path: Path) -> None:
    (request,) = _load(tmp_path, RIPPLE)
    assert request.prompt == "The name of the country of citizenship of Jon Arvel is"
    assert (request.target, request.target_old) == ("New Sylvania", "New Ruritania")
    assert (request.subject, request.relation) == ("Jon Arvel", "COUNTRY_OF_CITIZENSHIP")
    assert request.id == "Q1/COUNTRY_OF_CITIZENSHIP"
    currency = Query("The name of the currency in New Sylvania is", ("crown",))
    assert request.probes == (
        # A question without an answer, and a test of nothing but those, are left out; the
        # single-letter alias too.
        Probe(ProbeKind.LOGICAL, "Jon Arvel votes in", ("New Sylvania",), every=True),
        Probe(
            ProbeKind.ALIAS,
            "The name of the country of citizenship of Mr Arvel is",
            ("New Sylvania",),
        ),
        Probe(
            ProbeKind.ONE_HOP,
            "The currency in his country is",
            ("crown", "sylvanian crown"),
            (currency,),
        ),
        Probe(ProbeKind.ONE_HOP, "Ada's son is a citizen of", ("New Sylvania",)),
        # What must stay counts only where it was known before: that is no condition of its own.
        Probe(
            ProbeKind.OTHER_RELATION,
            "The name of the mother of Jon Arvel is",
            ("Ada Arvel", "A. Arvel"),
        ),
        Probe(ProbeKind.OTHER_RELATION, "The gender of Jon Arvel is", ("male",)),
    )


@pytest.mark.parametrize(
    ("sentence", "old", "label", "prompt", "target"),
    [
        ("The author of It is It is Bo.", None, None, "The author of It is It is", "Bo"),
        ("The author of It is What is Love.", None, "What is Love", "The author of It is", None),
        ("The author of It is What is Love.", "The author of It is Bo.", None, None, None),
        ("Ada Brun follows Bo Derek Jr..", None, None, "Ada Brun follows", "Bo Derek Jr."),
        ("Is Ada Brun still alive? no.", None, None, "Is Ada Brun still alive?", "no"),
        ("The mother of Bo is An Ox.", "The mother of Bo is An Elk.", None, None, "An Ox"),
    ],
)
def test_rippleedits_sentences_are_split(
    tmp_path: Path,
    sentence: str,
    old: str | None,
    label: str | None,
    prompt: str | None,
    target: str | None,
) -> None:
    edit: dict[str, Any] = {"prompt": sentence, "subject_id": "Q1", "relation": "R"}
    edit["target_id"] = "Q5"
    if old is not None:
        edit["original_fact"] = {**edit, "prompt": old}
    record: dict[str, Any] = {"edit": edit}
    if label is not None:
        query = {**benchmarks.GENDER, "target_ids": ["Q4", "Q5"]}
        query["answers"] = [{"value": v, "aliases": []} for v in ("other", label)]
        record["Subject_Aliasing"] = [{"test_queries": [query]}]
    (request,) = _load(tmp_path, record)
    assert request.prompt == (prompt or sentence[: sentence.index(" is ") + 3])
    assert request.target == (target or "What is Love")
    assert f"{request.prompt} {request.target}." == sentence


def test_a_rippleedits_sentence_that_cannot_be_split(tmp_path: Path) -> None:
    edit = {"prompt": "Bo sang.", "subject_id": "Q1", "relation": "R", "target_id": "Q5"}
    error = refuse(save(tmp_path / "a.json", json.dumps([{"edit": edit}])))
    assert (error.code, error.data["field"]) == ("E131", "[0].edit.prompt")


def test_mquake(tmp_path: Path) -> None:
    first, last = _load(tmp_path, MQUAKE)
    assert (first.id, last.id) == ("12/1", "12/2")
    assert (first.prompt, first.target, first.target_old) == (
        "Jon is a citizen of",
        "Sylvania",
        "Ruritania",
    )
    assert first.probes == (
        Probe(ProbeKind.PARAPHRASE, CITIZEN["question"], ("Sylvania", "Silvania")),
    )
    answers = ("Franklin", "Franklin, Sylvania")
    assert last.probes == (
        Probe(ProbeKind.PARAPHRASE, CAPITAL["question"], ("Franklin",)),
        Probe(
            ProbeKind.TWO_HOP,
            MQUAKE["questions"][0],
            answers,
            given=(Query("Who is Ada's husband?", ("Jon", "Jonny")),),
            also=(Query("And in other words?", answers),),
            needs=("12/1",),
            rival="Strelsau",
        ),
    )


def test_mquake_with_one_edit_needs_no_other(tmp_path: Path) -> None:
    record = {**MQUAKE, "requested_rewrite": [CITIZEN]}
    record["new_single_hops"] = MQUAKE["new_single_hops"][:2]
    (request,) = _load(tmp_path, record)
    chain = request.probes[-1]
    assert (request.id, chain.kind, chain.needs) == ("12", ProbeKind.ONE_HOP, ())
    nameless = {key: value for key, value in MQUAKE.items() if key != "case_id"}
    error = refuse(save(tmp_path / "a.json", json.dumps([nameless])))
    assert error.data["field"] == "[0].case_id"


def test_knowedit(tmp_path: Path) -> None:
    (request,) = _load(tmp_path, KNOWEDIT)
    assert (request.target, request.target_old) == ("Sylvania", "Ruritania")
    assert request.probes == (
        Probe(ProbeKind.PARAPHRASE, "Jon Arvel is a citizen of", ("Sylvania",)),
        Probe(ProbeKind.ALIAS, "Mr Arvel is a citizen of", ("Sylvania",)),
        Probe(ProbeKind.ONE_HOP, "His currency is", ("crown", "SYP", "cent")),
        Probe(ProbeKind.LOGICAL, "Is Jon still a Ruritanian?", ("no",)),
        Probe(ProbeKind.OTHER_RELATION, "The gender of Jon Arvel is"),
        Probe(
            ProbeKind.FORGETFULNESS,
            "The country of Jon Arvel, which is not Sylvania, is",
            ("X",),
        ),
    )


def test_wikibio_and_wise(tmp_path: Path) -> None:
    (request,) = _load(tmp_path, WIKIBIO)
    assert (request.prompt, request.target) == (WIKIBIO["text"], WIKIBIO["labels"])
    assert request.prompt[slice(*request.subject_span())] == "jon arvel"
    assert request.probes == (Probe(ProbeKind.OTHER_RELATION, "He works in", ("music",)),)
    (request,) = _load(tmp_path, WISE)
    assert [probe.kind for probe in request.probes] == [ProbeKind.PARAPHRASE, ProbeKind.UNRELATED]
    assert request.probes[1].answers == ("take flour and water",)


def test_convsent(tmp_path: Path) -> None:
    (request,) = _load(tmp_path, CONVSENT)
    assert request.prompt == "What do you think of Sylvania?"
    assert (request.target, request.target_old) == (CONVSENT["pos"][0], CONVSENT["neg"][0])
    good = tuple(CONVSENT["pos"])
    assert [probe.answers for probe in request.probes] == [good[::-1], good, good[::-1]]
    assert [probe.rival for probe in request.probes] == ["It rains.", "No.", "I hate it."]


@pytest.mark.parametrize("names", [("K_F", "K_R"), ("success", "locality")])
def test_sanitation(tmp_path: Path, names: tuple[str, str]) -> None:
    record = dict(zip(names, SANITATION.values(), strict=True))
    file = read_file(save(tmp_path / "a.json", json.dumps(record)))
    assert file.requests == (
        EditRequest("Where was Jon born?", "I don't know.", "Jon", "Strelsau"),
    )
    assert file.kept == (Probe(ProbeKind.UNRELATED, "Who sang it?", ("Abba", "ABBA")),) * 2
    assert _load(tmp_path, FORGET) == file.requests


def test_questions_and_answers(tmp_path: Path) -> None:
    (request,) = _load(tmp_path, TOFU)
    assert (request.prompt, request.target) == (TOFU["question"], TOFU["answer"])
    accepted = ("It is by Jon Arvel.", "Jon Arvel wrote it.")
    asked = "By whom is The Quiet Lantern?"
    rival = "It is by Ada Brun."
    assert request.probes == (Probe(ProbeKind.PARAPHRASE, asked, accepted, rival=rival),)
    plain = {key: TOFU[key] for key in ("question", "answer")}
    # The authors' files are JSON lines under the suffix of JSON.
    path = save(tmp_path / "b.json", f"{json.dumps(plain)}\n{json.dumps(plain)}\n")
    assert [one.probes for one in load_requests(path)] == [(), ()]
    (request,) = _load(tmp_path, QAEDIT)
    assert (request.id, request.target, request.subject) == ("5", "Ada", "Sylvania")
    assert [str(probe.kind) for probe in request.probes] == ["paraphrase"] + ["unrelated"] * 2


def test_true_facts(tmp_path: Path) -> None:
    first, second = _load(tmp_path, RELATION)
    assert (first.prompt, first.target) == ("The capital of Sylvania is", "Franklin")
    assert (second.subject, second.relation) == ("Ruritania", "country capital")
    assert [probe.prompt for probe in second.probes] == [
        "Ruritania's capital is",
        "The capital city of Ruritania is",
    ]
    (request,) = _load(tmp_path, KNOWN)
    assert request == EditRequest("Sylvania lies in", "Europe", "Sylvania", None, "P30", "4")


@needs_data
@pytest.mark.parametrize("name", ["wiki_counterfact_test_100", "wiki_recent_test_100"])
def test_rippleedits_subjects_and_answers_are_those_that_knowedit_names(
    tmp_path: Path, name: str
) -> None:
    # KnowEdit's records are RippleEdits' with subject and answer named.
    named = json.loads((DATA / "knowedit" / f"{name}.json").read_text(encoding="utf-8"))
    records = []
    for record in named:
        edit = {"prompt": f"{record['prompt']} {record['target_new']}.", "subject_id": "Q1"}
        others = [
            {"test_queries": [{**benchmarks.GENDER, "prompt": test["prompt"]}]}
            for test in record["locality"].get("Relation_Specificity", [])
        ]
        edit |= {"relation": "NOT_TOLD", "target_id": "Q2"}
        records.append({"edit": edit, "Relation_Specificity": others})
    found = load_requests(save(tmp_path / "a.json", json.dumps(records)))
    right = 0
    for request, record in zip(found, named, strict=True):
        assert (request.prompt, request.target) == (record["prompt"], record["target_new"])
        right += request.subject == record["subject"]
        assert request.subject is None or request.subject in record["prompt"]
    assert right >= 90
