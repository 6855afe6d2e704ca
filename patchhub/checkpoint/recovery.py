"""After a crash: finish what counts, undo the rest; and room for new generations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from patchhub import canonical
from patchhub.checkpoint.garbage import Garbage, weigh
from patchhub.checkpoint.journal import Claim, Journal, drop_journal, read_journal
from patchhub.checkpoint.place import Place, place_of
from patchhub.checkpoint.records import State
from patchhub.durable import point_link, remove, replace, sync_directory
from patchhub.errors import ConflictError
from patchhub.lock import locked
from patchhub.oserrors import refusals

LOCK_TIMEOUT = 10.0
WHAT = "the model directory"
KEEP = 2
"""Generations kept: the current one, and the one before for readers that still have it open."""

Holds = Callable[[Claim], bool]
"""See `patchhub.checkpoint.journal.Ledger.holds`."""


def recover(
    target: Path, holds: Holds | None = None, *, lock_timeout: float = LOCK_TIMEOUT
) -> str | None:
    """Settle what a crash left; doing it twice, or being killed in the middle, does no harm.

    Args:
        target: The model directory.
        holds: Asks the ledger whether it has the record of the change.
        lock_timeout: Seconds to wait for whoever is changing it.

    Returns:
        "finished" (the new generation is in place), "undone" (the old one is), or none when there
        was nothing to do.

    Raises:
        ConflictError: E308; E310, only a ledger knows, and there is no ``holds`` to ask it.
        IntegrityError: E206. BusyError: E501, E502. PatchHubError: E704, the disk refused.
    """
    place = place_of(target)
    place.refuse_foreign()
    if not place.store.is_dir():
        return None
    with refusals(), locked(place.lock, lock_timeout, WHAT):
        return settle(place, holds)


def gc(
    target: Path,
    keep: int = KEEP,
    holds: Holds | None = None,
    *,
    dry_run: bool = False,
    lock_timeout: float = LOCK_TIMEOUT,
) -> list[Garbage]:
    """Remove old generations and what a crash left.

    Args:
        target: The model directory.
        keep: Generations to keep, the current one among them; at least one stays.
        holds: As for `recover`.
        dry_run: Only say what would be removed; what a crash left half done stays too.
        lock_timeout: Seconds to wait for whoever is changing it.

    Returns:
        What was, or would be, removed.

    Raises:
        ConflictError: E308, E310. IntegrityError: E206. BusyError: E501, E502.
        PatchHubError: E704, the disk refused.
    """
    place = place_of(target)
    place.refuse_foreign()
    if not place.store.is_dir():
        return []
    with refusals(), locked(place.lock, lock_timeout, WHAT):
        left = [(path, "left by a crash") for path in place.leftovers()]
        if dry_run:
            return weigh([*left, *_named(place, _old(place, keep, read_journal(place)))])
        found = weigh(left)
        settle(place, holds)
        found += weigh(_named(place, _old(place, keep)))
        sweep(place, keep)
    return found


def settle(place: Place, holds: Holds | None = None) -> str | None:
    """`recover` for a caller that holds the lock."""
    for leftover in place.leftovers():
        remove(leftover)
    journal = read_journal(place)
    if journal is None:
        return None
    if journal.state is not None and (
        place.current() == journal.serial or _counts(place, journal, holds)
    ):
        switch(place, journal.state)
        return "finished"
    again = journal.state is not None and journal.state.shown_again
    if place.generation(journal.serial).is_dir() and not again:
        _retire(place, [journal.serial])
        # Power may fail between any two steps: a torn generation must not outlive its journal.
        sync_directory(place.store)
    drop_journal(place)
    _empty(place)
    return "undone"


def switch(place: Place, state: State, keep: int = KEEP) -> None:
    """Make a complete generation the current one: the only step that anybody sees."""
    point_link(place.link, place.destination(state.serial), place.next_link)
    replace(place.state, canonical.dumps(state.to_json()))
    with suppress(OSError):  # old generations are in nobody's way
        _retire(place, _old(place, keep, before=state.before))
    with suppress(OSError):  # all is done; a journal that stays is dropped by the next command
        drop_journal(place)
        _empty(place)


def sweep(place: Place, keep: int) -> None:
    """`gc` for a caller that holds the lock and has settled."""
    _retire(place, _old(place, keep))
    sync_directory(place.store)
    _empty(place)


def _counts(place: Place, journal: Journal, holds: Holds | None) -> bool:
    if not journal.claim:
        return True
    if holds is None:
        raise ConflictError(
            "E310",
            f"{place.link}: a change was cut off, and only its registry knows whether it counts",
            found=", ".join(f"{key} {value}" for key, value in sorted(journal.claim.items())),
            hint="run any patchhub command that changes that registry",
        )
    return holds(journal.claim)


def _old(
    place: Place, keep: int, journal: Journal | None = None, before: State | None = None
) -> list[int]:
    """Generations beyond ``keep``; never the current one or the one a journal is about.

    The first to go are the oldest, and last of all the one that readers may still have open.
    """
    needed = {place.current(), None if journal is None else journal.serial}
    others = [number for number in place.generations() if number not in needed]
    if before is not None:
        others.sort(key=lambda number: (number == before.serial, number))
    return others[: max(0, len(others) + 1 - max(1, keep))]


def _named(place: Place, numbers: list[int]) -> list[tuple[Path, str]]:
    return [(place.generation(number), "old generation") for number in numbers]


def _retire(place: Place, numbers: list[int]) -> None:
    """Take their names from generations: what is removed bit by bit must not pass for whole."""
    for number in numbers:
        place.generation(number).rename(place.retired(number))


def _empty(place: Place) -> None:
    for path in place.all_retired():
        remove(path)
