"""The audit: every file of a registry against its form, its digests, its chain and its copies.

Files are read in small batches and payloads in chunks: a registry may be larger than the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from patchhub.errors import IntegrityError
from patchhub_registry import evidence, paths
from patchhub_registry.audit import Audit, Files, Finding
from patchhub_registry.evidence import Problem
from patchhub_registry.git import Git
from patchhub_registry.index import NAME
from patchhub_registry.objects import BATCH, TreeEntry
from patchhub_registry.patches import Row
from patchhub_registry.store import Store

KINDS = ("base", "patch", "statement", "policy", "asset", "assets", "entry")
"""In the order in which they are examined: later checks use what earlier ones found out."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        commit: The commit that was examined.
        counts: How many of each kind (`paths.Place`) were examined.
        findings: What is wrong, by path.
    """

    commit: str
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def require(self) -> None:
        """Pass if nothing is wrong.

        Raises:
            IntegrityError: With the code of the first finding.
        """
        if self.findings:
            first = self.findings[0]
            more = len(self.findings) - 1
            raise IntegrityError(
                first.code,
                first.message,
                hint=f"{more} more findings; patchhub verify lists them" if more else None,
                findings=[(f.code, f.path, f.message) for f in self.findings],
            )


def verify(
    git: Git,
    store: Store,
    *,
    objects: bool,
    history: bool,
    tables: Mapping[str, set[Row]] | None = None,
) -> Report:
    """Examine one commit of a registry.

    Args:
        git: The repository.
        store: Its content at the commit.
        objects: Also let git check every object.
        history: Also look for files that changed after they were written.
        tables: What the index says about the commit, by table.
    """
    audit = Audit(store.payloads)
    entries = _regular(store.walk(), audit)
    audit.attempt(paths.SETTINGS, lambda: audit.settings(store.file))
    _note(audit, evidence.edited(git.root, {paths.SETTINGS: store.file(paths.SETTINGS) or b""}))
    counts = {}
    for kind in KINDS:
        own = [path for path in entries if (paths.place(path) or _NOWHERE).kind == kind]
        counts[kind] = 0
        for group, files in _groups(store, kind, {p: entries[p] for p in own}, audit):
            counts[kind] += 1
            audit.examine(kind, group, files)
            _note(audit, evidence.edited(git.root, files))
    del counts["assets"]
    if tables is not None and not audit.findings and tables != audit.tables:
        words = f"{paths.PRIVATE}/{NAME} says something else than the tree; remove it"
        audit.findings.append(Finding("E204", f"{paths.PRIVATE}/{NAME}", words))
    if history:
        _note(audit, evidence.rewritten(git, store.commit))
    if objects:
        _note(audit, evidence.unsound(git))
    findings = sorted(set(audit.findings), key=lambda f: (f.path, f.code))
    return Report(store.commit, counts, tuple(findings))


_NOWHERE = paths.Place("", ())


def _regular(entries: Mapping[str, TreeEntry], audit: Audit) -> dict[str, TreeEntry]:
    """The registry's own files, in the order of their numbers; what is none of them is noted."""
    found = {}
    for path in sorted(entries, key=_order):
        if path.split("/")[0] not in paths.OWNED:
            continue
        mode = entries[path].mode
        if mode != "100644":
            words = f"{path} has mode {mode}, not 100644"
            audit.findings.append(Finding("E204", path, words))
        elif paths.place(path) is None:
            audit.findings.append(Finding("E204", path, f"{path} is no file of a registry"))
        else:
            found[path] = entries[path]
    return found


def _groups(
    store: Store, kind: str, entries: Mapping[str, TreeEntry], audit: Audit
) -> Iterator[tuple[str, Files]]:
    """Files that are examined together, read as they are asked for."""

    def group(one: tuple[str, bytes]) -> str:
        if kind == "patch":
            return one[0].rpartition("/")[0]
        return one[0].rpartition(".")[0] if kind == "asset" else one[0]

    for where, files in groupby(_contents(store, list(entries.items()), audit), key=group):
        yield where, dict(files)


def _contents(
    store: Store, entries: Sequence[tuple[str, TreeEntry]], audit: Audit
) -> Iterator[tuple[str, bytes]]:
    """Path and content of files; those that git cannot read are noted."""
    done = 0
    while done < len(entries):
        try:
            for one in store.contents(dict(entries[done:])):
                done += 1
                yield one
        except IntegrityError:  # one of a batch: find out which
            for path, entry in entries[done : done + BATCH]:
                done += 1
                yield from _single(store, path, entry, audit)


def _single(store: Store, path: str, entry: TreeEntry, audit: Audit) -> Iterator[tuple[str, bytes]]:
    found: dict[str, bytes] = {}
    audit.attempt(path, lambda: found.update(store.contents({path: entry})))
    yield from found.items()


def _order(path: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(p) if p.isdecimal() else 0, p) for p in path.split("/"))


def _note(audit: Audit, problems: Iterator[Problem]) -> None:
    audit.findings += [Finding(one.code, one.path, one.message) for one in problems]
