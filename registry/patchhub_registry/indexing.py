"""Writing the index: from nothing, or from the one of an older commit and what changed since."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from pathlib import Path

from patchhub import lock
from patchhub.canonical import sha256
from patchhub.errors import BusyError, IntegrityError, PatchHubError
from patchhub_registry import index, paths
from patchhub_registry.entry import Entry
from patchhub_registry.git import Git
from patchhub_registry.index import NAME, SCHEMA, TABLES, Index
from patchhub_registry.objects import TreeEntry
from patchhub_registry.patches import Row, rows
from patchhub_registry.stack import broken_link
from patchhub_registry.store import Store

_WAIT = 20.0
_READ = (paths.RECORD, paths.MANIFEST, paths.REQUESTS)
_AREAS = ("patches", "stacks")


def current(git: Git, store: Store, directory: Path) -> Index:
    """The index of the store's commit: the one that is there, or one that is made now.

    Args:
        git: The repository.
        store: What the registry says at the commit.
        directory: Where the file lies. If it cannot be written, the index is made in memory.
    """
    file = directory / NAME
    found = index.load(file)
    if found is not None and found.commit == store.commit:
        return found
    try:
        with lock.locked(directory / "index.lock", _WAIT, "the index"):
            made = _renewed(git, store, file)
    except (OSError, sqlite3.Error, BusyError):
        made = None
    return _in_memory(store) if made is None else made


def _renewed(git: Git, store: Store, file: Path) -> Index | None:
    """Put a new index in place of the old; we hold its lock, so what a kill left is stale."""
    found = index.load(file)
    if found is not None and found.commit == store.commit:
        return found
    fresh = file.with_name("index.new")
    fresh.unlink(missing_ok=True)
    if found is None or not _advanced(git, store, file, fresh):
        fresh.unlink(missing_ok=True)
        with closing(_opened(fresh)) as database:
            _fill(database, store)
    with fresh.open("rb") as stream:
        os.fsync(stream.fileno())
    fresh.replace(file)
    return index.load(file)


def _in_memory(store: Store) -> Index:
    database = _opened(":memory:")
    _fill(database, store)
    return Index(database)


def _opened(place: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(place, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode = OFF")  # a file that a kill leaves half is thrown away
    database.execute("PRAGMA synchronous = OFF")
    return database


def _fill(database: sqlite3.Connection, store: Store) -> None:
    """Everything, from the tree."""
    database.executescript(TABLES)
    database.execute("BEGIN")
    found = store.walk(*_AREAS)
    _add_patches(database, store, found)
    for name in sorted({path.split("/")[1] for path in found if path.startswith("stacks/")}):
        _add_entries(database, store, name, found)
    _seal(database, store.commit)


def _seal(database: sqlite3.Connection, commit: str) -> None:
    database.execute("DELETE FROM tree")
    database.execute("INSERT INTO tree VALUES (?)", (commit,))
    database.execute("COMMIT")
    database.execute(f"PRAGMA user_version = {SCHEMA}")


def _advanced(git: Git, store: Store, file: Path, fresh: Path) -> bool:
    """Copy an index and bring the copy to the store's commit; whether that was possible."""
    shutil.copyfile(file, fresh)
    with closing(_opened(fresh)) as database:
        try:
            known = Index(database)
            if known.rows("damaged"):
                return False
            changed = list(_changed(git, known.commit, store.commit))
            database.execute("BEGIN")
            for unit, lines in groupby(changed, key=lambda line: _unit(line[1])):
                if not _update(database, store, unit, list(lines)):
                    return False
            _seal(database, store.commit)
        except (sqlite3.Error, TypeError, PatchHubError):  # damaged, or of a commit git has lost
            return False
    return True


def _changed(git: Git, old: str, new: str) -> Iterator[tuple[str, str, TreeEntry]]:
    """Status letter, path and new content of what differs between two commits, by path."""
    output = git.run("diff-tree", "-r", "-z", "--no-renames", old, new, "--", *_AREAS)
    fields = output.decode("utf-8", "surrogateescape").split("\0")
    for facts, path in zip(fields[0::2], fields[1::2], strict=False):
        _, mode, _, oid, status = facts.split(" ")
        yield status, path, TreeEntry(mode, oid)


def _unit(path: str) -> str:
    """What is read as a whole: a patch's directory, a stack."""
    parts = path.split("/")
    return "/".join(parts[:2] if parts[0] == "stacks" else parts[:4])


def _update(
    database: sqlite3.Connection, store: Store, unit: str, lines: list[tuple[str, str, TreeEntry]]
) -> bool:
    """Note what happened to one unit; false where only reading everything again is sure."""
    area, *_, last = unit.split("/")
    found = {path: entry for _, path, entry in lines}
    statuses = {status for status, _, _ in lines}
    if statuses == {"A"}:
        if area == "patches":
            _add_patches(database, store, found)
        else:
            _add_entries(database, store, last, found)
        return True
    if statuses != {"D"} or len(unit.split("/")) != (4 if area == "patches" else 2):
        return False
    if area == "stacks":
        if store.directory(unit):
            return False
        database.execute("DELETE FROM entries WHERE stack = ?", (last,))
    elif last.isdecimal():
        key = (unit.split("/")[2], int(last))
        database.execute("DELETE FROM patches WHERE name = ? AND version = ?", key)
        database.execute("DELETE FROM facts WHERE name = ? AND version = ?", key)
    return True


def _add_patches(
    database: sqlite3.Connection, store: Store, found: Mapping[str, TreeEntry]
) -> None:
    wanted = {p: e for p, e in found.items() if p.startswith("patches/") and _is_read(p)}
    for where, group in groupby(store.contents(wanted), key=lambda one: one[0].rpartition("/")[0]):
        files = {path.rpartition("/")[2]: data for path, data in group}
        try:
            row, facts = rows(where, files)
        except IntegrityError as error:
            _note(database, "patches", where, error)
            continue
        _insert(database, "patches", [row])
        _insert(database, "facts", facts)


def _is_read(path: str) -> bool:
    return path.rpartition("/")[2] in _READ


def _add_entries(
    database: sqlite3.Connection, store: Store, name: str, found: Mapping[str, TreeEntry]
) -> None:
    """Continue a stack; every entry must name the one before."""
    question = "SELECT seq, digest FROM entries WHERE stack = ? ORDER BY seq DESC LIMIT 1"
    seq, head = database.execute(question, (name,)).fetchone() or (0, "")
    own = {p: e for p, e in sorted(found.items()) if p.startswith(f"stacks/{name}/")}
    path = f"stacks/{name}"  # until an entry could be read
    try:
        for path, data in store.contents(own):
            entry = Entry.from_bytes(data, path)
            seq += 1
            if path != paths.entry_file(name, seq) or (entry.stack, entry.seq) != (name, seq):
                raise IntegrityError("E203", f"{path} is not entry {seq} of {name}")
            if (entry.prev or "") != head:
                raise broken_link(entry, head)
            head = sha256(data)
            _insert(database, "entries", [entry_row(entry, head)])
    except IntegrityError as error:
        _note(database, f"stacks/{name}", path, error)


def entry_row(entry: Entry, digest: str) -> Row:
    """One row of the table of entries."""
    return (
        entry.stack,
        entry.seq,
        str(entry.op),
        entry.patch.ref if entry.patch else None,
        entry.patch.id if entry.patch else None,
        None if entry.patch else len(entry.items),
        entry.base,
        entry.composed,
        entry.reason,
        entry.policy,
        entry.guard,
        json.dumps(dict(entry.waivers), sort_keys=True),
        digest,
    )


def _insert(database: sqlite3.Connection, table: str, lines: Iterable[Row]) -> None:
    for line in lines:
        marks = ", ".join("?" * len(line))
        database.execute(f"INSERT INTO {table} VALUES ({marks})", line)


def _note(database: sqlite3.Connection, area: str, path: str, error: PatchHubError) -> None:
    _insert(database, "damaged", [(area, path, error.code, error.what)])
