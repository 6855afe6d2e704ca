"""One rule of a policy: what a measure must show, and how a file says so. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from patchhub import canonical
from patchhub.fields import Fields
from patchhub.scoring.protocols import Protocol

_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,12})?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class RuleKind(StrEnum):
    """How a measure is judged."""

    ALL = "all"
    """Every probe must pass: for the few probes of one edit."""
    RATE = "rate"
    """The share of probes that pass must reach a floor."""
    CEILING = "ceiling"
    """The measured value must not exceed a ceiling: for drift."""
    REPORT = "report"
    """Measured and shown, never judged."""


class Bound(StrEnum):
    """Which number is held against the floor or ceiling."""

    POINT = "point"
    """The measured value itself."""
    LOWER = "lower95"
    """Of a rate: the lower end of its 95 % interval (Wilson 1927)."""
    UPPER = "upper95"
    """Of a ceiling: the upper end of its 95 % interval."""


class Undecided(StrEnum):
    """What too few probes mean for the verdict, unless they rule a pass out already."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Rule:
    """What one measure must show.

    Attributes:
        check: The check.
        measure: One of its measures.
        kind: How it is judged.
        protocol: How its questions are asked.
        also: Further protocols whose numbers are shown, never judged.
        limit: Floor of a rate or ceiling, as decimal text; "" for rules without.
        bound: Which number is held against the limit.
        n_min: Fewer probes than this decide nothing, unless the rule would fail even if all that
            are missing passed.
        undecided: What that means.
        required: Whether a failure refuses the edit.
        waivable: Whether a failure may be waived with a reason.
    """

    check: str
    measure: str
    kind: RuleKind
    protocol: Protocol = Protocol.GENERATION
    also: tuple[Protocol, ...] = ()
    limit: str = ""
    bound: Bound = Bound.POINT
    n_min: int = 1
    undecided: Undecided = Undecided.FAIL
    required: bool = True
    waivable: bool = False

    @property
    def name(self) -> str:
        """Check and measure in one word."""
        return f"{self.check}.{self.measure}"

    def to_json(self) -> dict[str, canonical.Json]:
        """Every field, defaults too."""
        return {
            "rule": self.kind.value,
            "protocol": self.protocol.value,
            "also": [protocol.value for protocol in self.also],
            "limit": self.limit,
            "bound": self.bound.value,
            "n_min": self.n_min,
            "undecided": self.undecided.value,
            "required": self.required,
            "waivable": self.waivable,
        }


def read_rule(check: str, measure: str, fields: Fields, protocol: Protocol) -> Rule:
    """The rule of one table, strictly.

    Args:
        check: Name of the check.
        measure: Name of the measure.
        fields: The table ``[check.CHECK.MEASURE]``.
        protocol: The policy's own, where the table names none.

    Raises:
        InvalidInputError: E146, naming file and field.
    """
    kind = choice(fields, "rule", RuleKind, None)
    judged = kind is not RuleKind.REPORT
    limit, bound = _limit(fields, kind)
    rule = Rule(
        check,
        measure,
        kind,
        protocol=choice(fields, "protocol", Protocol, protocol),
        also=_also(fields),
        limit=limit,
        bound=bound,
        n_min=fields.integer("n_min", low=1) if judged and "n_min" in fields else 1,
        undecided=choice(fields, "undecided", Undecided, Undecided.FAIL)
        if judged
        else Undecided.PASS,
        required=flag(fields, "required", True) if judged else False,
        waivable=flag(fields, "waivable", False) if judged else False,
    )
    fields.end()
    if rule.protocol in rule.also:
        raise fields.error("also", "repeats the protocol that is judged", found=rule.protocol)
    return rule


def _limit(fields: Fields, kind: RuleKind) -> tuple[str, Bound]:
    if kind not in (RuleKind.RATE, RuleKind.CEILING):
        return "", Bound.POINT
    rate = kind is RuleKind.RATE
    limit = _decimal(fields, "floor" if rate else "ceiling", share=rate)
    bad, other = (Bound.LOWER, Bound.UPPER) if rate else (Bound.UPPER, Bound.LOWER)
    bound = choice(fields, "bound", Bound, bad)
    if bound is other:
        expected = f"{bad.value} or {Bound.POINT.value}"
        raise fields.error("bound", "would be lenient", expected=expected, found=bound.value)
    return limit, bound


def check_name(table: Fields) -> None:
    """Refuse a table whose name is no name."""
    if _NAME.fullmatch(str(table.where[-1])) is None:
        raise table.fail(table.where, "is not a name", expected="lower case letters, digits and _")


def choice(fields: Fields, name: str, kind: type[_E], default: _E | None) -> _E:
    """A field that must be one of an enumeration's values."""
    if name not in fields and default is not None:
        return default
    found = fields.text(name)
    known: Mapping[str, _E] = {member.value: member for member in kind}
    if found not in known:
        raise fields.error(name, "is not known", expected=f"one of {', '.join(known)}", found=found)
    return known[found]


def _also(fields: Fields) -> tuple[Protocol, ...]:
    names = fields.texts("also") if "also" in fields else ()
    known = {protocol.value: protocol for protocol in Protocol}
    if len(set(names)) != len(names) or not set(names) <= set(known):
        expected = f"different ones of {', '.join(known)}"
        raise fields.error("also", "is not known", expected=expected, found=", ".join(names))
    return tuple(known[name] for name in names)


def flag(fields: Fields, name: str, default: bool) -> bool:
    """A field that is true or false."""
    return fields.value(name, bool, "true or false") if name in fields else default


def _decimal(fields: Fields, name: str, *, share: bool) -> str:
    words = "a decimal number as text" + (" from 0 to 1" if share else "")
    text = fields.value(name, object, words)
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise fields.error(
            name,
            "must be text, since binary floats have no exact text",
            expected=words,
            found=text,
            hint=f'write {name} = "{text}"',
        )
    if not isinstance(text, str) or _DECIMAL.fullmatch(text) is None or (share and float(text) > 1):
        raise fields.error(name, f"must be {words}", expected='such as "0.95"', found=repr(text))
    return text
