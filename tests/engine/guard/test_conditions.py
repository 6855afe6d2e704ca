"""Probes with conditions, with several questions, and with other edits that they need."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patchhub.guard.catalog import load_check
from patchhub.guard.check import Case
from patchhub.guard.measurement import Finding
from patchhub.guard.probes import BaseProbes
from patchhub.request import EditRequest, Probe, ProbeKind, Query
from patchhub.scoring.questions import Answer, Question
from tests.engine.guard.said import Said, find

HOP, WORDING, LINK = "Her country is", "She is from the country of", "Oslo lies in"
COUNTRY = ("Norway", "Norge")


def _chain(**more: Any) -> Probe:
    return replace(Probe(ProbeKind.ONE_HOP, HOP, COUNTRY), **more)


def _find(
    probe: Probe, before: dict[str, str], after: dict[str, str], *beside: EditRequest
) -> Finding:
    request = EditRequest("Mira was born in", "Oslo", id="m/1", probes=(probe,))
    case = Case((request,), BaseProbes(), beside=beside)
    check = "locality" if probe.kind is ProbeKind.FORGETFULNESS else "portability"
    return find(check, str(probe.kind), before, after, case)


@pytest.mark.parametrize(("known", "counts"), [("Norge, of course", 1), ("Sweden", 0)])
def test_a_chain_counts_where_the_unedited_model_knows_its_other_fact(
    known: str, counts: int
) -> None:
    probe = _chain(given=(Query(LINK, COUNTRY),))
    # What the edited model says to the condition does not matter.
    found = _find(probe, {HOP: "Italy", LINK: known}, {HOP: "Norway", LINK: "Mars"})
    assert (found.n, found.details["asked"]) == (counts, 1)
    assert found.after == float(counts)


def test_every_condition_must_hold() -> None:
    probe = _chain(given=(Query(LINK, COUNTRY), Query("Oslo is", ("a city",))))
    said = {HOP: "Norway", LINK: "Norway", "Oslo is": "a city"}
    assert _find(probe, said, said).n == 1
    assert _find(probe, {**said, "Oslo is": "big"}, said).n == 0


def test_a_condition_that_a_protocol_cannot_ask_is_taken_to_hold() -> None:
    class Deaf(Said):
        def answer(self, question: Question) -> Answer | None:  # type: ignore[override]
            return None if question.prompt == LINK else super().answer(question)

    request = EditRequest(
        "Mira was born in", "Oslo", probes=(_chain(given=(Query(LINK, COUNTRY),)),)
    )
    case = Case((request,), BaseProbes())
    said = Deaf({HOP: "Norway"})
    assert load_check("portability").find(case, "one_hop", said, said).n == 1


@pytest.mark.parametrize(
    ("every", "one", "other", "passes"),
    [
        (False, "Norway", "Norway", 1.0),
        (False, "Italy", "Norge", 1.0),
        (False, "Italy", "Italy", 0.0),
        (True, "Norway", "Norway", 1.0),
        (True, "Italy", "Norway", 0.0),
    ],
)
def test_several_questions_are_one_test(every: bool, one: str, other: str, passes: float) -> None:
    probe = _chain(also=(Query(WORDING, COUNTRY),), every=every)
    found = _find(probe, {HOP: "Italy", WORDING: "Italy"}, {HOP: one, WORDING: other})
    assert (found.n, found.before, found.after) == (1, 0.0, passes)
    assert found.trials[0].same == ((one == "Italy") + (other == "Italy")) / 2
    if not passes:
        (failure,) = found.failures
        assert (failure.prompt, failure.after) == (HOP, "Italy")


@pytest.mark.parametrize(("every", "counts"), [(False, 1), (True, 0)])
def test_what_must_stay_counts_where_the_test_passed_before(every: bool, counts: int) -> None:
    probe = Probe(
        ProbeKind.FORGETFULNESS, HOP, COUNTRY, also=(Query(WORDING, COUNTRY),), every=every
    )
    before = {HOP: "Norway", WORDING: "Italy"}
    found = _find(probe, before, {HOP: "Italy", WORDING: "Italy"})
    assert (found.n, found.failed) == (counts, counts)


def test_a_probe_that_needs_other_edits_counts_only_with_them() -> None:
    probe = _chain(needs=("m/2",))
    said = {HOP: "Norway"}
    alone = _find(probe, said, said)
    assert (alone.n, alone.details["asked"]) == (0, 1)
    other = EditRequest("Oslo lies in", "Norway", id="m/2")
    assert _find(probe, said, said, other).n == 1
    assert _find(probe, said, said, replace(other, id="m/3")).n == 0
