"""What a model directory says of itself. Reads small files only, takes no lock, needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from patchhub import canonical
from patchhub.checkpoint.journal import Claim, Journal, read_journal
from patchhub.checkpoint.place import Place, place_of
from patchhub.checkpoint.records import State
from patchhub.errors import IntegrityError, NotFoundError


def read_state(target: Path, holds: Callable[[Claim], bool] | None = None) -> State:
    """The state of a model directory made by `materialise`.

    Its ``pending`` says whether a crash left a change half done; the next change, or `recover`,
    settles it.

    Args:
        target: The directory.
        holds: Asks the ledger whether it has the record of the change.

    Raises:
        NotFoundError: E109, there is no such directory.
        ConflictError: E308, it is a directory that PatchHub did not make.
        IntegrityError: E206, its files were tampered with.
    """
    place = place_of(target)
    if place.current() is None:
        raise NotFoundError("E109", f"{target}: no such directory")
    state = state_of(place, holds)
    if state is None:
        raise IntegrityError(
            "E206",
            f"{place.state} is missing",
            hint=f"remove {place.link} and {place.store}, and apply again",
        )
    return state


def state_of(place: Place, holds: Callable[[Claim], bool] | None = None) -> State | None:
    """The state that the link shows, or none when the directory never was, or lost its link.

    Raises:
        ConflictError: E308. IntegrityError: E206.
    """
    current = place.current()
    journal = read_journal(place)
    state = last_state(place)
    if journal is not None and journal.state is not None and journal.serial == current:
        # The link was switched; only the state file is behind.
        return replace(journal.state, pending="finish")
    if current is None or state is None:
        return None
    if state.serial != current:
        if place.current() != current:  # switched while we were reading
            return state_of(place, holds)
        raise IntegrityError(
            "E206",
            f"{place.link} was pointed to another generation by hand",
            expected=place.destination(state.serial),
            found=place.destination(current),
            hint="point it back, or remove it and apply again",
        )
    return replace(state, pending=_pending(journal, holds))


def _pending(journal: Journal | None, holds: Callable[[Claim], bool] | None) -> str | None:
    if journal is None:
        return None
    if journal.state is None:
        return "undo"
    if not journal.claim:
        return "finish"
    if holds is None:
        return "ask"
    return "finish" if holds(journal.claim) else "undo"


def last_state(place: Place) -> State | None:
    """What the state file says, whether or not there is a link.

    Raises:
        IntegrityError: E116, E206.
    """
    if not place.state.is_file():
        return None
    what = str(place.state)
    return State.from_json(canonical.loads(place.state.read_bytes(), what=what), what)
