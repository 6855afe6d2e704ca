"""What a report says, before it has a form: texts in plain words, in the order they are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from patchhub.guard.measurement import Measurement, Trial
from patchhub.guard.verdict import Verdict
from patchhub.reporting.text import number, short
from patchhub.request import EditRequest

if TYPE_CHECKING:
    from patchhub.guard.policy import Policy
    from patchhub.patch import Patch

PROBES_SHOWN = 40
"""Of one measure; those that failed come first."""

_CUT = 120
_EDITS_SHOWN = 5
_LIMITS = {"rate": "≥", "ceiling": "≤"}


@dataclass(frozen=True)
class Background:
    """What a verdict names by digest only.

    Attributes:
        patch: The patch.
        requests: Its requests.
        policy: The policy.
        names: Names for digests: of the patch, the patches below, the base.
    """

    patch: Patch | None = None
    requests: Sequence[EditRequest] = ()
    policy: Policy | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, digest: str, prefix: str = "") -> str:
        """A digest in short, behind its name if it has one."""
        short = f"{prefix}{digest[:12]}"
        return f"{self.names[digest]} ({short})" if digest in self.names else short


def title(verdict: Verdict, background: Background) -> str:
    """The page's heading."""
    return f"Verdict on {background.name(verdict.patch, 'ph:')}"


def headline(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    if verdict.blocking:
        names = ", ".join(dict.fromkeys(one.name for one in verdict.blocking))
        return f"Refused. It fails {names}."
    if verdict.warnings:
        names = ", ".join(dict.fromkeys(one.name for one in verdict.warnings))
        return f"Passed, with a doubt: {names}."
    return "Passed."


def facts(verdict: Verdict, background: Background) -> Iterator[tuple[str, str]]:
    """Label and value of everything the numbers depend on."""
    for request in background.requests[:_EDITS_SHOWN]:
        old = "" if request.target_old is None else f" (before: {request.target_old})"
        yield "edit", short(f"{request.prompt} → {request.target}{old}")
    more = len(background.requests) - _EDITS_SHOWN
    if more > 0:
        yield "", f"and {more} more"
    yield "patch", background.name(verdict.patch, "ph:")
    if background.patch is not None:
        yield from _patch_facts(background.patch)
    yield "base", background.name(verdict.base)
    below = ", ".join(background.name(one, "ph:") for one in verdict.stack)
    yield "stack below", below or "empty"
    source = "" if background.policy is None else f" ({short(background.policy.source)})"
    yield "policy", f"version {verdict.policy_version}, {verdict.policy[:12]}{source}"
    yield "base probes", verdict.probes[:12] or "none"
    yield "asked with", ", ".join(_setting(*item) for item in sorted(verdict.settings.items()))
    yield "checks", ", ".join(f"{name} {version}" for name, version in verdict.checks.items())
    yield "not run", ", ".join(verdict.not_run) or "none"
    yield "model", f"{verdict.identity_before[:12]} → {verdict.identity_after[:12]}"
    yield "statement", verdict.digest
    for check, reason in sorted(verdict.waived.items()):
        yield f"waived {check}", short(reason, 2 * _CUT)


def _patch_facts(patch: Patch) -> Iterator[tuple[str, str]]:
    record = patch.manifest
    settings = ", ".join(f"{key} {value}" for key, value in sorted(record.method.hparams.items()))
    yield "method", f"{record.method.name} {record.method.version}, seed {record.method.seed}"
    if settings:
        yield "settings", short(settings, 3 * _CUT)
    sites = ", ".join(site.tensor for site in record.sites)
    yield "touches", f"{len(record.sites)} tensors, {record.kind}: {short(sites, 2 * _CUT)}"
    size = sum(file.size for file in record.files.values())
    yield "size", f"{size:,} bytes"


def _setting(name: str, value: str | int) -> str:
    return f"{name} {str(value)[:12]}"


COLUMNS = ("check", "protocol", "n", "before", "after", "judged", "95 % interval", "limit")


def row(one: Measurement) -> tuple[str, ...]:
    """The cells of `COLUMNS`; the outcome comes after them."""
    if not one.n:
        return (one.name, str(one.protocol), "0", "", "", "", "", limit(one))
    interval = f"{number(one.low)} to {number(one.high)}"
    numbers = (number(one.before), number(one.after), number(one.value))
    return (one.name, str(one.protocol), str(one.n), *numbers, interval, limit(one))


def limit(one: Measurement) -> str:
    """What the policy asks; "" for what it only wants to see."""
    if str(one.outcome) == "reported":
        return ""
    return f"{_LIMITS.get(one.rule, one.rule)} {one.floor}".strip()


def notes(one: Measurement) -> str:
    """Further counts of a measurement, in words."""
    found = dict(one.details)
    parts = []
    if found.get("asked", one.n) != one.n:
        parts.append(f"{one.n} of {found['asked']} asked count")
    if "correct_before" in found:
        parts.append(f"right {number(found['correct_before'])} → {number(found['correct_after'])}")
    if "magnitude_after" in found:
        known = math.isfinite(found["magnitude_low"])
        span = f" [{number(found['magnitude_low'])}, {number(found['magnitude_high'])}]"
        change = f"{number(found['magnitude_before'])} → {number(found['magnitude_after'])}"
        parts.append(f"magnitude {change}{span if known else ''}")
    if "tokens" in found:
        parts.append(f"{found['tokens']} tokens")
    return "; ".join(parts)


def failed_first(verdict: Verdict) -> list[Measurement]:
    """What refuses the edit, then what is in doubt."""
    return [*verdict.blocking, *verdict.warnings]


def judgement(one: Measurement) -> str:
    """A measurement and what was asked of it, in one sentence."""
    if not one.n:
        return f"Nothing could be asked; the policy wants {limit(one)}."
    found = f"{number(one.value)} [{number(one.low)}, {number(one.high)}] of n = {one.n}"
    return f"Measured {found} by {one.protocol}; the policy wants {limit(one)}."


def probes(one: Measurement) -> tuple[list[Trial], int]:
    """The probes of a measure, those that failed first, and how many are left out."""
    order = sorted(one.trials, key=lambda trial: (not trial.counts, trial.after >= 1.0))
    return order[:PROBES_SHOWN], max(0, len(order) - PROBES_SHOWN)


def word(trial: Trial) -> str:
    """What came of a probe."""
    if not trial.counts:
        return "does not count"
    return "pass" if trial.after >= 1.0 else "fail"
