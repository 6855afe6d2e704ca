"""Advice on results made by hand: every constraint met, missed and unknown, and the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub.errors import NotFoundError
from patchhub.evaluation.advise import Advice, advise, fitting, leaves_anywhere
from patchhub.evaluation.constraints import Constraints, Standing
from patchhub.evaluation.evidence import State
from patchhub.evaluation.reasons import against, reasons
from patchhub.evaluation.records import (
    AGREEMENT,
    COLLAPSED,
    SCORE,
    UNEDITED,
    Prepared,
    Refusal,
    Row,
    Spent,
)
from patchhub.evaluation.results import Provenance
from patchhub.evaluation.sources import Source
from patchhub.scoring.intervals import wilson
from tests.evaluation.made import results, row

ON_WEIGHTS = {"good": True, "poor": False}

MEASURES = {
    "reliability.target": SCORE,
    "generalization.paraphrase": SCORE,
    "locality.neighbourhood": AGREEMENT,
    "removal.target": SCORE,
}


def rows(
    method: str, shares: Sequence[float], *, n: int = 100, experiment: str = "single",
    size: int = 1, step: int = 1,
) -> list[Row]:  # fmt: skip
    """Right in a share of the cases, by generation, for each of `MEASURES`."""
    return [
        row(
            measure, float(case < round(share * n)), method=method, case=case, figure=figure,
            protocol="generation", experiment=experiment, size=size, step=step,
        )
        for (measure, figure), share in zip(MEASURES.items(), shares, strict=False)
        for case in range(n)
    ]  # fmt: skip


def source(
    *made: list[Row], spent: Sequence[Spent] = (), prepared: Sequence[Prepared] = (),
    refusals: Sequence[Refusal] = (), name: str = "bench",
) -> Source:  # fmt: skip
    found = results([one for some in made for one in some], refusals=refusals)
    took = Provenance("", "", {}, {}, 1.0, tuple(spent), tuple(prepared))
    return Source(name, found, took)


def spent(method: str, seconds: float, *, size: int = 1, experiment: str = "single") -> Spent:
    return Spent(experiment, "m", method, size, seconds, 1 << 30, 5000 * size)


GOOD = rows("good", (0.98, 0.9, 0.99, 0.97))
POOR = rows("poor", (0.6, 0.4, 0.7, 0.3))
BOTH = source(
    GOOD,
    POOR,
    rows(UNEDITED, (0.01, 0.0, 1.0, 0.0)),
    rows(COLLAPSED, (0.0, 0.0, 0.0, 1.0)),
    spent=[spent("good", 2.0), spent("poor", 9.0)],
    prepared=[Prepared("m", "good", 60.0, 2 << 30, 1.02), Prepared("m", "poor", 0.0, 5 << 30, 1.2)],
)


def told(constraints: Constraints, *sources: Source) -> Advice:
    return advise(sources or (BOTH,), constraints, removable=ON_WEIGHTS.get)


CASES = {
    "reliability_floor": 0.9,
    "generalization_floor": 0.8,
    "locality_floor": 0.9,
    "seconds_per_edit": 3.0,
    "bytes_per_edit": 5000.0,
    "memory": 3 * 2.0**30,
    "latency": 1.05,
    "remove_any": True,
    "unlearning": True,
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_each_constraint_met_missed_and_unknown(name: str) -> None:
    found = told(Constraints(**{name: CASES[name]}))  # type: ignore[arg-type]
    standing = {one.method: one.findings[0].standing for one in found.ranking}
    both = name == "bytes_per_edit"
    assert standing == {"good": Standing.MET, "poor": Standing.MET if both else Standing.MISSED}
    assert found.proposal is not None
    assert found.proposal.method == "good"
    if both:
        strict = told(Constraints(bytes_per_edit=4999.0))
        assert {one.findings[0].standing for one in strict.ranking} == {Standing.MISSED}
    bare = row("portability.alias", method="new", figure=SCORE, protocol="generation")
    unknown = told(Constraints(**{name: CASES[name]}), source([bare]))  # type: ignore[arg-type]
    (only,) = unknown.ranking
    assert only.findings[0].standing is Standing.UNKNOWN
    assert unknown.proposal is None
    error = unknown.refusal()
    assert error is not None
    assert (error.code, error.exit, error.data["missed"]) == ("E405", 3, [])
    assert len(error.data["unknown"]) == 1  # type: ignore[arg-type]


def test_no_constraint_is_forgotten_here() -> None:
    assert {one.name for one in fields(Constraints)} == {*CASES, "edits_per_day"}


def test_the_lower_end_counts_and_the_message_says_so() -> None:
    low = wilson(98, 100)[0]
    assert 0.92 < low < 0.93
    met, missed = (
        told(Constraints(reliability_floor=0.92)),
        told(Constraints(reliability_floor=0.95)),
    )
    assert met.proposal is not None
    assert met.proposal.findings[0].figure is not None
    assert met.proposal.findings[0].figure.low == pytest.approx(low)
    assert missed.proposal is None
    (said, *_) = against(missed)
    assert said == "missed: reliability (reliability.target): 0.98, lower end 0.93 < 0.95 (n = 100)"


def test_the_worst_measure_of_locality_counts_unless_rungs_are_named() -> None:
    worse = [replace(one, measure="locality.distractor", value=0.0) for one in GOOD[200:300]]
    found = told(Constraints(locality_floor=0.9), source(GOOD, worse))
    finding = found.ranking[0].findings[0]
    assert finding.figure is not None
    assert (finding.standing, finding.figure.what) == (Standing.MISSED, "locality.distractor")
    one = advise([source(GOOD, worse)], Constraints(locality_floor=0.9), rungs=("neighbourhood",))
    assert one.proposal is not None


def test_the_worst_of_several_files_counts_and_is_named() -> None:
    again = source(rows("good", (0.8, 0.9, 0.99)), name="second")
    found = told(Constraints(reliability_floor=0.9), BOTH, again)
    near = next(one for one in found.ranking if one.method == "good")
    assert near.findings[0].standing is Standing.MISSED
    assert near.findings[0].figure is not None
    assert near.findings[0].figure.source == "second"


def test_refused_edits_have_failed() -> None:
    refusal = Refusal("single", "m", "good", 1, 0, 0, 1, tuple(range(50)), "E134", "no subject")
    asked = told(Constraints(reliability_floor=0.9), source(GOOD, refusals=[refusal]))
    silent = [one for one in GOOD if one.case >= 50]
    unasked = told(Constraints(reliability_floor=0.9), source(silent, POOR, refusals=[refusal]))
    for found in (asked, unasked):
        near = next(one for one in found.ranking if one.method == "good")
        figure = near.quality[0]
        assert figure is not None
        assert figure.value == pytest.approx(0.48)
        assert figure.n == 100
        assert near.refused == 50
    assert any("refused 50 requests" in said for said in against(asked))
    everything = replace(refusal, method="never", cases=tuple(range(100)))
    found = told(Constraints(reliability_floor=0.1), source(POOR, refusals=[everything]))
    assert found.ranking[-1].method == "never"


def test_another_protocol_is_never_taken_for_generation() -> None:
    forced = [replace(one, protocol="teacher_forced") for one in GOOD]
    found = told(Constraints(), source(forced))
    assert found.proposal is None
    assert found.notes == ("nothing was asked by generation; these results hold teacher_forced",)
    asked = advise([source(forced)], Constraints(unlearning=True), protocol="teacher_forced")
    assert asked.ranking[0].quality[0] is not None
    assert asked.ranking[0].findings[0].standing is Standing.UNKNOWN


def test_edits_per_day_goes_by_what_carries_as_many() -> None:
    some = [
        rows("good", (0.99, 0.9, 0.99), experiment="batch", size=10, step=10),
        rows("good", (0.5, 0.4, 0.99), experiment="batch", size=100, step=100),
        rows("poor", (0.7, 0.6, 0.9), experiment="sequential", step=50),
        GOOD,
    ]
    took = [
        spent("good", 30.0, size=10, experiment="batch"),
        spent("poor", 900.0, experiment="sequential"),
    ]
    for edits, states in ((8, (10, 50)), (20, (100, 50)), (100, (100, 50)), (101, (100, None))):
        found = told(Constraints(edits_per_day=edits), source(*some, spent=took))
        best = {one.method: one.state for one in found.ranking}
        steps = [state and state.step for state in (best["good"], best["poor"])]
        assert steps == list(states), edits
    found = told(Constraints(edits_per_day=8), source(*some, spent=took))
    assert [one.findings[0].standing for one in found.ranking] == [Standing.MET, Standing.MET]
    slow = told(Constraints(edits_per_day=97), source(*some, spent=took))
    daily = {one.method: one.findings[0].standing for one in slow.ranking}
    assert daily == {"good": Standing.UNKNOWN, "poor": Standing.MISSED}
    assert any("measured with 10 edits, not with 8" in said for said in against(found))


def test_states_that_fit() -> None:
    states = [State("batch", 1, 1), State("batch", 100, 100), State("sequential", 1, 30)]
    assert fitting(states, 60) == (State("batch", 100, 100), State("sequential", 1, 30))
    assert fitting(states, 61) == (State("batch", 100, 100),)
    assert fitting(states, 1000) == (None,)
    assert fitting(states, None) == (State("batch", 1, 1),)
    assert fitting([], None) == fitting([], 3) == (None,)


def test_the_ranking_rule() -> None:
    fast = rows("fast", (0.98, 0.9, 0.99))
    took = [spent("good", 2.0), spent("fast", 1.0)]
    found = told(Constraints(), source(GOOD[:300], fast, POOR[:300], spent=took))
    assert [one.method for one in found.ranking] == ["fast", "good", "poor"]
    part = rows("part", (1.0, 1.0))
    known = told(Constraints(), source(part, POOR))
    assert [one.method for one in known.ranking] == ["poor", "part"]
    met = told(Constraints(latency=1.05), BOTH, source(rows("part", (1.0, 1.0, 1.0))))
    assert met.ranking[0].method == "good"


def test_words_for_and_against() -> None:
    found = told(Constraints(latency=1.1))
    said = reasons(found)
    assert said.startswith("good (single edits): meets the constraint; reliability 0.98 [0.93, ")
    assert "2 s per edit; next is poor (single edits) with" in said
    assert against(found) == ("it first takes 60 s once for the base",)
    few = told(Constraints(), source(rows("good", (1.0, 0.5, 1.0), n=10)))
    assert "reliability rests on n = 10 only" in against(few)
    twins = told(Constraints(), source(GOOD, rows("twin", (0.97, 0.9, 0.99))))
    assert any("do not tell it from twin" in one for one in against(twins))
    local = told(Constraints(), source(rows("a", (0.9, 0.9, 0.6)), rows("b", (0.5, 0.5, 0.9))))
    assert any(one.startswith("b (single edits) is better at locality") for one in against(local))
    batch = rows("good", (0.9, 0.9, 0.9), experiment="batch", size=10, step=10)
    together = told(Constraints(remove_any=True), source(batch))
    assert "one patch holds 10 requests, which leave together" in against(together)


def test_who_may_leave_is_the_kind_s_affair() -> None:
    from patchhub.editing.catalog import describe
    from patchhub.kinds import kind_of

    for editor in describe():
        assert leaves_anywhere(editor.name) is kind_of(editor.kind).algebra.on_weights
    assert leaves_anywhere("a method of another time") is None


def test_no_methods_at_all() -> None:
    found = told(Constraints(), source(rows(UNEDITED, (0.0,))))
    error = found.refusal()
    assert error is not None
    assert error.code == "E405"
    assert reasons(found) == "these results hold no method"
    assert against(found) == ()


def test_one_base_at_a_time() -> None:
    two = replace(BOTH, results=replace(BOTH.results, models={"m": "a", "other": "b"}))
    with pytest.raises(NotFoundError) as caught:
        advise([two], Constraints())
    assert caught.value.found == "m, other"
    assert advise([two], Constraints(), model="m").model == "m"


SHARES = st.lists(st.integers(0, 20).map(lambda i: i / 20), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SHARES, st.integers(1, 9)), min_size=1, max_size=3), st.data())
def test_a_dominated_method_is_never_proposed_for_being_there(
    methods: list[tuple[list[float], int]], data: st.DataObject
) -> None:
    floors = Constraints(reliability_floor=0.5, seconds_per_edit=5.0)
    made = [rows(f"m{i}", shares, n=20) for i, (shares, _) in enumerate(methods)]
    took = [spent(f"m{i}", float(seconds)) for i, (_, seconds) in enumerate(methods)]
    before = told(floors, source(*made, spent=took))
    place = data.draw(st.integers(0, len(methods) - 1))
    shares, seconds = methods[place]
    worse = [data.draw(st.integers(0, round(20 * one))) / 20 for one in shares]
    slower = spent("a dominated one", seconds + data.draw(st.floats(0.001, 5)))
    after = told(
        floors, source(*made, rows("a dominated one", worse, n=20), spent=[*took, slower])
    )  # fmt: skip
    chosen = [found.proposal and found.proposal.method for found in (before, after)]
    assert chosen[0] == chosen[1]
    assert after.ranking[0].method == before.ranking[0].method
