"""What an edit must show: a policy is data that a reviewer can read, without expressions.

Torch-free. Shares are text (``floor = "0.95"``): binary floats have no exact text, and a policy's
digest stands in every verdict. What a file leaves out has the strict reading: an undecided measure
fails, and nothing may be waived.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import TypeVar

from patchhub import canonical
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.fields import Fields, InFile
from patchhub.scoring.protocols import Protocol

SCHEMA = 1
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


@dataclass(frozen=True)
class Policy:
    """Rules for every measure that counts.

    Attributes:
        version: The policy's own number.
        rules: In the file's order.
        max_new_tokens: Longest generated answer; longer where an accepted answer needs it.
        override: Whether a patch may enter a stack without a passing verdict, for a reason.
        source: Where it came from, for messages; not part of what it says.
    """

    version: int
    rules: tuple[Rule, ...]
    max_new_tokens: int = 12
    override: bool = False
    source: str = field(default="policy", compare=False)

    @classmethod
    def read(cls, path: Path) -> Policy:
        """A policy from a TOML file.

        Raises:
            NotFoundError: E109, the file cannot be read.
            InvalidInputError: E146, naming file and field.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise NotFoundError(
                "E109", f"{path}: cannot be read", found=error.strerror, hint="check the path"
            ) from error
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, what: str = "policy") -> Policy:
        """A policy from the bytes of a TOML file, strictly.

        Args:
            data: The bytes.
            what: The file's name for messages.

        Raises:
            InvalidInputError: E146, naming file and field.
        """
        fail = InFile(what, "E146", InvalidInputError)
        try:
            table = tomllib.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise fail((), "is not TOML", found=str(error).splitlines()[0][:200]) from error
        fields = Fields(table, fail)
        if (schema := fields.integer("schema", low=1)) != SCHEMA:
            raise fields.error("schema", "is not known", expected=SCHEMA, found=schema)
        version = fields.integer("version", low=1)
        protocol = _choice(fields, "protocol", Protocol, Protocol.GENERATION)
        tokens = fields.integer("max_new_tokens", low=1) if "max_new_tokens" in fields else 12
        override = _flag(fields, "override", False)
        rules = tuple(_rules(fields, protocol))
        fields.end()
        return cls(version, rules, tokens, override, what)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the policy says; comments, order and written-out defaults add nothing."""
        return canonical.digest(self.to_json())

    def to_json(self) -> dict[str, canonical.Json]:
        """Everything the policy says."""
        checks: dict[str, dict[str, canonical.Json]] = {}
        for rule in self.rules:
            checks.setdefault(rule.check, {})[rule.measure] = rule.to_json()
        return {
            "schema": SCHEMA,
            "version": self.version,
            "max_new_tokens": self.max_new_tokens,
            "override": self.override,
            "check": checks,
        }


@cache
def default_policy() -> Policy:
    """The policy that PatchHub ships, ``default_policy.toml`` beside this module."""
    return Policy.parse(default_policy_text().encode(), "default_policy.toml")


def default_policy_text() -> str:
    """The shipped policy's TOML, with the origin of every number: a start for one's own."""
    file = resources.files("patchhub.guard") / "default_policy.toml"
    return file.read_text(encoding="utf-8")


def _rules(fields: Fields, protocol: Protocol) -> Iterator[Rule]:
    found = 0
    for check, measures in fields.table("check"):
        _check_name(measures)
        for measure in measures.names():
            inner = measures.inner(measure)
            _check_name(inner)
            yield _rule(check, measure, inner, protocol)
            found += 1
    if not found:
        raise fields.error("check", "must hold at least one check", expected="[check.NAME.MEASURE]")


def _rule(check: str, measure: str, fields: Fields, protocol: Protocol) -> Rule:
    kind = _choice(fields, "rule", RuleKind, None)
    judged = kind is not RuleKind.REPORT
    limit, bound = _limit(fields, kind)
    rule = Rule(
        check,
        measure,
        kind,
        protocol=_choice(fields, "protocol", Protocol, protocol),
        also=_also(fields),
        limit=limit,
        bound=bound,
        n_min=fields.integer("n_min", low=1) if judged and "n_min" in fields else 1,
        undecided=_choice(fields, "undecided", Undecided, Undecided.FAIL)
        if judged
        else Undecided.PASS,
        required=_flag(fields, "required", True) if judged else False,
        waivable=_flag(fields, "waivable", False) if judged else False,
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
    bound = _choice(fields, "bound", Bound, bad)
    if bound is other:
        expected = f"{bad.value} or {Bound.POINT.value}"
        raise fields.error("bound", "would be lenient", expected=expected, found=bound.value)
    return limit, bound


def _check_name(table: Fields) -> None:
    if _NAME.fullmatch(str(table.where[-1])) is None:
        raise table.fail(table.where, "is not a name", expected="lower case letters, digits and _")


def _choice(fields: Fields, name: str, kind: type[_E], default: _E | None) -> _E:
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


def _flag(fields: Fields, name: str, default: bool) -> bool:
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
