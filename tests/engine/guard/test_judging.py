from __future__ import annotations

import math
from typing import Any

import pytest

from patchhub.errors import DeniedError, InvalidInputError, PatchHubError
from patchhub.guard.judging import check_waivers, is_waived, judge
from patchhub.guard.measurement import Effect, Finding, Measurement, Outcome
from patchhub.guard.policy import Policy
from patchhub.guard.rules import Bound, Rule, RuleKind, Undecided
from patchhub.scoring.intervals import wilson
from patchhub.scoring.protocols import Protocol

GENERATION = Protocol.GENERATION


def _share(passed: int, n: int) -> Finding:
    low, high = wilson(passed, n)
    value = passed / n if n else 0.0
    return Finding(0.0, value, value, n, low, high, failed=n - passed)


def _value(value: float, high: float | None = None, n: int = 30) -> Finding:
    return Finding(1.0, value, value, n, value, value if high is None else high)


def _judge(finding: Finding, waived: bool = False, **fields: Any) -> Measurement:
    rule = Rule("locality", "base", **{"kind": RuleKind.ALL, **fields})
    return judge(rule, GENERATION, finding, waived)


def test_all() -> None:
    assert _judge(_share(3, 3)).outcome is Outcome.PASS
    failed = _judge(_share(2, 3))
    assert (failed.outcome, failed.effect) == (Outcome.FAIL, Effect.BLOCK)
    assert _judge(_share(0, 0)).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize(("passed", "outcome"), [(389, Outcome.PASS), (388, Outcome.FAIL)])
def test_rate_by_the_lower_end_of_the_interval(passed: int, outcome: Outcome) -> None:
    found = _judge(_share(passed, 400), kind=RuleKind.RATE, limit="0.95", bound=Bound.LOWER)
    assert found.outcome is outcome
    assert found.value > 0.95


def test_rate_by_the_point() -> None:
    fields: dict[str, Any] = {"kind": RuleKind.RATE, "limit": "0.75", "bound": Bound.POINT}
    assert _judge(_share(3, 4), **fields).outcome is Outcome.PASS
    assert _judge(_share(2, 3), **fields).outcome is Outcome.FAIL


def test_ceiling() -> None:
    fields: dict[str, Any] = {"kind": RuleKind.CEILING, "limit": "1.05"}
    assert _judge(_value(1.05), **fields).outcome is Outcome.PASS
    assert _judge(_value(1.06), **fields).outcome is Outcome.FAIL
    assert _judge(_value(1.0, high=1.1), bound=Bound.UPPER, **fields).outcome is Outcome.FAIL
    assert _judge(_value(1.0, high=1.1), bound=Bound.POINT, **fields).outcome is Outcome.PASS


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_number_never_passes(value: float) -> None:
    assert _judge(_value(value), kind=RuleKind.CEILING, limit="9").outcome is Outcome.FAIL
    low = Finding(1.0, math.nan, math.nan, 9, math.nan, math.nan)
    for bound in (Bound.POINT, Bound.LOWER):
        found = _judge(low, kind=RuleKind.RATE, limit="0.1", bound=bound)
        assert found.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("meaning", "effect"),
    [
        (Undecided.PASS, Effect.NONE),
        (Undecided.WARN, Effect.WARN),
        (Undecided.FAIL, Effect.BLOCK),
    ],
)
def test_undecided_means_what_the_policy_says(meaning: Undecided, effect: Effect) -> None:
    fields: dict[str, Any] = {"kind": RuleKind.RATE, "limit": "0.5", "n_min": 5}
    found = _judge(_share(4, 4), undecided=meaning, **fields)
    assert (found.outcome, found.effect) == (Outcome.UNDECIDED, effect)
    assert _judge(_share(5, 5), undecided=meaning, **fields).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("passed", "n", "outcome"),
    [
        (0, 0, Outcome.UNDECIDED),
        (1, 1, Outcome.UNDECIDED),
        (1, 2, Outcome.UNDECIDED),  # three of four at best
        (0, 2, Outcome.FAIL),  # two of four at best
        (0, 3, Outcome.FAIL),
    ],
)
def test_too_few_probes_may_rule_a_pass_out(passed: int, n: int, outcome: Outcome) -> None:
    fields: dict[str, Any] = {"kind": RuleKind.RATE, "limit": "0.75", "n_min": 4}
    assert _judge(_share(passed, n), **fields).outcome is outcome
    bound = _judge(_share(0, 200), **{**fields, "n_min": 300, "bound": Bound.LOWER})
    assert bound.outcome is Outcome.FAIL
    assert _judge(_share(1, 2), n_min=9).outcome is Outcome.FAIL  # all: one failure is enough
    drift = _judge(_value(9.0, n=1), kind=RuleKind.CEILING, limit="1.05", n_min=20)
    assert drift.outcome is Outcome.UNDECIDED


def test_not_required_is_judged_but_refuses_nothing() -> None:
    found = _judge(_share(0, 3), required=False)
    assert (found.outcome, found.effect) == (Outcome.FAIL, Effect.NONE)
    found = _judge(_share(0, 0), required=False)
    assert (found.outcome, found.effect) == (Outcome.UNDECIDED, Effect.NONE)


def test_report_judges_nothing() -> None:
    found = _judge(_share(0, 3), kind=RuleKind.REPORT)
    assert (found.outcome, found.effect) == (Outcome.REPORTED, Effect.NONE)


def test_another_protocol_is_only_reported() -> None:
    rule = Rule("reliability", "target", RuleKind.ALL)
    found = judge(rule, Protocol.TEACHER_FORCED, _share(0, 3), False)
    assert (found.outcome, found.effect) == (Outcome.REPORTED, Effect.NONE)


def test_waived_blocks_become_warnings_and_nothing_else_changes() -> None:
    found = _judge(_share(2, 3), waived=True)
    assert (found.outcome, found.effect) == (Outcome.WAIVED, Effect.WARN)
    assert (found.value, found.n) == (2 / 3, 3)
    undecided = _judge(_share(0, 0), waived=True)
    assert (undecided.outcome, undecided.effect) == (Outcome.WAIVED, Effect.WARN)
    assert _judge(_share(3, 3), waived=True).outcome is Outcome.PASS
    assert _judge(_share(2, 3), waived=True, required=False).outcome is Outcome.FAIL


POLICY = Policy(
    1,
    (
        Rule("locality", "base", RuleKind.ALL, waivable=True),
        Rule("locality", "near", RuleKind.ALL),
        Rule("reliability", "target", RuleKind.ALL),
        Rule("portability", "alias", RuleKind.REPORT),
    ),
    source="p.toml",
)


@pytest.mark.parametrize(
    ("waive", "kind", "code"),
    [
        ({"locallity": "x"}, InvalidInputError, "E151"),
        ({"locality": " "}, InvalidInputError, "E131"),
        ({"reliability": "x"}, DeniedError, "E402"),
        ({"locality.near": "x"}, DeniedError, "E402"),
        ({"portability": "x"}, DeniedError, "E402"),
    ],
)
def test_waivers_that_are_refused(
    waive: dict[str, str], kind: type[PatchHubError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        check_waivers(POLICY, waive)
    assert caught.value.code == code
    assert "p.toml" in str(caught.value) or code == "E131"


def test_a_waiver_reaches_only_what_the_policy_lets_go() -> None:
    waive = {"locality": "known"}
    check_waivers(POLICY, waive)
    assert [is_waived(rule, waive) for rule in POLICY.rules] == [True, False, False, False]
    assert is_waived(POLICY.rules[0], {"locality.base": "known"})
