"""The model directories that stacks of this registry were applied to on this machine.

Each is one small file, written before the directory is first changed: a crash then leaves a trace
on both sides, so that a command finds what is half done without being told where to look.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.canonical import sha256
from patchhub_registry.paths import PRIVATE

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry


def remember(registry: Registry, target: Path) -> None:
    """Note a directory, durably; nothing is written if it is noted already."""
    from patchhub.checkpoint.durable import replace, sync_directory
    from patchhub.checkpoint.place import place_of

    place = place_of(target)
    place.refuse_foreign()
    name = os.fsencode(place.link)
    note = _directory(registry) / sha256(name)[:32]
    if note.is_file():
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


def forgotten(registry: Registry) -> list[Path]:
    """Notes about directories of which nothing is left."""
    from patchhub.checkpoint.place import place_of

    gone = []
    for directory in known(registry):
        place = place_of(directory)
        parent_is_there = place.link.parent.is_dir()  # else perhaps its disk is not mounted
        if parent_is_there and not place.link.is_symlink() and not place.store.exists():
            gone.append(_directory(registry) / sha256(os.fsencode(directory))[:32])
    return gone


def _directory(registry: Registry) -> Path:
    return registry.root / PRIVATE / "models"
