"""What killed commands leave in a registry besides commits, and payloads that nothing names."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from patchhub_registry.git import Git
from patchhub_registry.lfs import Payloads, Pointer
from patchhub_registry.objects import Objects
from patchhub_registry.paths import PRIVATE

GRACE = 3600.0
"""Seconds: what is older belongs to no command that still runs."""

_OURS = ("tmp/*", "journal/writing")
"""Below ``.patchhub``; made and used only by who holds the registry's lock."""
_AGED = (
    "local.json.*.tmp",
    "models/*.tmp",
    "index.new*",
    "answers/*",
    "moments/*",
    "material/*/*",
)
_TEMPORARY = re.compile(r"\..+|.+\.[0-9]+|.+\.tmp|index\.new.*")
_GIT = ("objects/??/tmp_obj_*", "objects/tmp_objdir-*", "objects/pack/tmp_*", "objects/pack/.tmp-*")
_POINTER_BYTES = 256


def garbage(git: Git, objects: Objects, grace: float = GRACE) -> list[tuple[Path, str]]:
    """Files that no command needs; the caller holds the registry's lock and has settled it.

    Args:
        git: The repository.
        objects: Reader of the same repository.
        grace: Seconds since the last change before a file that another program may be writing
            counts as left behind.

    Returns:
        Paths and what they are.
    """
    private, common = git.root / PRIVATE, git.places[1]
    before = time.time() - grace
    found = dict.fromkeys(_matching(private, _OURS), "left by a crash")
    for path in _matching(private, _AGED):
        if _TEMPORARY.fullmatch(path.name) and _changed(path) <= before:
            found[path] = "left by a crash"
    for path in _matching(common, _GIT):
        if _changed(path) <= before:
            found[path] = "left by git"
    payloads = Payloads(git).directory
    if payloads.resolve().is_relative_to(common.resolve()):  # else other repositories may share it
        for path in _matching(payloads, ("tmp/*",)):
            if _changed(path) <= before:
                found[path] = "left by git"
        for path in _unnamed(git, objects, payloads):
            if _changed(path) <= before:
                found[path] = "payload that nothing names"
    return sorted(found.items())


def _matching(directory: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from directory.glob(pattern)


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:  # whoever wrote it is done
        return float("inf")


def _unnamed(git: Git, objects: Objects, payloads: Path) -> list[Path]:
    """Payloads that no pointer names, in whatever commit, reflog or index."""
    there = {path.name: path for path in payloads.glob("objects/??/??/*") if path.is_file()}
    if not there:
        return []
    everything = ("--all", "--reflog", "--indexed-objects")
    listed = git.run("rev-list", "--objects", "--no-object-names", *everything).split()
    facts = git.run("cat-file", "--batch-check", data=b"\n".join(listed)).decode().splitlines()
    small = [
        name
        for name, kind, size in (line.split() for line in facts if line.count(" ") == 2)
        if kind == "blob" and int(size) < _POINTER_BYTES
    ]
    for item in objects.many(small):
        pointer = None if item is None else Pointer.read(item.data)
        if pointer is not None:
            there.pop(pointer.oid, None)
    return list(there.values())
