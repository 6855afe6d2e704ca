"""A generation that is still there and is what is wanted: shown again, not built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from patchhub.checkpoint.files import list_files, other_files, stamp
from patchhub.checkpoint.place import Place
from patchhub.checkpoint.records import State
from patchhub.identityfile import IDENTITY, StackItem
from patchhub.tensorfile import INDEX


def kept_generation(
    place: Place,
    current: State,
    stack: Sequence[StackItem],
    base: Path,
    base_files: Mapping[str, str],
) -> State | None:
    """The state of the generation before the current one, if a new one would equal it.

    No tensor is read: its files are what they were while device, inode, size and time of change
    are, as for the current generation in every change.

    Args:
        place: The model directory.
        current: Its state.
        stack: What it shall hold, bottom first, with the names to be shown.
        base: The base's directory.
        base_files: Stamps of the base's files of weights, as they are now.

    Returns:
        The state that the switch leads to, or none.
    """
    kept = current.before
    if kept is None or kept.stack != tuple(stack) or kept.base_files != base_files:
        return None
    files = list_files(place.generation(kept.serial))
    marks = {name: mark.stamp for name, mark in kept.files.items()}
    if {name: stamp(path) for name, path in files.items()} != marks:
        return None
    if not _has_files_of(base, kept, set(base_files)):
        return None
    split = tuple(sorted({*kept.split, *current.split}))
    return replace(kept, split=split, before=replace(current, before=None, pending=None))


def _has_files_of(base: Path, kept: State, shards: set[str]) -> bool:
    """Whether configuration, tokenizer and so on are still those of the base."""
    changed = not shards <= kept.files.keys()
    own = {name for name, mark in kept.files.items() if mark.sha256} - {IDENTITY}
    found = other_files(base, shards, drop_weights=changed)
    return found.keys() == own - ({INDEX} if changed else set()) and all(
        kept.files[name].stamp.endswith(f":{stat.st_size}:{stat.st_mtime_ns}")
        for name, stat in ((name, path.stat()) for name, path in found.items())
    )
