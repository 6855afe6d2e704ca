"""Settings of a method: a frozen dataclass, read strictly and recorded canonically."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from patchhub import canonical
from patchhub.errors import InvalidInputError

H = TypeVar("H")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_settings(kind: type[H], values: Mapping[str, object]) -> H:
    """Build ``kind`` from values given as text (``--set lr=0.5``) or as JSON.

    Raises:
        InvalidInputError: E142, an unknown name, a wrong type or a value that the class refuses.
    """
    if not is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is not a dataclass")
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise InvalidInputError(
                "E142",
                f"the method has no setting {name!r}",
                expected=", ".join(known),
                found=name,
                hint=f"did you mean {near[0]}?" if near else None,
                setting=name,
            )
    return kind(**{name: _read(name, value, hints[name]) for name, value in values.items()})


def record_settings(settings: object) -> dict[str, canonical.Json]:
    """The settings as canonical JSON values; floats become exact decimal text.

    Raises:
        TypeError: ``settings`` is not a dataclass of plain values.
    """
    if not is_dataclass(settings):
        raise TypeError(f"{type(settings).__name__} is not a dataclass")
    return {field.name: _plain(getattr(settings, field.name)) for field in fields(settings)}


def require(holds: bool, name: str, expected: str, found: object) -> None:
    """Refuse a setting's value (E142); for ``__post_init__`` of settings classes."""
    if not holds:
        raise _wrong(name, expected, found)


def _plain(value: object) -> canonical.Json:
    if isinstance(value, bool | int | str | NoneType):
        return value
    if isinstance(value, float):
        return canonical.decimal(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no place in a manifest")


def _read(name: str, value: object, hint: Any) -> object:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _read_union(name, value, get_args(hint))
    if origin is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise _wrong(name, " or ".join(map(str, choices)), value)
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise _wrong(name, "a list", value)
        return tuple(_read(name, item, get_args(hint)[0]) for item in items)
    return _read_scalar(name, value, hint)


def _read_union(name: str, value: object, options: tuple[Any, ...]) -> object:
    if NoneType in options and (value is None or value in ("none", "null")):
        return None
    (option,) = (o for o in options if o is not NoneType)
    return _read(name, value, option)


def _read_scalar(name: str, value: object, hint: Any) -> object:
    if hint is bool:
        found = _BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else value
        if not isinstance(found, bool):
            raise _wrong(name, "true or false", value)
        return found
    if isinstance(value, bool):
        raise _wrong(name, hint.__name__, value)
    if hint is str and isinstance(value, str):
        return value
    if hint in (int, float) and isinstance(value, int | float | str):
        try:
            number = hint(value)
            whole = not isinstance(value, float) or hint is float or value == number
            if math.isfinite(number) and whole:
                return number
        except (ValueError, OverflowError):
            pass
        raise _wrong(name, "a finite number" if hint is float else "an integer", value)
    raise _wrong(name, hint.__name__, value)


def _wrong(name: str, expected: str, found: object) -> InvalidInputError:
    return InvalidInputError(
        "E142",
        f"setting {name} has a wrong value",
        expected=expected,
        found=repr(found)[:80],
        hint="`patchhub methods` lists the settings and their defaults",
        setting=name,
    )
