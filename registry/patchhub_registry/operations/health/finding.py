"""What a look at something found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Something is not what a digest or a rule says, or nothing works before it is mended."""
    WARNING = "warning"
    """It works, and will not for long or not everywhere."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it could be.

    Attributes:
        name: What it is called, such as ``model-behind``; stays the same.
        severity: How much it matters.
        what: One sentence.
        fix: The command that mends it; empty where there is none.
    """

    name: str
    severity: Severity
    what: str
    fix: str = ""

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        severity = str(self.severity)
        return {"name": self.name, "severity": severity, "what": self.what, "fix": self.fix}


def error(name: str, what: str, fix: str = "") -> Finding:
    """A finding that makes `doctor` fail."""
    return Finding(name, Severity.ERROR, what, fix)


def warning(name: str, what: str, fix: str = "") -> Finding:
    """A finding to be mended."""
    return Finding(name, Severity.WARNING, what, fix)


def note(name: str, what: str, fix: str = "") -> Finding:
    """A finding to be known."""
    return Finding(name, Severity.NOTE, what, fix)
