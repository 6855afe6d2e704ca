"""Record layouts of request files; which one a record has is told from its fields."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from patchhub.errors import InvalidInputError
from patchhub.fields import Fields
from patchhub.layouts import counterfact, flattened, native, zsre
from patchhub.recordfile import read_records
from patchhub.request import EditRequest


class Layout(Protocol):
    """What a module of this package offers."""

    NAME: str
    MARK: str

    def read(self, record: Fields) -> EditRequest:
        """The request in a record of this layout."""
        ...


LAYOUTS: tuple[Layout, ...] = (counterfact, zsre, flattened, native)
"""In the order in which their marks are looked for."""


def read_file(path: Path) -> tuple[EditRequest, ...]:
    """All requests of a file; see `patchhub.request.load_requests`."""
    records = read_records(path)
    requests = tuple(read(record) for record in records)
    if not requests:
        raise InvalidInputError("E130", f"{path}: holds no request", expected="at least one record")
    return requests


def read(record: Fields) -> EditRequest:
    """One request from one record of any known layout.

    Raises:
        InvalidInputError: E131, E132, E133; E135 when no layout fits.
    """
    for layout in LAYOUTS:
        if layout.MARK in record:
            request = layout.read(record)
            record.end()
            return request
    raise record.fail(
        record.where,
        "the record's layout is not known",
        code="E135",
        expected="; ".join(f"{m.NAME} (has {m.MARK!r})" for m in LAYOUTS),
        found="fields " + (", ".join(record.names()[:12]) or "none"),
        hint="the smallest record is prompt and target",
    )
