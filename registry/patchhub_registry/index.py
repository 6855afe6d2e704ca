"""Questions about a whole registry, answered from a disposable SQLite file.

The file is never the truth: it repeats what the tree of one commit says, and names that commit. It
is never changed either: `patchhub_registry.indexing` writes a new one and puts it in the place of
the old by one rename, so that readers need no lock, and a kill leaves the old file or the new one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from patchhub.errors import IntegrityError
from patchhub_registry.patches import PatchSummary, Row

NAME = "index.sqlite"
SCHEMA = 1
TABLES = """
CREATE TABLE tree (commit_id TEXT NOT NULL);
CREATE TABLE damaged (area TEXT, path TEXT, code TEXT, what TEXT);
CREATE TABLE patches (
  name TEXT, version INTEGER, id TEXT, base TEXT, kind TEXT, method TEXT, sites TEXT, created TEXT,
  sensitivity TEXT, review_after TEXT, message TEXT, PRIMARY KEY (name, version)) WITHOUT ROWID;
CREATE INDEX patches_by_id ON patches (id);
CREATE TABLE facts (
  name TEXT, version INTEGER, line INTEGER, subject TEXT, relation TEXT, prompt TEXT, target TEXT,
  folded TEXT, PRIMARY KEY (name, version, line)) WITHOUT ROWID;
CREATE INDEX facts_by_subject ON facts (folded);
CREATE TABLE entries (
  stack TEXT, seq INTEGER, op TEXT, ref TEXT, id TEXT, held INTEGER, base TEXT, composed TEXT,
  reason TEXT, policy TEXT, guard TEXT, waivers TEXT, digest TEXT,
  PRIMARY KEY (stack, seq)) WITHOUT ROWID;
"""


class Fact(NamedTuple):
    """One request of a stored patch: what it says about what.

    Attributes:
        ref: ``name@n`` of the patch.
        id: Its patch id.
        line: Which of its requests, from 0.
        subject: Empty where the request names none.
        relation: Likewise.
        prompt: The request's prompt.
        target: What shall follow it.
    """

    ref: str
    id: str
    line: int
    subject: str
    relation: str
    prompt: str
    target: str


class LogLine(NamedTuple):
    """One entry of a stack, for a listing; its link to the entry before was checked.

    Attributes:
        stack: Name of the stack.
        seq: Its number.
        op: What happened.
        ref: The patch, ``name@n``; None for a checkpoint.
        id: Its patch id; None for a checkpoint.
        held: For a checkpoint, how many patches it lists.
        base: Digest of the base's weights.
        composed: Identity of the composed model.
        reason: Short code.
        policy: Digest of the policy.
        guard: Digest of the guard's statement.
        waivers: Waived checks with the reasons.
        digest: SHA-256 of the entry's file.
    """

    stack: str
    seq: int
    op: str
    ref: str | None
    id: str | None
    held: int | None
    base: str
    composed: str
    reason: str
    policy: str | None
    guard: str | None
    waivers: Mapping[str, str]
    digest: str


class Index:
    """What a registry says at one commit, in tables.

    Args:
        database: Tables of `TABLES`, filled.

    Raises:
        sqlite3.DatabaseError: Also by every question: the file is damaged; make another.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.commit: str = database.execute("SELECT commit_id FROM tree").fetchone()[0]

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    def count(self) -> int:
        """How many patches there are."""
        self._sound("patches")
        found: int = self._database.execute("SELECT count(*) FROM patches").fetchone()[0]
        return found

    def patches(self) -> list[PatchSummary]:
        """All patches, by name and version.

        Raises:
            IntegrityError: E204, a record or manifest cannot be read.
        """
        self._sound("patches")
        rows = self._database.execute("SELECT * FROM patches ORDER BY name, version")
        return [PatchSummary._make((*row[:6], tuple(row[6].split("\n")), *row[7:])) for row in rows]

    def by_id(self, prefix: str) -> list[tuple[str, str, int]]:
        """Id, name and version of the patches whose id begins with hex digits; by name and version.

        Raises:
            IntegrityError: E204.
        """
        self._sound("patches")
        question = (
            "SELECT id, name, version FROM patches WHERE id >= ? AND id < ? ORDER BY name, version"
        )
        return list(self._database.execute(question, (prefix, f"{prefix}g")))

    def facts(
        self,
        subject: str = "",
        *,
        exact: bool = False,
        relation: str | None = None,
        target: str | None = None,
        words: str = "",
    ) -> list[Fact]:
        """Requests that speak about something; upper and lower case count as the same.

        Args:
            subject: The subject, or a part of it.
            exact: Whether ``subject`` is the whole subject.
            relation: The relation, whole.
            target: The target, whole.
            words: A part of the prompt.

        Raises:
            IntegrityError: E204.
        """
        self._sound("patches")
        wanted = subject.casefold()
        where = "f.folded = ?" if exact else "instr(f.folded, ?) > 0 OR ? = ''"
        rows = self._database.execute(
            "SELECT p.name || '@' || p.version, p.id, f.line, f.subject, f.relation, f.prompt,"
            f" f.target FROM facts f JOIN patches p USING (name, version) WHERE {where}"
            " ORDER BY f.name, f.version, f.line",
            (wanted,) if exact else (wanted, wanted),
        )
        tests = [(4, relation), (6, target)]
        sharp = [(i, text.casefold()) for i, text in tests if text is not None]
        part = words.casefold()
        return [
            Fact(*row)
            for row in rows
            if all(row[i].casefold() == text for i, text in sharp) and part in row[5].casefold()
        ]

    def log(
        self, stack: str | None = None, *, limit: int | None = None, before: int | None = None
    ) -> list[LogLine]:
        """Entries, by stack, oldest first.

        Args:
            stack: One stack, or None for all.
            limit: At most so many, the newest.
            before: Only entries with a smaller number.

        Raises:
            IntegrityError: E203 and others: the chain of such a stack is damaged.
        """
        self._sound("stacks" if stack is None else f"stacks/{stack}")
        question = "SELECT * FROM entries WHERE (? IS NULL OR stack = ?) AND (? IS NULL OR seq < ?)"
        question += " ORDER BY stack DESC, seq DESC LIMIT ?"
        values = (stack, stack, before, before, -1 if limit is None else limit)
        rows = self._database.execute(question, values).fetchall()
        return [LogLine._make((*row[:11], _waivers(row[11]), row[12])) for row in reversed(rows)]

    def heads(self) -> list[LogLine]:
        """The newest entry of each stack, by name.

        Raises:
            IntegrityError: As `log`.
        """
        self._sound("stacks")
        names = self._database.execute("SELECT DISTINCT stack FROM entries ORDER BY stack")
        return [line for (name,) in names.fetchall() for line in self.log(name, limit=1)]

    def rows(self, table: str) -> set[Row]:
        """Everything a table of `TABLES` holds, for `verify`."""
        return set(self._database.execute(f"SELECT * FROM {table}"))

    def _sound(self, area: str) -> None:
        question = "SELECT code, path, what FROM damaged WHERE area = ? OR area LIKE ? || '/%'"
        bad = self._database.execute(f"{question} ORDER BY path", (area, area)).fetchone()
        if bad is not None:
            raise IntegrityError(bad[0], bad[2], hint="patchhub verify says more", path=bad[1])


def load(file: Path) -> Index | None:
    """The index in a file; None if there is none that can be used."""
    try:
        place = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        database = sqlite3.connect(place, uri=True, check_same_thread=False)
    except sqlite3.Error:
        return None
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
            return Index(database)
    except (sqlite3.Error, TypeError):  # no database, or none of ours
        pass
    database.close()
    return None


def _waivers(text: str) -> Mapping[str, str]:
    found: dict[str, str] = json.loads(text) if text != "{}" else {}
    return found
