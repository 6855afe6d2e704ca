"""What an experiment found, as one file: numbers by case, none of them averaged yet.

Torch-free. The file holds nothing that differs between two runs of the same experiment; seconds and
bytes of memory, versions and dates stand in `provenance.json` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from patchhub.durable import swap_in
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation.records import CaseRecord, Failed, Known, Prepared, Refusal, Row, Spent

SCHEMA = "patchhub.results/1"
RESULTS, PROVENANCE = "results.json", "provenance.json"


@dataclass(frozen=True)
class Results:
    """All that an experiment found.

    Attributes:
        experiment: Its name.
        models: For each base, by name, the digest of its weights.
        data: Name and digest of the data set, records read and records skipped.
        settings: Everything else that the numbers depend on.
        cases: The requests, in order.
        rows: The numbers.
        known: What the unedited models knew.
        refusals: Edits that were not made.
        failures: Work that failed, without whose results these are.
    """

    experiment: str
    models: Mapping[str, str]
    data: Mapping[str, str | int]
    settings: Mapping[str, Any]
    cases: tuple[CaseRecord, ...]
    rows: tuple[Row, ...]
    known: tuple[Known, ...]
    refusals: tuple[Refusal, ...] = ()
    failures: tuple[Failed, ...] = ()

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        value = {
            "schema": SCHEMA,
            "experiment": self.experiment,
            "models": dict(self.models),
            "data": dict(self.data),
            "settings": dict(self.settings),
            **{name: _columns(kind, getattr(self, name)) for name, kind in _TABLES.items()},
        }
        if self.failures:
            value["failures"] = _columns(Failed, self.failures)
        swap_in(path, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())

    @classmethod
    def read(cls, path: Path) -> Results:
        """The results in a file, or in a directory that an experiment wrote.

        Raises:
            NotFoundError: E109, there are none.
            InvalidInputError: E154, the file is not such a file.
        """
        value = read_json(path / RESULTS if path.is_dir() else path)
        with _understood(path):
            if value["schema"] != SCHEMA:
                raise ValueError(f"schema {value['schema']!r}, not {SCHEMA!r}")
            return cls(
                str(value["experiment"]),
                dict(value["models"]),
                dict(value["data"]),
                dict(value["settings"]),
                **{name: _rows(kind, value[name]) for name, kind in _TABLES.items()},
                failures=_rows(Failed, value["failures"]) if "failures" in value else (),
            )

    def require_finished(self, models: Iterable[str], where: str) -> None:
        """Refuse results that lack some of some models' work: who could not finish would look good.

        Raises:
            InvalidInputError: E155.
        """
        asked = set(models)
        lost = [one for one in self.failures if one.model in asked]
        if lost:
            raise InvalidInputError(
                "E155",
                f"{where}: work of this experiment failed, and its results are missing",
                expected="results of all the work",
                found="; ".join(f"{one.work} on {one.model}: {one.message}" for one in lost),
                hint="run the same `patchhub bench` command again: it tries only what failed",
            )


@dataclass(frozen=True)
class Provenance:
    """How, when and where the results came about, and what that took.

    Attributes:
        command: The command line, or "" from Python.
        finished: Day and time (UTC) at which the last run ended.
        machine: Processors, memory, devices, threads.
        libraries: Versions.
        seconds: Wall time of the run that wrote the results; resumed ones count what is left.
        spent: Edit by edit.
        prepared: Method by method.
    """

    command: str
    finished: str
    machine: Mapping[str, str | int]
    libraries: Mapping[str, str]
    seconds: float
    spent: tuple[Spent, ...] = ()
    prepared: tuple[Prepared, ...] = ()

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        value = {one.name: getattr(self, one.name) for one in fields(self)}
        value |= {name: _columns(kind, value[name]) for name, kind in _OBSERVED.items()}
        swap_in(path, json.dumps(value, sort_keys=True, indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> Provenance:
        """As `Results.read`."""
        value = read_json(path / PROVENANCE if path.is_dir() else path)
        with _understood(path):
            for name, kind in _OBSERVED.items():
                value[name] = _rows(kind, value[name])
            return cls(**value)


_TABLES: dict[str, type[Any]] = {
    "cases": CaseRecord,
    "rows": Row,
    "known": Known,
    "refusals": Refusal,
}
_OBSERVED: dict[str, type[Any]] = {"spent": Spent, "prepared": Prepared}


def found_in(places: Sequence[Path]) -> list[Path]:
    """The directories with results: each place itself, or those right below it.

    Raises:
        NotFoundError: E109, a place holds none.
    """
    found: list[Path] = []
    for place in places:
        inner = [place] if (place / RESULTS).is_file() else _below(place)
        if not inner:
            raise NotFoundError(
                "E109",
                f"{place}: there are no results",
                expected=f"a directory with {RESULTS}, or one that holds such directories",
                hint="run `patchhub bench` first",
            )
        found += inner
    return found


def _below(place: Path) -> list[Path]:
    return sorted(file.parent for file in place.glob(f"*/{RESULTS}"))


def _columns(kind: type[Any], records: Sequence[Any]) -> dict[str, list[object]]:
    """One list per field: a file of many rows stays small, and a table is read in one call."""
    return {
        one.name: [_plain(getattr(record, one.name)) for record in records] for one in fields(kind)
    }


def _rows(kind: type[Any], columns: Mapping[str, list[Any]]) -> tuple[Any, ...]:
    names = [one.name for one in fields(kind)]
    floats = {one.name for one in fields(kind) if one.type == "float"}
    lists = [
        [float(value) for value in columns[name]] if name in floats else columns[name]
        for name in names
    ]
    return tuple(kind(*map(_hashable, values)) for values in zip(*lists, strict=True))


def _plain(value: Any) -> object:
    """JSON has no word for what is not finite; Python's ``float`` reads its own."""
    return repr(value) if isinstance(value, float) and not isfinite(value) else value


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        NotFoundError: E109. InvalidInputError: E154.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            "E109",
            f"{path}: there are no results",
            found=error.strerror,
            hint="run `patchhub bench` first",
        ) from error
    with _understood(path):
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            "E154",
            f"{path} holds no results",
            expected=SCHEMA,
            found=f"{type(error).__name__}: {error}",
            hint="run `patchhub bench` again",
        ) from error
