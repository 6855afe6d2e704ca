"""The journal of one change of a model directory: how far it got."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from patchhub import canonical
from patchhub.checkpoint.durable import replace, sync_directory
from patchhub.checkpoint.place import Place
from patchhub.checkpoint.records import SCHEMA, State
from patchhub.errors import IntegrityError
from patchhub.fields import Fields, InFile


class Phase(StrEnum):
    """What a crash in this phase means for the generation under way."""

    PREPARED = "prepared"
    """It may be incomplete: undo."""
    WRITTEN = "written"
    """It is complete, but nobody has said yet that it shall count: undo."""
    COMMITTED = "committed"
    """It counts: finish."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What is under way.

    Attributes:
        phase: How far it got.
        serial: The generation under way.
        state: The state once it is done; none while it is being written.
    """

    phase: Phase
    serial: int
    state: State | None = None


def write_journal(place: Place, journal: Journal) -> None:
    """Put the journal on the disk in one step."""
    value: dict[str, canonical.Json] = {
        "schema": SCHEMA,
        "phase": str(journal.phase),
        "serial": journal.serial,
    }
    if journal.state is not None:
        value["state"] = journal.state.to_json()
    replace(place.journal, canonical.dumps(value))


def read_journal(place: Place) -> Journal | None:
    """The journal, or none when all is settled.

    Raises:
        IntegrityError: E116, E206, it cannot be understood.
    """
    if not place.journal.is_file():
        return None
    what = str(place.journal)
    value = canonical.loads(place.journal.read_bytes(), what=what)
    record = Fields(value, InFile(what, "E206", IntegrityError))
    record.integer("schema")
    phase, serial = record.filled("phase"), record.integer("serial", low=1)
    if phase not in list(Phase):
        raise record.error("phase", "is not known", expected=" ".join(Phase), found=phase)
    state = None
    if phase != Phase.PREPARED:
        state = State.from_json(record.value("state", dict, "an object"), what)
    record.end()
    return Journal(Phase(phase), serial, state)


def drop_journal(place: Place) -> None:
    """Say that all is settled."""
    place.journal.unlink(missing_ok=True)
    sync_directory(place.store)
