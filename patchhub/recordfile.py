"""Files of records (JSON, JSONL, YAML) that can say on which line a value stands."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from patchhub.errors import InvalidInputError, NotFoundError, PatchHubError
from patchhub.fields import Fields, Where, spell

SUFFIXES = (".json", ".jsonl", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Parsed:
    """Values of a file and the way back to their lines.

    Attributes:
        records: Path from the file's root and the value, one for each record.
        line: Line number (from 1) of the value at a path, or of its nearest parent that exists.
        broken: Lines that should have been a record each and cannot be parsed.
    """

    records: list[tuple[Where, object]]
    line: Callable[[Where], int]
    broken: list[InvalidInputError] = field(default_factory=list)


def read_records(path: Path, *, bad: list[PatchHubError] | None = None) -> list[Fields]:
    """The records of a file, each under strict reading with errors that name file, line and field.

    Args:
        path: The file.
        bad: Where given, records that are no objects, and lines of JSON lines that cannot be
            parsed, are added here instead of ending the reading.

    Raises:
        NotFoundError: E109.
        InvalidInputError: E130, the file is not what its suffix says; E131, a record is no object.
    """
    parsed = _parser(path)(path, _text(path))
    if bad is None and parsed.broken:
        raise parsed.broken[0]

    def fail(where: Where, what: str, *, code: str | None = None, **details: Any) -> PatchHubError:
        line = parsed.line(where)
        field = spell(where)
        place = f"{path}:{line}: {field}: " if field else f"{path}:{line}: "
        message = place + what.removeprefix(f"{where[-1]}: " if where else "")
        return InvalidInputError(
            code or "E131", message, **details, file=str(path), line=line, field=field
        )

    records = []
    for where, value in parsed.records:
        try:
            records.append(Fields(value, fail, where))
        except PatchHubError as error:
            if bad is None:
                raise
            bad.append(error)
    if bad is not None:
        bad.extend(parsed.broken)
    return records


def unparsable(path: Path, line: int | None, why: str) -> InvalidInputError:
    """The error for text that breaks its format."""
    place = str(path) if line is None else f"{path}:{line}"
    return InvalidInputError(
        "E130", f"{place}: cannot be parsed: {why}", file=str(path), line=line, field=""
    )


def listed(value: object) -> list[tuple[Where, object]]:
    """A file holds a list of records or a single one."""
    if isinstance(value, list):
        return [((i,), item) for i, item in enumerate(value)]
    return [((), value)]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            "E109", f"{path}: cannot be read", found=error.strerror, hint="check the path"
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise unparsable(path, line, "not UTF-8 text") from error


def _parser(path: Path) -> Callable[[Path, str], Parsed]:
    match path.suffix.lower():
        case ".json":
            return _json
        case ".jsonl":
            return _json_lines
        case ".yaml" | ".yml":
            from patchhub.yamlfile import parse

            return parse
    raise InvalidInputError(
        "E130",
        f"{path}: the format is told from the suffix",
        expected=" ".join(SUFFIXES),
        found=path.suffix or "no suffix",
    )


def _json(path: Path, text: str) -> Parsed:
    try:
        value = _loads(path, text, 1)
    except InvalidInputError:
        # Benchmarks also come as JSON lines under this suffix: then a line is a value of its own.
        first, _, rest = text.lstrip().partition("\n")
        if not (first.strip().endswith("}") and rest.strip() and _parses(first)):
            raise
        return _json_lines(path, text)
    return Parsed(listed(value), _Lines(text).of)


def _json_lines(path: Path, text: str) -> Parsed:
    records: list[tuple[Where, object]] = []
    numbers: list[int] = []
    broken: list[InvalidInputError] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = _loads(path, line, number)
            except InvalidInputError as error:
                broken.append(error)
            else:
                records.append(((len(numbers),), value))
                numbers.append(number)
    return Parsed(records, lambda where: numbers[int(where[0])], broken)


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _loads(path: Path, text: str, first_line: int) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"field {double!r} occurs twice in one object")
        return result

    def constant(name: str) -> object:
        raise ValueError(f"{name} is not JSON")

    try:
        value: object = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise unparsable(path, first_line + error.lineno - 1, error.msg) from error
    except (ValueError, RecursionError) as error:
        line = first_line if path.suffix == ".jsonl" else None
        raise unparsable(path, line, str(error)) from error
    return value


class _Lines:
    """Lines of values in JSON text that has been parsed before."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._decoder = json.JSONDecoder()

    def of(self, where: Where) -> int:
        """Line of the value at ``where``, or of its nearest parent that exists."""
        label = place = _skip(self._text, 0)
        if where and isinstance(where[0], int) and where[0] < len(self._items):
            label = place = self._items[where[0]]
            where = where[1:]
        for step in where:
            found = _enter(self._text, place, step, self._decoder)
            if found is None:
                break
            label, place = found
        return bisect_left(self._breaks, label) + 1

    @cached_property
    def _items(self) -> list[int]:
        """Places of the items of the outermost list: a file may hold thousands of wrong records."""
        text, place = self._text, _skip(self._text, 0)
        items: list[int] = []
        if text[place] == "[":
            place = _skip(text, place + 1)
            while text[place] != "]":
                items.append(place)
                place = _skip(text, self._decoder.raw_decode(text, place)[1])
                if text[place] == ",":
                    place = _skip(text, place + 1)
        return items

    @cached_property
    def _breaks(self) -> list[int]:
        return [found.start() for found in re.finditer("\n", self._text)]


def _enter(
    text: str, place: int, step: str | int, decoder: json.JSONDecoder
) -> tuple[int, int] | None:
    """Places of the item ``step`` of the list or object at ``place``: of its name and of itself."""
    opener, place = text[place], _skip(text, place + 1)
    number = 0
    while opener in "[{" and text[place] not in "]}":
        key: str | int = number
        start = place
        if opener == "{":
            key, place = decoder.raw_decode(text, place)
            place = _skip(text, _skip(text, place) + 1)
        if key == step:
            return start, place
        _, place = decoder.raw_decode(text, place)
        place = _skip(text, place)
        if text[place] == ",":
            place = _skip(text, place + 1)
        number += 1
    return None


def _skip(text: str, place: int) -> int:
    """The next place that is not white space."""
    found = re.compile(r"[^ \t\n\r]").search(text, place)
    return len(text) if found is None else found.start()
