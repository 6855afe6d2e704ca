"""One number about an edit, how sure it is, and what it means. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from patchhub import canonical
from patchhub.scoring.protocols import Protocol

SHOWN_FAILURES = 5


class Outcome(StrEnum):
    """What a measurement says by its rule."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"
    """Too few probes."""
    WAIVED = "waived"
    """Would refuse the edit, but somebody gave a reason why it shall not."""
    REPORTED = "reported"
    """Not judged."""


class Effect(StrEnum):
    """What a measurement does to the verdict."""

    NONE = "none"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Failure:
    """A probe that did not pass.

    Attributes:
        prompt: What was asked.
        expected: The answer that would have passed.
        before: What the model said without the edit.
        after: What it said with it.
    """

    prompt: str
    expected: str
    before: str
    after: str

    def to_json(self) -> dict[str, canonical.Json]:
        """The four texts."""
        return {
            "prompt": self.prompt,
            "expected": self.expected,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """A probe, seen without and with the edit.

    Attributes:
        failure: Its texts, shown when it does not pass.
        before: Score without the edit, in [0, 1].
        after: Score with it; 1.0 passes.
        counts: Whether its precondition holds.
        margins: Under likelihood, the magnitudes without and with the edit.
        same: How far the answer is the one without the edit (`patchhub.scoring.agreement`); None
            where no answers are compared.
    """

    failure: Failure
    before: float
    after: float
    counts: bool = True
    margins: tuple[float, float] | None = None
    same: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; whether that is good enough is the policy's affair.

    Attributes:
        before: Value without the edit: a share in [0, 1], a perplexity, or nats.
        after: The same with it.
        value: The number to be judged: ``after``, but for ratios.
        n: Probes (or texts) that count.
        low: Lower end of the 95 % interval of ``value``.
        high: Upper end.
        failed: Counted probes that did not pass.
        trials: Every probe as it was seen.
        details: Further counts and shares, by name: questions asked, known before, …
    """

    before: float
    after: float
    value: float
    n: int
    low: float
    high: float
    failed: int = 0
    trials: tuple[Trial, ...] = ()
    details: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The first few counted probes that did not pass."""
        failed = (one.failure for one in self.trials if one.counts and one.after < 1.0)
        return tuple(islice(failed, SHOWN_FAILURES))


@dataclass(frozen=True, slots=True)
class Measurement:
    """A finding and what the policy says to it.

    Attributes:
        check: Name of the check.
        measure: Which of its numbers this is.
        protocol: How questions were asked.
        before: Value without the edit.
        after: Value with it.
        value: The number that is judged: ``after``, but a ratio for perplexity.
        n: Probes (or texts) that count.
        low: Lower end of the 95 % interval of ``value`` (Wilson's for shares).
        high: Upper end.
        rule: ``all``, ``rate``, ``ceiling`` or ``report``.
        floor: The floor (of a ceiling: the ceiling) as the policy spells it; "" without.
        outcome: What the rule says.
        effect: What that does to the verdict.
        failures: A few probes that did not pass.
        details: Further counts and shares.
        trials: Every probe as it was seen, for reports; no part of what is stated.
    """

    check: str
    measure: str
    protocol: Protocol
    before: float
    after: float
    value: float
    n: int
    low: float
    high: float
    rule: str
    floor: str
    outcome: Outcome
    effect: Effect
    failures: tuple[Failure, ...] = ()
    details: Mapping[str, int | float] = field(default_factory=dict)
    trials: tuple[Trial, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """Check and measure in one word."""
        return f"{self.check}.{self.measure}"

    def to_json(self) -> dict[str, canonical.Json]:
        """All fields but the trials; numbers that are no integers as text."""
        numbers = {name: canonical.decimal(getattr(self, name)) for name in _NUMBERS}
        details: dict[str, canonical.Json] = {
            name: value if isinstance(value, int) else canonical.decimal(value)
            for name, value in self.details.items()
        }
        return {
            "check": self.check,
            "measure": self.measure,
            "protocol": self.protocol.value,
            "n": self.n,
            "rule": self.rule,
            "floor": self.floor,
            "outcome": self.outcome.value,
            "effect": self.effect.value,
            "failures": [failure.to_json() for failure in self.failures],
            "details": details,
            **numbers,
        }


_NUMBERS = ("before", "after", "value", "low", "high")
