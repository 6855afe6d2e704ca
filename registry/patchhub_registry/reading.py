"""Field forms that the registry's files share, over `patchhub.fields`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date

from patchhub import canonical
from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.fields import Fields, InFile, describe
from patchhub_registry.names import check_name

DAY = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?|-?inf|nan")


def stored(data: bytes, what: str) -> Fields:
    """The object in a file of the registry.

    Raises:
        IntegrityError: E116, not canonical; E113, not an object. Later ones name the field.
    """
    return Fields(canonical.loads(data, what=what), InFile(what, "E113", IntegrityError))


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


def name(fields: Fields, field: str, what: str = "patch") -> str:
    """A valid name; ``what`` it names is said in the message."""
    found = fields.text(field)
    try:
        return check_name(found, what)
    except InvalidInputError as error:
        raise fields.error(field, error.what, code=error.code, expected=error.expected) from error


def printable(fields: Fields, field: str, pattern: str | None = None, *, limit: int = 1000) -> str:
    """Text without control characters, optionally of a given form."""
    found = fields.text(field)
    if not found.isprintable() or len(found) > limit:
        words = f"printable text of at most {limit} characters"
        raise fields.error(field, f"must be {words}", found=describe(found))
    if pattern is not None and re.fullmatch(pattern, found) is None:
        raise fields.error(field, "has the wrong form", expected=pattern, found=describe(found))
    return found


def day(fields: Fields, field: str) -> str:
    """A day of the calendar, ``YYYY-MM-DD``."""
    found = printable(fields, field, DAY)
    try:
        date.fromisoformat(found)
    except ValueError as error:
        raise fields.error(field, "is no day of the calendar", found=found) from error
    return found


def nullable(read: Callable[[str], str], fields: Fields, field: str) -> str | None:
    """``read(field)``, or None when the field, which must be there, is null."""
    value: object = fields.value(field, object, "text or null")
    return None if value is None else read(field)


def choice(fields: Fields, field: str, allowed: Sequence[str]) -> str:
    """One of a few words."""
    found = fields.text(field)
    if found not in allowed:
        raise fields.error(
            field, "is not a known word", expected=" | ".join(allowed), found=describe(found)
        )
    return found


def number(fields: Fields, field: str) -> str | int:
    """An integer, or another number as the text that `patchhub.canonical.decimal` gives."""
    found: object = fields.value(field, object, "a number")
    if isinstance(found, int) and not isinstance(found, bool):
        return fields.integer(field, low=-(2**53) + 1)
    if isinstance(found, str) and _NUMBER.fullmatch(found):
        return found
    raise fields.error(
        field, 'must be an integer or a decimal as text ("0.5")', found=describe(found)
    )


def texts(fields: Fields, field: str) -> dict[str, str]:
    """An object of printable texts."""
    inner = fields.inner(field)
    return {key: printable(inner, key) for key in keys(inner)}


def numbers(fields: Fields, field: str) -> dict[str, str | int]:
    """An object of numbers."""
    inner = fields.inner(field)
    return {key: number(inner, key) for key in keys(inner)}


def keys(fields: Fields) -> list[str]:
    """All field names, which must be printable ASCII."""
    for key in fields.names():
        if not (key and key.isascii() and key.isprintable()):
            raise fields.error(key, "is no field name", expected="printable ASCII")
    return sorted(fields.names())
