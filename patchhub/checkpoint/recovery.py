"""After a crash: finish what counts, undo the rest; and room for new generations."""

from __future__ import annotations

from pathlib import Path

from patchhub import canonical
from patchhub.checkpoint.durable import point_link, remove, replace, sync_directory
from patchhub.checkpoint.journal import Phase, drop_journal, read_journal
from patchhub.checkpoint.place import Place, place_of
from patchhub.checkpoint.records import State
from patchhub.lock import locked

LOCK_TIMEOUT = 10.0
WHAT = "the model directory"


def recover(target: Path, *, lock_timeout: float = LOCK_TIMEOUT) -> str | None:
    """Settle what a crash left; doing it twice, or being killed in the middle, does no harm.

    Args:
        target: The model directory.
        lock_timeout: Seconds to wait for whoever is changing it.

    Returns:
        "finished" (the new generation is in place), "undone" (the old one is), or none when there
        was nothing to do.

    Raises:
        ConflictError: E308. IntegrityError: E206. BusyError: E501, E502.
    """
    place = place_of(target)
    place.refuse_foreign()
    if not place.store.is_dir():
        return None
    with locked(place.lock, lock_timeout, WHAT):
        return settle(place)


def gc(target: Path, keep: int = 2, *, lock_timeout: float = LOCK_TIMEOUT) -> list[int]:
    """Remove old generations.

    Args:
        target: The model directory.
        keep: How many to keep, the current one among them; at least one stays.
        lock_timeout: Seconds to wait for whoever is changing it.

    Returns:
        The numbers of those removed.

    Raises:
        ConflictError: E308. IntegrityError: E206. BusyError: E501, E502.
    """
    place = place_of(target)
    place.refuse_foreign()
    if not place.store.is_dir():
        return []
    with locked(place.lock, lock_timeout, WHAT):
        settle(place)
        return sweep(place, keep)


def settle(place: Place) -> str | None:
    """`recover` for a caller that holds the lock."""
    for leftover in (place.next_link, *place.store.glob("*.tmp")):
        remove(leftover)
    journal = read_journal(place)
    if journal is None:
        return None
    switched = place.current() == journal.serial
    if journal.state is not None and (switched or journal.phase is Phase.COMMITTED):
        switch(place, journal.state)
        return "finished"
    remove(place.generation(journal.serial))
    drop_journal(place)
    return "undone"


def switch(place: Place, state: State) -> None:
    """Make a complete generation the current one: the only step that anybody sees."""
    point_link(place.link, place.destination(state.serial), place.next_link)
    replace(place.state, canonical.dumps(state.to_json()))
    drop_journal(place)


def sweep(place: Place, keep: int) -> list[int]:
    """`gc` for a caller that holds the lock and has settled."""
    current = place.current()
    others = [number for number in place.generations() if number != current]
    removed = others[: max(0, len(others) + 1 - max(1, keep))]
    for number in removed:
        remove(place.generation(number))
    if removed:
        sync_directory(place.store)
    return removed
