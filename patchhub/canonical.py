"""Canonical JSON: one byte sequence per value, the same from Python, RFC 8785 and ``jq -cjS``.

The agreement holds because the values are restricted: printable ASCII keys, integers below 2**53,
no floats (write them with `decimal`), no NaN, no null unless a schema asks for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from patchhub.errors import IntegrityError, InvalidInputError

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json] | None"

_INT_LIMIT = 2**53
_UNPORTABLE = re.compile("[\x7f\ud800-\udfff]")


def decimal(value: float) -> str:
    """Text of a float that reads back as the very same float."""
    return repr(float(value))


def dumps(value: Json) -> bytes:
    """Canonical bytes of ``value``.

    Raises:
        InvalidInputError: E113, a value has no canonical form (a float, a large integer, a key that
            is not ASCII).
    """
    _check(value, "$")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def loads(data: bytes, *, what: str) -> Json:
    """Parse bytes that must be canonical.

    Args:
        data: The file's bytes.
        what: Name of the file for messages.

    Raises:
        IntegrityError: E116, the bytes are not JSON or not in canonical form.
    """
    try:
        value: Json = json.loads(data, object_pairs_hook=_unique)
        same = dumps(value) == data
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            "E116", f"{what} is not canonical JSON", found=str(error).splitlines()[0][:200]
        ) from error
    if not same:
        raise IntegrityError(
            "E116",
            f"{what} is not canonical JSON",
            expected="sorted keys, no white space, no final newline, integers only",
            hint="was the file edited by hand? PatchHub files are written once",
        )
    return value


def portable(text: str) -> bool:
    """Whether all writers give the text the same bytes: jq escapes DEL, no UTF-8 has surrogates."""
    return _UNPORTABLE.search(text) is None


def made_portable(text: str) -> str:
    """The text with what is not portable replaced, for what models and other programs say."""
    return _UNPORTABLE.sub("\ufffd", text)


def digest(value: Json) -> str:
    """SHA-256 (hex) of the canonical bytes of ``value``."""
    return sha256(dumps(value))


def sha256(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _check(value: object, where: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if not portable(value):
            raise InvalidInputError("E113", f"{where}: text holds DEL or a lone surrogate")
        return
    if isinstance(value, int):
        if abs(value) >= _INT_LIMIT:
            raise InvalidInputError("E113", f"{where}: integers must lie below 2**53", found=value)
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not (isinstance(key, str) and key.isascii() and key.isprintable()):
                raise InvalidInputError(
                    "E113", f"{where}: keys are printable ASCII", found=repr(key)
                )
            _check(item, f"{where}.{key}")
        return
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for i, item in enumerate(value):
            _check(item, f"{where}[{i}]")
        return
    raise InvalidInputError(
        "E113",
        f"{where}: no canonical form",
        expected='strings, integers, booleans, lists, objects; other numbers as text ("0.5")',
        found=f"{type(value).__name__} {value!r}"[:120],
    )
