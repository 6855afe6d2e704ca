"""In which state a method is judged, who comes first, and that nobody else has a say in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub.evaluation.advice.advise import fitting
from patchhub.evaluation.advice.constraints import Constraints, Standing
from patchhub.evaluation.advice.evidence import State
from patchhub.evaluation.advice.reasons import against
from tests.evaluation.shares import BOTH, GOOD, POOR, rows, source, spent, told


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
