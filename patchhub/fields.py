"""Strict reading of JSON-like objects: fields are asked for by name and none may be left over."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from patchhub.canonical import portable
from patchhub.errors import InvalidInputError, PatchHubError

Where = tuple[str | int, ...]
T = TypeVar("T")

# The default goes six levels deep, which is too far for lists of lists of lists.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 60, 60
UNPORTABLE = "holds a character that not all JSON writers agree about (DEL, lone surrogate)"


class Fail(Protocol):
    """Makes the error for a wrong field; knows the file (and perhaps the line) it stands in."""

    def __call__(
        self,
        where: Where,
        what: str,
        *,
        code: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> PatchHubError:
        """The error, to be raised by the caller; ``code`` where it is not the file's usual one."""
        ...


@dataclass(frozen=True, slots=True)
class InFile:
    """Complaints about one file: where it is not said otherwise, ``error`` with ``code``."""

    file: str
    code: str
    error: type[PatchHubError]

    def __call__(
        self,
        where: Where,
        what: str,
        *,
        code: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> PatchHubError:
        """The error, its message led by file and field."""
        field = spell(where)
        place = f"{self.file}: {field}" if field else self.file
        return self.error(
            code or self.code,
            f"{place}: {what}",
            expected=expected,
            found=found,
            hint=hint,
            file=self.file,
            field=field,
        )


class Fields:
    """One object under strict reading.

    Args:
        value: What was parsed; anything but an object is refused.
        fail: Makes the errors.
        where: Path from the file's root to this object.
    """

    def __init__(self, value: object, fail: Fail, where: Where = ()) -> None:
        self.fail: Final = fail
        self.where: Final = where
        if not isinstance(value, Mapping):
            raise fail(where, "must be an object", expected="an object", found=describe(value))
        self._value: Mapping[str | int, object] = value
        self._asked: list[str | int] = []

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def names(self) -> tuple[str, ...]:
        """Names of all fields, in the file's order."""
        return tuple(str(name) for name in self._value)

    def value(self, name: str | int, kind: type[T], words: str) -> T:
        """The field's value, which must be of type ``kind`` (a boolean is no integer here)."""
        self._asked.append(name)
        if name not in self._value:
            raise self.error(name, "is missing", expected=words)
        found = self._value[name]
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is int):
            raise self.error(name, f"must be {words}", expected=words, found=describe(found))
        return found

    def text(self, name: str | int, *, strip: bool = False) -> str:
        """A text with a canonical form; with ``strip``, without surrounding white space."""
        found: str = self.value(name, str, "text")
        if not portable(found):
            raise self.error(name, UNPORTABLE, found=describe(found))
        return found.strip() if strip else found

    def filled(self, name: str | int, *, strip: bool = False) -> str:
        """A text that is not blank."""
        found = self.text(name, strip=strip)
        if not found.strip():
            raise self.error(name, "must not be blank", expected="text", found=describe(found))
        return found

    def sha256(self, name: str | int) -> str:
        """A SHA-256 digest: 64 lower-case hex digits."""
        found = self.text(name)
        if not is_sha256(found):
            raise self.error(name, "must be a SHA-256", expected="64 hex digits", found=found[:80])
        return found

    def integer(self, name: str | int, *, low: int = 0) -> int:
        """An integer from ``low`` up to 2**53 - 1."""
        found: int = self.value(name, int, "an integer")
        if not low <= found < 2**53:
            words = f"an integer from {low} to 2**53 - 1"
            raise self.error(name, "is out of range", expected=words, found=found)
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts that are not blank."""
        items = self._items(name)
        return tuple(items.filled(i) for i in items._value)

    def name(self, name: str | int) -> str:
        """A name, which may be a number."""
        if isinstance(self.value(name, object, "text or a number"), str):
            return self.filled(name, strip=True)
        return str(self.integer(name))

    def flat(self, name: str | int, *, depth: int = 2) -> tuple[str, ...]:
        """A text, a list of texts or a list of such lists: all texts, no blank, none twice."""
        found = self.value(name, object, "text or a list of texts")
        if depth == 0 or not isinstance(found, list):
            one = self.text(name, strip=True)
            return (one,) if one else ()
        rows = Fields(dict(enumerate(found)), self.fail, (*self.where, name))
        texts = (text for i in rows._value for text in rows.flat(i, depth=depth - 1))
        return tuple(dict.fromkeys(texts))

    def ignore(self, *names: str) -> None:
        """Fields that are known and not used, whatever they hold."""
        self._asked.extend(names)

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of integers from zero."""
        items = self._items(name)
        return tuple(items.integer(i) for i in items._value)

    def inner(self, name: str | int) -> Fields:
        """An object."""
        found: object = self.value(name, object, "an object")
        return Fields(found, self.fail, (*self.where, name))

    def inners(self, name: str) -> tuple[Fields, ...]:
        """A list of objects."""
        items = self._items(name)
        return tuple(items.inner(i) for i in items._value)

    def table(self, name: str) -> tuple[tuple[str, Fields], ...]:
        """An object whose values are objects, in the file's order."""
        rows = self.inner(name)
        return tuple((key, rows.inner(key)) for key in rows.names())

    def optional(self, read: Callable[[str], T], name: str) -> T | None:
        """``read(name)``, or none when the field is not there or null."""
        if self._value.get(name) is None:
            self._asked.append(name)
            return None
        return read(name)

    def make(self, build: Callable[[], T]) -> T:
        """``build()``, its complaint (which names a field of its own) placed in this file."""
        try:
            return build()
        except InvalidInputError as error:
            field = error.data.get("field")
            where = self.where if field is None else (*self.where, str(field))
            raise self.fail(
                where,
                error.what,
                code=error.code,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error

    def end(self) -> None:
        """Refuse fields that nobody asked for."""
        for name in self._value:
            if name not in self._asked:
                known = ", ".join(sorted({str(asked) for asked in self._asked}))
                raise self.error(name, "is not a known field", expected=f"one of {known}")

    def error(self, name: str | int, what: str, **details: Any) -> PatchHubError:
        """The error for field ``name``; details as `Fail` takes them."""
        return self.fail((*self.where, name), what, **details)

    def _items(self, name: str) -> Fields:
        """A list, to be read like an object whose fields are numbered."""
        found: list[object] = self.value(name, list, "a list")
        return Fields(dict(enumerate(found)), self.fail, (*self.where, name))


def spell(where: Where) -> str:
    """``("sites", 2, "shape")`` as ``sites[2].shape``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return text.removeprefix(".")


def describe(value: object) -> str:
    """Short words for a wrong value, whatever its size."""
    return f"{type(value).__name__} {_SHORT.repr(value)}"[:160]


def is_sha256(text: str) -> bool:
    """Whether the text is a SHA-256 as PatchHub writes it."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None
