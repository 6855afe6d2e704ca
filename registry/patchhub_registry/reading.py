"""Field forms that the registry's files share, over `patchhub.fields`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from patchhub.errors import IntegrityError, PatchHubError
from patchhub.fields import Fail, Fields, Where, describe, spell
from patchhub_registry.names import is_digest

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?|-?inf|nan")


def failing(what: str, error: type[PatchHubError] = IntegrityError) -> Fail:
    """Errors about the file ``what``: `IntegrityError` for stored files, another for a user's input."""

    def fail(
        where: Where,
        message: str,
        *,
        code: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> PatchHubError:
        subject = f"{what}: {spell(where)}" if where else what
        return error(
            code or "E113", f"{subject} {message}", expected=expected, found=found, hint=hint
        )

    return fail


def schema(fields: Fields, known: int) -> None:
    """Read ``schema``.

    Raises:
        PatchHubError: E114, the file has another schema than ``known``.
    """
    found = fields.integer("schema")
    if found != known:
        raise fields.error(
            "schema",
            "is not known",
            code="E114",
            expected=known,
            found=found,
            hint="upgrade patchhub",
        )


def printable(
    fields: Fields, name: str, pattern: str | None = None, *, limit: int = 1000
) -> str:
    """Text without control characters, optionally of a given form."""
    found = fields.text(name)
    if not found.isprintable() or len(found) > limit:
        words = f"printable text of at most {limit} characters"
        raise fields.error(name, f"must be {words}", found=describe(found))
    if pattern is not None and re.fullmatch(pattern, found) is None:
        raise fields.error(name, "has the wrong form", expected=pattern, found=describe(found))
    return found


def digest(fields: Fields, name: str) -> str:
    """A SHA-256 in lower-case hex."""
    found = fields.text(name)
    if not is_digest(found):
        raise fields.error(name, "must be a SHA-256 (64 hex digits)", found=describe(found))
    return found


def nullable(read: Callable[[Fields, str], str], fields: Fields, name: str) -> str | None:
    """``read(fields, name)``, or None when the field, which must be there, is null."""
    if fields.value(name, object, "text or null") is None:
        return None
    return read(fields, name)


def choice(fields: Fields, name: str, allowed: Sequence[str]) -> str:
    """One of a few words."""
    found = fields.text(name)
    if found not in allowed:
        raise fields.error(
            name, "is not a known word", expected=" | ".join(allowed), found=describe(found)
        )
    return found


def number(fields: Fields, name: str) -> str | int:
    """An integer, or another number as the text that `patchhub.canonical.decimal` gives."""
    found = fields.value(name, object, "a number")
    if isinstance(found, int) and not isinstance(found, bool):
        return fields.integer(name, low=-(2**53) + 1)
    if isinstance(found, str) and _NUMBER.fullmatch(found):
        return found
    raise fields.error(
        name, 'must be an integer or a decimal as text ("0.5")', found=describe(found)
    )


def texts(fields: Fields, name: str) -> dict[str, str]:
    """An object of printable texts."""
    inner = fields.inner(name)
    return {key: printable(inner, key) for key in names(inner)}


def numbers(fields: Fields, name: str) -> dict[str, str | int]:
    """An object of numbers."""
    inner = fields.inner(name)
    return {key: number(inner, key) for key in names(inner)}


def names(fields: Fields) -> list[str]:
    """All field names, which must be printable ASCII."""
    for key in fields.keys():
        if not (key and key.isascii() and key.isprintable()):
            raise fields.error("", "must have printable ASCII keys", found=describe(key))
    return sorted(fields.keys())
