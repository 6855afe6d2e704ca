from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from fractions import Fraction

import pytest

from patchhub.errors import InvalidInputError
from patchhub.evaluation.records import ACCURACY, AGREEMENT, SCORE, VALUE, Known, Refusal, Row
from patchhub.evaluation.summary.summarise import ALL, OLD, WRONG, Line, summarise
from patchhub.scoring.intervals import bootstrap, wilson
from tests.evaluation.made import Maker, results, row

TARGET, PARAPHRASE, NEIGHBOURS = (
    "reliability.target", "generalization.paraphrase", "locality.neighbourhood",
)  # fmt: skip


def line(rows: list[Row], measure: str = TARGET, column: str = ALL, **wanted: object) -> Line:
    """The only line of a measure that has these fields."""
    found = [
        one
        for one in summarise([results(rows)]).lines
        if (one.measure, one.column) == (measure, column)
        and all(getattr(one, name) == value for name, value in wanted.items())
    ]
    (only,) = found
    return only


def test_single_trials_are_a_proportion() -> None:
    found = line([row(value=float(case != 2), case=case) for case in range(7)])
    assert found.value == float(Fraction(6, 7))
    assert (found.low, found.high) == wilson(6, 7)
    assert (found.interval, found.n_cases, found.n_probes) == ("wilson", 7, 7)


def test_cases_weigh_alike_however_many_probes_they_have() -> None:
    values = [(Fraction(1, 2), 2), (Fraction(1), 10), (Fraction(1, 3), 3)]
    found = line([row(value=float(v), n=n, case=i) for i, (v, n) in enumerate(values)])
    assert found.value == pytest.approx(float(Fraction(11, 18)), abs=1e-15)
    assert (found.n_cases, found.n_probes, found.interval) == (3, 15, "bootstrap")
    _, low, high = bootstrap([float(v) for v, _ in values])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_orders_and_seeds_are_averaged_by_case_first() -> None:
    """Three runs of two cases are two cases, not six."""
    values = {0: (1.0, 1.0, 0.0), 1: (0.0, 1.0, 0.0)}
    rows = [
        row(value=value, case=case, order=run % 2, seed=run // 2)
        for case, each in values.items()
        for run, value in enumerate(each)
    ]
    found = line(rows)
    assert found.value == pytest.approx(float(Fraction(2, 3) + Fraction(1, 3)) / 2)
    assert (found.n_cases, found.n_probes, found.runs) == (2, 2, 3)
    assert (found.lowest, found.highest) == (0.0, 1.0)
    _, low, high = bootstrap([2 / 3, 1 / 3])
    assert (found.low, found.high) == pytest.approx((low, high))


def test_columns_go_by_what_the_unedited_model_said_under_the_same_protocol() -> None:
    rows = [
        row(value=value, case=case, protocol=protocol)
        for protocol in ("generation", "likelihood")
        for case, value in enumerate((1.0, 0.0, 1.0, 1.0))
    ]
    known = [
        Known("m", 0, "generation", right=True, old=False),
        Known("m", 1, "generation", right=False, old=True),
        Known("m", 2, "generation", right=False, old=False),
        Known("m", 3, "generation", right=False, old=True),
        Known("m", 0, "likelihood", right=False, old=False),
        Known("other", 1, "likelihood", right=False, old=True),
    ]
    summary = summarise([results(rows, known=known)])
    found = {(one.protocol, one.column): (one.value, one.n_cases) for one in summary.lines}
    assert found == {
        ("generation", ALL): (0.75, 4),
        ("generation", WRONG): (pytest.approx(2 / 3), 3),
        ("generation", OLD): (0.5, 2),
        ("likelihood", ALL): (0.75, 4),
        ("likelihood", WRONG): (1.0, 1),
    }
    knew = {(one.model, one.protocol): one for one in summary.knew}
    assert knew["m", "generation"][4:] == (4, 1, 4, 2)


def test_wrong_and_right_before_partition_the_cases() -> None:
    made = Maker(cases=30).single()
    right = replace(made, known=tuple(replace(k, right=not k.right) for k in made.known))
    wrong, other = (
        {one.key: one for one in summarise([some]).lines if one.column == WRONG}
        for some in (made, right)
    )
    everything = [one for one in summarise([made]).lines if one.column == ALL]
    checked = 0
    for one in everything:
        parts = [some.get((*one.key[:-1], WRONG)) for some in (wrong, other)]
        if one.measure.startswith(("drift", "fluency", "score")):
            assert parts[0] is None or one.measure == "score.S"
            continue
        shown = [part for part in parts if part is not None]
        assert sum(part.n_cases for part in shown) == one.n_cases
        total = sum(part.value * part.n_cases for part in shown)
        assert total / one.n_cases == pytest.approx(one.value)
        checked += 1
    assert checked > 100


def test_s_is_the_harmonic_mean_of_three_means() -> None:
    rows = [row(TARGET, 1.0, case=case, before=0.5) for case in (0, 1)]
    rows += [
        row(PARAPHRASE, value, case=case, n=2, before=0.5) for case, value in ((0, 0.5), (1, 1))
    ]
    rows += [row(NEIGHBOURS, 0.5, case=case, n=10, before=1.0) for case in (0, 1)]
    found = line(rows, "score.S")
    assert found.value == pytest.approx(float(3 / (1 + Fraction(4, 3) + 2)))
    assert found.before == pytest.approx(0.6)
    # The two cases alone give 3 / (1 + 2 + 2) and 3 / (1 + 1 + 2).
    assert (found.low, found.high) == pytest.approx((0.6, 0.75))
    assert (found.protocol, found.figure, found.n_cases, found.n_probes) == (
        "likelihood", SCORE, 2, 26,
    )  # fmt: skip


def test_s_never_mixes_protocols_or_states() -> None:
    parts = [row(TARGET), row(PARAPHRASE, protocol="generation"), row(NEIGHBOURS, step=2)]
    assert all(one.measure != "score.S" for one in summarise([results(parts)]).lines)


def test_s_of_one_case_has_no_interval_and_of_a_failure_is_nought() -> None:
    rows = [row(TARGET), row(PARAPHRASE, 0.0), row(NEIGHBOURS)]
    found = line(rows, "score.S")
    assert (found.value, found.low, found.high) == (0.0, -math.inf, math.inf)


def test_numbers_about_the_whole_model() -> None:
    share = line([row("locality.base", 0.95, case=-1, n=400, figure=AGREEMENT)], "locality.base")
    assert (share.low, share.high) == wilson(380, 400)
    lonely = line([row("drift.perplexity", 9.0, case=-1, n=24, figure=VALUE)], "drift.perplexity")
    assert (lonely.low, lonely.high, lonely.interval) == (-math.inf, math.inf, "")
    edits = [row("drift.perplexity", v, case=-1, n=24, figure=VALUE) for v in (9.0, 9.0, 12.0)]
    several = line(edits, "drift.perplexity")
    assert (several.value, several.n_cases, several.n_probes) == (10.0, 3, 72)
    assert several.low < 10.0 < several.high
    known = [Known("m", case, "likelihood", False, True) for case in (-1, 0, 1)]
    assert {one.column for one in summarise([results(edits, known=known)]).lines} == {ALL}


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1.0, math.inf), math.inf), ((1.0, math.nan), math.nan), ((math.inf, -math.inf), math.nan)],
)
def test_what_is_not_finite_is_shown(values: tuple[float, float], expected: float) -> None:
    found = line([row(value=v, case=i, figure=VALUE) for i, v in enumerate(values)])
    assert str(found.value) == str(expected)
    assert (found.low, found.high, found.interval) == (-math.inf, math.inf, "")


def test_equal_shares_are_not_certain() -> None:
    found = line([row(value=0.5, case=case, n=2) for case in range(4)])
    assert (found.low, found.high, found.interval) == (*wilson(2, 4), "wilson")


def test_nothing_and_rows_without_probes_give_no_lines() -> None:
    assert summarise([]).lines == ()
    assert summarise([results([])]).lines == ()
    assert summarise([results([row(n=0, value=math.nan)])]).lines == ()


def test_refusals_are_counted_by_reason() -> None:
    def refusal(case: int, code: str, seed: int = 0) -> Refusal:
        return Refusal("single", "m", "rome", 1, 0, seed, 1, (case,), code, f"no {case}")

    refusals = [refusal(1, "E134"), refusal(0, "E134"), refusal(0, "E134", 1), refusal(2, "E148")]
    found = summarise([results([row()], refusals=refusals, cases=3)]).refused
    assert [(one.code, one.edits, one.cases, one.message) for one in found] == [
        ("E134", 3, 2, "no 0"),
        ("E148", 1, 1, "no 2"),
    ]


def test_the_order_of_rows_changes_nothing() -> None:
    made = Maker(cases=20).sequential(orders=2, steps=3)
    shuffled = list(made.rows)
    random.Random(1).shuffle(shuffled)
    known = tuple(reversed(made.known))
    assert summarise([made]) == summarise([replace(made, rows=tuple(shuffled), known=known)])


def test_results_over_the_same_cases_are_one() -> None:
    unedited = row(method="unedited")
    one = results([unedited, row(method="ft")])
    other = results([unedited, row(method="rome", value=0.0)])
    found = summarise([one, other])
    assert [(line.data, line.method, line.n_cases) for line in found.lines] == [
        ("facts", "ft", 1), ("facts", "rome", 1), ("facts", "unedited", 1),
    ]  # fmt: skip


def test_other_data_of_the_same_name_stays_apart() -> None:
    found = summarise([results([row()]), results([row(value=0.0)], digest="ee")])
    assert [(line.data, line.value) for line in found.lines] == [("facts", 1.0), ("facts (2)", 0.0)]


def test_results_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="different numbers") as caught:
        summarise([results([row()]), results([row(value=0.0)])])
    assert caught.value.code == "E159"
    other = replace(results([row()]), models={"m": "00" * 32})
    with pytest.raises(InvalidInputError, match="different models"):
        summarise([results([row()]), other])


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds() -> None:
    made = Maker(cases=30).sequential(steps=5, orders=1)
    rows = [replace(r, seed=k) for k in range(2) for r in made.rows]
    began = time.process_time()
    found = summarise([replace(made, rows=tuple(rows))])
    assert len(rows) > 100_000
    assert {one.figure for one in found.lines} >= {ACCURACY, AGREEMENT, SCORE, VALUE}
    assert time.process_time() - began < 6
