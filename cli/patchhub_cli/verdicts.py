"""A guard's verdict as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from patchhub_cli.output import table

if TYPE_CHECKING:
    from patchhub.guard.measurement import Failure, Measurement
    from patchhub.guard.verdict import Verdict

_FAILURES = 3
_LIMITS = {"rate": "≥", "ceiling": "≤", "all": "all", "report": ""}
_SHORT = {"teacher_forced": "forced", "generation+instruction": "instruction"}


def verdict_text(verdict: Verdict) -> str:
    """The measurements as a table, a few failing probes below what failed, and the guard's word."""
    headers = ("check", "protocol", "before", "after", "n", "95 % interval", "limit", "outcome")
    rows = [_row(one) for one in verdict.measurements]
    lines = [table(headers, rows, right="  rrr")]
    for one in verdict.measurements:
        if one.outcome == "fail":
            lines += [_failure(one, each) for each in one.failures[:_FAILURES]]
    lines += [f"  waived {check}: {reason}" for check, reason in sorted(verdict.waived.items())]
    return "\n".join([*lines, f"guard: {'yes' if verdict.passed else 'no'}"])


def _row(one: Measurement) -> tuple[str, ...]:
    protocol = _SHORT.get(one.protocol, str(one.protocol))
    interval = f"{_number(one.low)} to {_number(one.high)}"
    limit = f"{_LIMITS.get(one.rule, one.rule)} {one.floor}".strip()
    return (
        one.name,
        protocol,
        _number(one.before) if one.n else "",
        _number(one.after) if one.n else "",
        str(one.n),
        interval if one.n else "",
        limit,
        str(one.outcome),
    )


def _failure(one: Measurement, failure: Failure) -> str:
    said = f"{failure.after!r} (before {failure.before!r}, wanted {failure.expected!r})"
    return f"  {one.name}: {failure.prompt} → {said}"


def _number(value: float) -> str:
    """Three digits: what tables of this field show."""
    return "" if math.isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"
