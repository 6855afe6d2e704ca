"""Names and references: one closed pattern each, so that no name can become a path or an option."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patchhub.errors import InvalidInputError
from patchhub.fields import is_sha256

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,5}")
_SHORT = re.compile(r"ph:([0-9a-f]{4,64})")
_SHOWN = 80

# Files of these names cannot exist on Windows, where a registry may be cloned to.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)]
)
# `--against base` means the unpatched model.
_STACK_WORDS = frozenset(["base"])


def check_name(text: str, what: str = "patch") -> str:
    """Return ``text`` if it is a valid name.

    Args:
        text: The name a user gave.
        what: Kind of thing named, for the message: ``patch``, ``base`` or ``stack``.

    Raises:
        InvalidInputError: E101, not a name.
    """
    if _NAME.fullmatch(text) is None:
        raise InvalidInputError(
            "E101",
            f"not a valid {what} name: {shown(text)}",
            expected='1 to 63 of a-z, 0-9 and "-", not starting with "-"',
            hint='for example "capital-of-x"',
        )
    if text in _DEVICES or (what == "stack" and text in _STACK_WORDS):
        raise InvalidInputError(
            "E101", f'"{text}" is reserved and cannot name a {what}', hint="choose another name"
        )
    return text


def shown(text: str) -> str:
    """The text for a message: quoted, escaped, cut."""
    quoted = ascii(text[:_SHOWN])
    return quoted if len(text) <= _SHOWN else f"{quoted}… ({len(text)} characters)"


@dataclass(frozen=True, slots=True)
class Ref:
    """What a user may write to mean one patch.

    Attributes:
        name: Patch name, or None when the reference is an id.
        version: Version, or None for the highest one.
        id: Patch id or the beginning of one, hex; None when the reference is a name.
    """

    name: str | None = None
    version: int | None = None
    id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read ``name@n``, ``name``, ``ph:<4 to 64 hex>`` or 64 hex digits.

        Raises:
            InvalidInputError: E101.
        """
        if is_sha256(text):
            return cls(id=text)
        short = _SHORT.fullmatch(text)
        if short is not None:
            return cls(id=short[1])
        name, at, version = text.partition("@")
        if not _NAME.fullmatch(name) or (at and not _VERSION.fullmatch(version)):
            raise InvalidInputError(
                "E101",
                f"not a reference: {shown(text)}",
                expected='name@n, name, ph:<hex> or 64 hex digits; names are a-z, 0-9 and "-"',
                hint="for example capital-of-x@3",
            )
        return cls(name=check_name(name), version=int(version) if at else None)

    def __str__(self) -> str:
        if self.id is not None:
            return f"ph:{self.id}"
        return f"{self.name}" if self.version is None else f"{self.name}@{self.version}"
