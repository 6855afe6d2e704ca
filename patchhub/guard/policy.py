"""What an edit must show: a policy is data that a reviewer can read, without expressions.

Torch-free. Shares are text (``floor = "0.95"``): binary floats have no exact text, and a policy's
digest stands in every verdict. What a file leaves out has the strict reading: an undecided measure
fails, and nothing may be waived.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from patchhub import canonical
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.fields import Fields, InFile
from patchhub.guard.rules import Rule, check_name, choice, flag, read_rule
from patchhub.scoring.protocols import Protocol

SCHEMA = 1


class PromptFormat(StrEnum):
    """How ``generation+instruction`` puts its instruction."""

    CHAT = "chat"
    """By the tokenizer's chat template where it has one, else as plain text."""
    PLAIN = "plain"
    """As plain text in front of the question."""


@dataclass(frozen=True)
class Policy:
    """Rules for every measure that counts.

    Attributes:
        version: The policy's own number.
        rules: In the file's order.
        max_new_tokens: Longest generated answer; longer where an accepted answer needs it.
        prompt_format: How an instruction is put.
        override: Whether a patch may enter a stack without a passing verdict, for a reason.
        source: Where it came from, for messages; not part of what it says.
    """

    version: int
    rules: tuple[Rule, ...]
    max_new_tokens: int = 12
    prompt_format: PromptFormat = PromptFormat.CHAT
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
        protocol = choice(fields, "protocol", Protocol, Protocol.GENERATION)
        tokens = fields.integer("max_new_tokens", low=1) if "max_new_tokens" in fields else 12
        prompts = choice(fields, "prompt_format", PromptFormat, PromptFormat.CHAT)
        override = flag(fields, "override", False)
        rules = tuple(_rules(fields, protocol))
        fields.end()
        return cls(version, rules, tokens, prompts, override, what)

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
            "prompt_format": self.prompt_format.value,
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
        check_name(measures)
        for measure in measures.names():
            inner = measures.inner(measure)
            check_name(inner)
            yield read_rule(check, measure, inner, protocol)
            found += 1
    if not found:
        raise fields.error("check", "must hold at least one check", expected="[check.NAME.MEASURE]")
