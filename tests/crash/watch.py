"""What happens in a directory tree, seen from outside: the first write, and a journal's phase."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable
from pathlib import Path

from patchhub.checkpoint.journal import read_journal
from patchhub.checkpoint.place import Place, place_of
from patchhub_registry import Registry
from patchhub_registry.journal import pending, read
from patchhub_registry.operations.ledger import holds
from tests.crash.world import World

PHASES = (
    "drafting",
    "begun",
    "moved",
    "prepared",
    "written",
    "recorded",
    "switched",
    "sweeping",
)
"""Of the registry's journal (three), of the directory's (four), of the removal of generations."""
AIMED = {
    "drafting": ("add",),
    "begun": ("add", "edit"),
    "moved": ("add", "edit"),
    "prepared": ("apply", "revert", "first"),
    "written": ("apply", "revert", "first"),
    "recorded": ("apply", "revert", "first"),
    "switched": ("apply", "revert", "first"),
    "sweeping": ("gc",),
}
"""Commands that pass through a phase."""

_CHANGES = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200  # modify, attrib, moves, create, delete


class FirstWrite:
    """Waits for the first change anywhere in a tree (inotify)."""

    def __init__(self, top: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_CLOEXEC)
        for folder, _, _ in os.walk(top):
            if libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _CHANGES) < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def wait(self, seconds: float) -> bool:
        """Whether something changed in time."""
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


def phases(world: World) -> set[str]:
    """Where a command that was killed had got to; of two journals each says its own."""
    with Registry(world.root) as registry:
        found = set(filter(None, (_of_directory(registry, place_of(m)) for m in world.models)))
        left = pending(world.root / ".patchhub/journal")
        if left:
            intent = read(left[0])
            found.add("moved" if intent is not None and registry.head == intent.new else "begun")
        elif (world.root / ".patchhub/tmp").exists():
            found.add("drafting")
    return found


def _of_directory(registry: Registry, place: Place) -> str | None:
    journal = read_journal(place)
    if journal is None:
        return "sweeping" if place.store.is_dir() and place.all_retired() else None
    if journal.state is None:
        return "prepared"
    if place.current() == journal.serial:
        return "switched"
    return "recorded" if holds(registry, journal.claim, wait=False) else "written"


def await_phase(world: World, phase: str, alive: Callable[[], bool]) -> None:
    """Return when a running command enters a phase, or ended without."""
    seen = _sign(world, phase)
    while not seen() and alive():
        time.sleep(0)


def _sign(world: World, phase: str) -> Callable[[], bool]:
    """Something cheap that is true from the phase's first moment on."""
    private = world.root / ".patchhub"
    branch = world.root / ".git/refs/heads/main"
    before = branch.read_bytes()
    links = [m.readlink() if m.is_symlink() else None for m in world.models]
    places = [place_of(m) for m in world.models]
    signs: dict[str, Callable[[], bool]] = {
        "drafting": (private / "tmp").exists,
        "begun": lambda: bool(pending(private / "journal")),
        "moved": lambda: _content(branch) not in (b"", before),
        "recorded": lambda: _content(branch) not in (b"", before),
        "prepared": lambda: any(place.journal.exists() for place in places),
        "written": lambda: any(b'"written"' in _content(place.journal) for place in places),
        "switched": lambda: (
            [m.readlink() if m.is_symlink() else None for m in world.models] != links
        ),
        "sweeping": lambda: any(p.store.is_dir() and p.all_retired() for p in places),
    }
    return signs[phase]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
