"""Advice on results made by hand: every constraint met, missed and unknown, and the ranking."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation.advice.advise import advise, leaves_anywhere
from patchhub.evaluation.advice.constraints import Constraints, Standing
from patchhub.evaluation.advice.evidence import State
from patchhub.evaluation.advice.reasons import against, reasons
from patchhub.evaluation.records import SCORE, UNEDITED, Failed, Refusal
from patchhub.scoring.intervals import wilson
from tests.evaluation.made import row
from tests.evaluation.shares import BOTH, GOOD, POOR, rows, source, told

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


def test_who_refuses_everything_fails_at_everything() -> None:
    bare = rows(UNEDITED, (0.0, 0.0, 1.0), n=20, step=0)
    for size in (1, 10):
        all_of_it = Refusal("batch", "m", "never", size, 0, 0, 20, tuple(range(20)), "E140", "no")
        plain = [replace(one, experiment="batch") for one in bare]
        found = told(Constraints(reliability_floor=0.1), source(plain, refusals=[all_of_it]))
        (only,) = found.ranking
        assert only.state == State("batch", size, size)
        assert only.findings[0].standing is Standing.MISSED
        assert only.quality[0] is not None
        assert (only.quality[0].value, only.quality[0].n, only.refused) == (0.0, 20, 20)
        assert only.quality[2] is None


def test_a_refused_request_that_is_no_part_of_the_run_is_no_failure_of_it() -> None:
    other = Refusal("single", "m", "good", 1, 0, 0, 1, (777,), "E148", "diverged")
    found = told(Constraints(), source(GOOD, refusals=[other]))
    figure = found.ranking[0].quality[0]
    assert figure is not None
    assert figure.n == 100


def test_the_unedited_model_s_own_share_speaks_against() -> None:
    easy = rows(UNEDITED, (0.3, 0.0, 1.0), step=0)
    found = told(Constraints(), source(GOOD, easy))
    said = "the unedited model already gives the wanted answer to 30% (n = 100)"
    assert said in against(found)


def test_another_protocol_is_never_taken_for_generation() -> None:
    forced = [replace(one, protocol="teacher_forced") for one in GOOD]
    found = told(Constraints(), source(forced))
    assert found.proposal is None
    assert found.notes == ("nothing was asked by generation; these results hold teacher_forced",)
    asked = advise([source(forced)], Constraints(unlearning=True), protocol="teacher_forced")
    assert asked.ranking[0].quality[0] is not None
    assert asked.ranking[0].findings[0].standing is Standing.UNKNOWN


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
    other = replace(BOTH, results=replace(BOTH.results, models={"m": "another"}))
    with pytest.raises(InvalidInputError, match="E159"):
        advise([BOTH, other], Constraints())


def test_no_advice_where_work_on_the_base_failed() -> None:
    failed = Failed("single", "m", "edit by rome", "MemoryError: no room", 2)
    part = replace(BOTH, results=replace(BOTH.results, failures=(failed,)))
    with pytest.raises(InvalidInputError, match="edit by rome on m: MemoryError") as caught:
        advise([part], Constraints())
    assert caught.value.code == "E155"
    assert "run the same" in str(caught.value.hint)
    elsewhere = replace(part.results, failures=(replace(failed, model="other"),))
    assert advise([replace(part, results=elsewhere)], Constraints()).proposal is not None
