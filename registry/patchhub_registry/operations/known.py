"""The model directories that stacks of this registry were applied to on this machine.

Each is one small file, written before the directory is first changed: a crash then leaves a trace
on both sides, so that a command finds what is half done without being told where to look.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.canonical import sha256
from patchhub_registry.paths import PRIVATE

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry


def remember(registry: Registry, target: Path) -> None:
    """Note a directory, durably; a note that is there already is young again: `gc` lets it be."""
    from patchhub.checkpoint.place import place_of
    from patchhub.durable import replace, sync_directory

    place = place_of(target)
    place.refuse_foreign()
    name = os.fsencode(place.link)
    note = _directory(registry) / sha256(name)[:32]
    with suppress(FileNotFoundError):
        os.utime(note)
        return
    if not note.parent.is_dir():
        note.parent.mkdir(parents=True, exist_ok=True)
        sync_directory(note.parent.parent)
    replace(note, name)


def known(registry: Registry) -> list[Path]:
    """All of them, sorted; also those that are gone by now."""
    try:
        notes = [note for note in _directory(registry).iterdir() if not note.suffix]
    except FileNotFoundError:
        return []
    return sorted(Path(os.fsdecode(note.read_bytes())) for note in notes)


def forgotten(registry: Registry, grace: float) -> list[Path]:
    """Notes about directories of which nothing is left.

    Args:
        registry: Whose notes.
        grace: Seconds for which a note stays: its directory may be about to be made.
    """
    from patchhub.checkpoint.place import place_of

    gone, before = [], time.time() - grace
    for directory in known(registry):
        place = place_of(directory)
        parent_is_there = place.link.parent.is_dir()  # else perhaps its disk is not mounted
        if parent_is_there and not place.link.is_symlink() and not place.store.exists():
            gone.append(_directory(registry) / sha256(os.fsencode(directory))[:32])
    return [note for note in gone if note.stat().st_mtime <= before]


def _directory(registry: Registry) -> Path:
    return registry.root / PRIVATE / "models"
