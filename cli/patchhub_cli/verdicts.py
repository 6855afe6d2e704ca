"""A guard's verdict as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchhub_cli.output import table

if TYPE_CHECKING:
    from patchhub.guard.verdict import Verdict

_SHOWN_FAILURES = 3


def verdict_text(verdict: Verdict) -> str:
    """The measurements as a table, with a few failing probes below what failed."""
    headers = ("check", "measure", "before", "after", "n", "95 % interval", "floor", "outcome")
    rows = [_row(m) for m in verdict.measurements]
    lines = [table(headers, rows, right="  rrr")]
    for measurement in verdict.measurements:
        if measurement.outcome == "fail":
            lines += [f"  {_failure(f)}" for f in measurement.failures[:_SHOWN_FAILURES]]
    waived = [f"waived: {check} ({reason})" for check, reason in verdict.waived.items()]
    return "\n".join([*lines, *waived, f"guard: {'yes' if verdict.passed else 'no'}"])
