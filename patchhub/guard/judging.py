"""From findings to outcomes, by the policy's rules and nothing else. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from patchhub.errors import DeniedError, InvalidInputError
from patchhub.guard.measurement import Effect, Finding, Measurement, Outcome
from patchhub.guard.policy import Policy
from patchhub.guard.rules import Bound, Rule, RuleKind, Undecided
from patchhub.scoring.intervals import wilson
from patchhub.scoring.protocols import Protocol


def judge(rule: Rule, protocol: Protocol, finding: Finding, waived: bool) -> Measurement:
    """What a rule says to a finding.

    Args:
        rule: The policy's rule for this measure.
        protocol: How it was measured; other than the rule's own, it is only reported.
        finding: What was found.
        waived: Whether somebody gave a reason to let it pass.
    """
    outcome, effect = _outcome(rule, finding), Effect.NONE
    if protocol is not rule.protocol:
        outcome = Outcome.REPORTED
    if rule.required and outcome is Outcome.FAIL:
        effect = Effect.BLOCK
    elif rule.required and outcome is Outcome.UNDECIDED:
        effect = _UNDECIDED[rule.undecided]
    if effect is Effect.BLOCK and waived:
        outcome, effect = Outcome.WAIVED, Effect.WARN
    return Measurement(
        check=rule.check,
        measure=rule.measure,
        protocol=protocol,
        before=finding.before,
        after=finding.after,
        value=finding.value,
        n=finding.n,
        low=finding.low,
        high=finding.high,
        rule=rule.kind.value,
        floor=rule.limit,
        outcome=outcome,
        effect=effect,
        failures=finding.failures,
        details=finding.details,
        trials=finding.trials,
    )


def check_waivers(policy: Policy, waive: Mapping[str, str]) -> None:
    """Refuse waivers that mean nothing or that the policy does not allow.

    Args:
        policy: The policy.
        waive: Check, or check.measure, to the reason.

    Raises:
        InvalidInputError: E151, the policy has no such check; E131, a reason is missing.
        DeniedError: E402, the policy does not let it be waived.
    """
    for name, reason in waive.items():
        rules = [rule for rule in policy.rules if _covers(name, rule)]
        if not rules:
            raise InvalidInputError(
                "E151",
                f"{policy.source} has no check {name!r} to waive",
                expected=", ".join(dict.fromkeys(rule.check for rule in policy.rules)),
                found=name,
            )
        if not reason.strip():
            raise InvalidInputError(
                "E131", f"the waiver of {name} needs a reason", hint='--reason "..."'
            )
        judged = [rule for rule in rules if rule.kind is not RuleKind.REPORT]
        if not any(rule.waivable for rule in judged):
            raise DeniedError(
                "E402",
                f"{policy.source} does not let {name} be waived",
                expected="waivable = true in the policy",
                found="waivable = false" if judged else "rule = report, which refuses nothing",
            )


def is_waived(rule: Rule, waive: Iterable[str]) -> bool:
    """Whether a waiver covers a rule and the policy allows it."""
    return rule.waivable and any(_covers(name, rule) for name in waive)


def _covers(name: str, rule: Rule) -> bool:
    return name in (rule.check, rule.name)


_UNDECIDED = {
    Undecided.PASS: Effect.NONE,
    Undecided.WARN: Effect.WARN,
    Undecided.FAIL: Effect.BLOCK,
}


def _outcome(rule: Rule, finding: Finding) -> Outcome:
    if rule.kind is RuleKind.REPORT:
        return Outcome.REPORTED
    if finding.n >= rule.n_min:
        return Outcome.PASS if _good(rule, finding) else Outcome.FAIL
    # Too few probes cannot show that an edit is good, but may show that it is not.
    hopeless = rule.kind is not RuleKind.CEILING and not _good(rule, _at_best(rule, finding))
    return Outcome.FAIL if hopeless else Outcome.UNDECIDED


def _good(rule: Rule, finding: Finding) -> bool:
    """Whether the rule holds; comparisons are written so that NaN fails."""
    if rule.kind is RuleKind.ALL:
        return finding.failed == 0
    if rule.kind is RuleKind.RATE:
        share = finding.low if rule.bound is Bound.LOWER else finding.value
        return share >= float(rule.limit)
    value = finding.high if rule.bound is Bound.UPPER else finding.value
    return value <= float(rule.limit)


def _at_best(rule: Rule, finding: Finding) -> Finding:
    """The finding if every probe that is missing for a decision had passed."""
    total = finding.value * finding.n + (rule.n_min - finding.n)
    low, high = wilson(total, rule.n_min)
    return replace(finding, value=total / rule.n_min, n=rule.n_min, low=low, high=high)
