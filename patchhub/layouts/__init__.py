"""Record layouts of request files; which one a record has is told from its fields.

A layout is a module that reads one record. Some files are a single object that holds lists of
records; a container takes such an object apart. What must stay whatever is edited, and belongs to
no request, is read as a probe of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.fields import Fields
from patchhub.layouts import (
    convsent,
    counterfact,
    easyedit,
    known,
    mquake,
    native,
    qa,
    qaedit,
    relation,
    rippleedits,
    sanitation,
    wikibio,
    zsre,
)
from patchhub.layouts.part import Part
from patchhub.recordfile import read_records
from patchhub.request import EditRequest, Probe


class Layout(Protocol):
    """What a module of this package offers: how a record is known, and how it is read."""

    @property
    def NAME(self) -> str: ...  # noqa: D102, N802
    @property
    def MARKS(self) -> tuple[str, ...]: ...  # noqa: D102, N802

    def read(self, record: Fields) -> Sequence[EditRequest]:
        """The requests in a record of this layout, those that belong together in one."""
        ...


class Container(Protocol):
    """A module that takes an object with lists of records apart; one of `HOLDS` are its fields."""

    @property
    def HOLDS(self) -> tuple[tuple[str, ...], ...]: ...  # noqa: D102, N802

    def parts(self, record: Fields) -> Iterable[Part]:
        """The records in an object that has the fields of one of `HOLDS`."""
        ...


LAYOUTS: tuple[Layout, ...] = (
    mquake, counterfact, rippleedits, zsre, sanitation, easyedit, qaedit, wikibio, convsent, known,
    qa, native,
)  # fmt: skip
"""In the order in which their marks are looked for."""

CONTAINERS: tuple[Container, ...] = (sanitation, relation)


@dataclass(frozen=True)
class RequestFile:
    """What a file of records holds.

    Attributes:
        records: Of each record its requests.
        kept: What must stay whatever is edited.
        skipped: Wrong records that were left out, in the file's order.
    """

    records: tuple[tuple[EditRequest, ...], ...]
    kept: tuple[Probe, ...] = ()
    skipped: tuple[PatchHubError, ...] = ()

    @property
    def requests(self) -> tuple[EditRequest, ...]:
        """All requests, record after record."""
        return tuple(request for record in self.records for request in record)


def read_file(path: Path, *, skip_bad: bool = False) -> RequestFile:
    """All that a file holds; see `patchhub.request.load_requests`.

    Args:
        path: The file.
        skip_bad: Whether wrong records are left out instead of ending the reading.
    """
    bad: list[PatchHubError] = []
    records: list[tuple[EditRequest, ...]] = []
    kept: list[Probe] = []
    for record in read_records(path, bad=bad if skip_bad else None):
        for found in _read(record, bad if skip_bad else None):
            requests = tuple(one for one in found if isinstance(one, EditRequest))
            records += [requests] if requests else []
            kept += [one for one in found if isinstance(one, Probe)]
    bad.sort(key=_line)
    if not records:
        why = bad[0].what if bad else None
        raise InvalidInputError(
            "E130", f"{path}: holds no request", expected="at least one right record", found=why
        )
    return RequestFile(tuple(records), tuple(kept), tuple(bad))


def read(record: Fields) -> Sequence[EditRequest]:
    """The requests of one record of any known layout.

    Raises:
        InvalidInputError: E131, E132, E133; E135 when no layout fits.
    """
    for layout in LAYOUTS:
        if all(mark in record for mark in layout.MARKS):
            requests = layout.read(record)
            record.end()
            return requests
    known = "; ".join(f"{m.NAME} (has {' and '.join(map(repr, m.MARKS))})" for m in LAYOUTS)
    raise record.fail(
        record.where,
        "the record's layout is not known",
        code="E135",
        expected=known,
        found="fields " + (", ".join(record.names()[:12]) or "none"),
        hint="the smallest record is prompt and target",
    )


def _read(
    record: Fields, bad: list[PatchHubError] | None
) -> Iterator[Sequence[EditRequest | Probe]]:
    try:
        for part in _parts(record):
            try:
                yield part.read(part.record)
            except InvalidInputError as error:
                if bad is None:
                    raise
                bad.append(error)
    except InvalidInputError as error:
        if bad is None:
            raise
        bad.append(error)


def _parts(record: Fields) -> Iterable[Part]:
    for container in CONTAINERS:
        if any(all(name in record for name in names) for names in container.HOLDS):
            return container.parts(record)
    return [Part(record, read)]


def _line(error: PatchHubError) -> int:
    line = error.data.get("line")
    return line if isinstance(line, int) else 0
