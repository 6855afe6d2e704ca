"""What a search for a method writes down: who was tried, what it took, and why it was not taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from patchhub import canonical
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.guard.measurement import Measurement
from patchhub.guard.verdict import Verdict

_LONGEST = 400


class Fate(StrEnum):
    """What became of a method."""

    PASSED = "passed"
    REFUSED = "refused"
    """The guard said no."""
    SKIPPED = "skipped"
    """It made no edit."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a method made no edit.

    Attributes:
        code: Of the typed error; "" if a method raised another.
        message: What the error says.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A method and what it takes.

    Attributes:
        method: Its name.
        seconds: Expected for these requests; None where nothing says it.
        source: What says it: a results directory, ``forecast`` or "".
        fault: Why it cannot be tried.
    """

    method: str
    seconds: float | None = None
    source: str = ""
    fault: Fault | None = None


@dataclass(frozen=True, eq=False)
class Attempt:
    """What happened with a method.

    Attributes:
        candidate: The method and what it was expected to take.
        fate: How it ended.
        seconds: Spent on the edit.
        guard_seconds: Spent on its verdict.
        settings: In effect; empty where no edit was made.
        verdict: The guard's; None where no edit was made.
        fault: Why no edit was made.
    """

    candidate: Candidate
    fate: Fate
    seconds: float = 0.0
    guard_seconds: float = 0.0
    settings: Mapping[str, canonical.Json] | None = None
    verdict: Verdict | None = None
    fault: Fault | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.candidate.method

    @property
    def blocking(self) -> tuple[Measurement, ...]:
        """What the guard refused it for."""
        return () if self.verdict is None else self.verdict.blocking

    def to_json(self) -> dict[str, canonical.Json]:
        """What a statement says about it: canonical, numbers that are no integers as text."""
        said: dict[str, canonical.Json] = {
            "method": self.method,
            "fate": self.fate.value,
            "seconds": canonical.decimal(round(self.seconds, 3)),
            "cost": _cost(self.candidate),
        }
        if self.fault is not None:
            said["fault"] = {"code": self.fault.code, "message": self.fault.message}
        if self.verdict is not None:
            said |= {
                "settings": dict(self.settings or {}),
                "patch": self.verdict.patch,
                "verdict": self.verdict.digest,
                "measurements": [_number(one) for one in self.verdict.measurements],
                "refused_for": [one.name for one in self.blocking],
            }
        return said


def fault_of(error: Exception) -> Fault | None:
    """What stands against a method that raised; None if it is not the method's affair.

    What does not fit (`InvalidInputError`) and what a foreign method raises by mistake is; a base
    that is not what it was, a model that a method damaged or a full disk stops everything.
    """
    if isinstance(error, InvalidInputError):
        return Fault(error.code, _plain(error.what))
    if isinstance(error, PatchHubError | OSError):
        return None
    return Fault("", _plain(f"{type(error).__name__}: {error}"))


def _plain(text: str) -> str:
    """One line of printable text: a statement may hold no other, and errors hold anything."""
    seen = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return seen if len(seen) <= _LONGEST else f"{seen[:_LONGEST]} …"


def _cost(one: Candidate) -> dict[str, canonical.Json]:
    seconds = None if one.seconds is None else canonical.decimal(round(one.seconds, 3))
    return {"seconds": seconds, "source": one.source}


def _number(one: Measurement) -> dict[str, canonical.Json]:
    return {
        "name": one.name,
        "protocol": one.protocol.value,
        "n": one.n,
        "outcome": one.outcome.value,
        **{key: canonical.decimal(getattr(one, key)) for key in ("value", "low", "high")},
    }
