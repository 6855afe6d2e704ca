from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub.evaluation.cases import standing
from patchhub.request import EditRequest, Probe, ProbeKind, Query

NEAR = Probe(ProbeKind.NEIGHBOURHOOD, "Bo was born in", ("Rome",))
OTHER = Probe(ProbeKind.OTHER_RELATION, "Ada works as a", ("nurse",))
STATED = Probe(ProbeKind.DISTRACTOR, "Ada was born in Oslo. Bo was born in", ("Rome",))
AGAIN = Probe(ProbeKind.PARAPHRASE, "Bo, Ada's friend: Ada is from", ("Oslo",))


def _request(
    subject: str, relation: str | None, *probes: Probe, target: str = "Oslo"
) -> EditRequest:
    return EditRequest(
        f"{subject} was born in", target, subject=subject, relation=relation, probes=probes
    )


def _kept(*others: EditRequest) -> set[ProbeKind]:
    ada = _request("Ada", "born", NEAR, OTHER, STATED, AGAIN)
    first, *_ = standing([ada, *others])
    return {probe.kind for probe in first.probes}


ALL = {NEAR.kind, OTHER.kind, STATED.kind, AGAIN.kind}


def test_alone_a_request_keeps_all_its_probes() -> None:
    assert _kept() == ALL


def test_a_neighbour_that_is_edited_in_the_same_relation_is_no_neighbour() -> None:
    assert _kept(_request("Bo", "born")) == {OTHER.kind, AGAIN.kind}
    assert _kept(_request("Bo", None)) == {OTHER.kind, AGAIN.kind}


def test_a_neighbour_that_is_edited_in_another_relation_stays() -> None:
    assert _kept(_request("Bo", "speaks")) == ALL


def test_other_facts_of_a_subject_go_when_it_is_edited_twice() -> None:
    assert _kept(_request("Ada", "speaks")) == ALL - {OTHER.kind}


def test_the_statement_in_front_of_a_distractor_does_not_count() -> None:
    assert STATED.kind in _kept(_request("Ada", "born", target="Bergen"))


def test_subjects_are_whole_words() -> None:
    assert _kept(_request("B", "born"), _request("Adam", "works")) == ALL


def test_a_chain_goes_when_its_other_link_is_edited() -> None:
    link = Query("The capital of Norway is", ("Oslo",))
    chain = Probe(ProbeKind.ONE_HOP, "Ada lives in the capital of", ("Norway",), given=(link,))
    needing = replace(chain, prompt="Ada rules", needs=("norway",))
    ada = _request("Ada", "born", chain, needing)
    norway = replace(_request("Norway", "capital"), id="norway")
    assert standing([ada])[0].probes == (chain, needing)
    assert standing([ada, _request("Sweden", "capital")])[0].probes == (chain, needing)
    assert standing([ada, norway])[0].probes == (needing,)


names = st.sampled_from(["Ada", "Bo", "Ada Bo", "Cy", "Adam"])
relations = st.sampled_from(["born", "speaks", None])


@given(st.lists(st.tuples(names, relations), min_size=1, max_size=6), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_order_of_requests_does_not_matter(
    chosen: list[tuple[str, str | None]], random: object
) -> None:
    requests = [_request(s, r, NEAR, OTHER, STATED, AGAIN) for s, r in chosen]
    forward = standing(requests)
    backward = standing(requests[::-1])[::-1]
    assert forward == backward
    for request, clear in zip(requests, forward, strict=True):
        assert [p for p in request.probes if p in clear.probes] == list(clear.probes)
        assert AGAIN in clear.probes
