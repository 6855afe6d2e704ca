"""The journal of one change of a model directory: how far it got, and what a crash then means.

    phase      on the disk                                          the next command
    prepared   ``gen-N`` may be incomplete                          undoes it
    written    ``gen-N`` is complete; the journal says what it is   asks the ledger, if there is one
    recorded   the same, and the ledger has the record              finishes
    switched   the link shows ``gen-N``; ``state.json`` is behind   finishes
    done       no journal                                           has nothing to do

Only the first two are written here. The third is the ledger's own commit (the registry moves its
branch), the fourth one rename: each is one atomic step, and asking is safer than noting it twice.
A change without a ledger counts from ``written`` on. Every way of settling may be repeated, or be
killed and then repeated.

The order of writes holds when the power fails too, since each line is on the disk (file, then the
directory that names it) before the next one begins:

1. ``prepared``, by rename. Before ``gen-N`` exists, so that no half generation goes unnoticed.
2. The files of ``gen-N``, its directories from the bottom up, then the entry ``gen-N`` itself;
   at the first change also the entry of the store. Nothing may name bytes that could be lost.
3. ``written``, by rename. Before the ledger, which cannot know which directory belongs to a record.
4. The ledger's record: objects, then the branch. Before the link: whoever sees a model can look up
   who approved it.
5. The link, by rename. The only step that a reader of the model sees.
6. ``state.json``, by rename; it can be had from the journal until here.
7. Old generations lose their names, the journal goes; one sync of the store covers both.
8. What lost its name is removed. A generation that is being removed is none any more.

Where the generation before holds what is wanted, 1 and 2 fall away, and undoing leaves it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from patchhub import canonical
from patchhub.checkpoint.place import Place
from patchhub.checkpoint.records import State
from patchhub.durable import replace, sync_directory
from patchhub.identityfile import SCHEMA, open_record

Claim = Mapping[str, str]
"""What a ledger needs in order to say whether it has a record; empty where there is no ledger."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where a change is recorded before anybody sees it; it decides whether the change counts.

    Attributes:
        claim: Names the record to be; empty for a change of the directory alone.
        record: Makes it, in one atomic step; what it raises leaves the directory as it was.
        holds: Whether the record of a claim was made. Asked after a crash, about any claim that a
            ledger of this kind left; it must wait for a `record` that outlived its process.
        fresh: Asked when the directory is locked, before anything is written: raises if what the
            change was planned on has moved since.
    """

    claim: Claim
    record: Callable[[], object]
    holds: Callable[[Claim], bool]
    fresh: Callable[[], None] = lambda: None


class Phase(StrEnum):
    """How far the journal knows a change to be; see the module."""

    PREPARED = "prepared"
    WRITTEN = "written"


@dataclass(frozen=True, slots=True)
class Journal:
    """What is under way.

    Attributes:
        phase: How far it got.
        serial: The generation under way.
        state: The state once it is done; none while it is being written.
        claim: Names the ledger's record; empty when there is no ledger.
    """

    phase: Phase
    serial: int
    state: State | None = None
    claim: Claim = field(default_factory=dict)


def write_journal(place: Place, journal: Journal) -> None:
    """Put the journal on the disk in one step."""
    value: dict[str, canonical.Json] = {
        "schema": SCHEMA,
        "phase": str(journal.phase),
        "serial": journal.serial,
    }
    if journal.state is not None:
        value["state"] = journal.state.to_json()
        value["claim"] = dict(journal.claim)
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
    record = open_record(value, what)
    phase, serial = record.filled("phase"), record.integer("serial", low=1)
    if phase not in list(Phase):
        raise record.error("phase", "is not known", expected=" ".join(Phase), found=phase)
    if phase == Phase.PREPARED:
        record.end()
        return Journal(Phase(phase), serial)
    state = State.from_json(record.value("state", dict, "an object"), what)
    claim = record.inner("claim")
    record.end()
    return Journal(Phase(phase), serial, state, {key: claim.text(key) for key in claim.names()})


def drop_journal(place: Place) -> None:
    """Say that all is settled."""
    place.journal.unlink(missing_ok=True)
    sync_directory(place.store)
