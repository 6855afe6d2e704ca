"""The audit: every file of a registry against its form, its digests and its chain."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from patchhub import canonical
from patchhub.canonical import sha256
from patchhub.errors import IntegrityError, PatchHubError
from patchhub_registry import evidence, paths
from patchhub_registry.additions import GUARD
from patchhub_registry.entry import Entry
from patchhub_registry.git import Git
from patchhub_registry.names import check_name
from patchhub_registry.objects import TreeEntry
from patchhub_registry.patches import check_files
from patchhub_registry.schema import BaseRecord, Record
from patchhub_registry.settings import Settings
from patchhub_registry.stack import StackState, step
from patchhub_registry.store import Store

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the code of its error, the path, and words for people."""

    code: str
    path: str
    message: str


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


@dataclass(slots=True)
class _Audit:
    """State of one examination."""

    files: Files
    findings: list[Finding] = field(default_factory=list)
    bases: dict[str, str] = field(default_factory=dict)
    patches: dict[str, tuple[str, str]] = field(default_factory=dict)
    guards: dict[str, set[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def attempt(self, path: str, check: Callable[[], None]) -> None:
        try:
            check()
        except PatchHubError as error:
            details = [f"{k} {v}" for k, v in _details(error) if v]
            words = "; ".join([error.what, *details])
            self.findings.append(Finding(error.code, path, words))


def verify(git: Git, store: Store, *, objects: bool, history: bool) -> Report:
    """Examine one commit of a registry.

    Args:
        git: The repository.
        store: Its content at the commit.
        objects: Also let git check every object.
        history: Also look for files that changed after they were written.
    """
    audit = _Audit({})
    entries = store.walk()
    owned = {p: e for p, e in entries.items() if p.split("/")[0] in paths.OWNED}
    wrong = {p: e.mode for p, e in owned.items() if e.mode != "100644"}
    for path, mode in wrong.items():
        audit.findings.append(Finding("E204", path, f"{path} has mode {mode}, not 100644"))
    readable = {p: e for p, e in owned.items() if p not in wrong}
    audit.files = _contents(store, readable, audit)
    audit.attempt(paths.SETTINGS, lambda: _settings(store))
    for kind, check in _CHECKS.items():
        groups = _groups(audit.files, kind)
        audit.counts[kind] = len(groups) if kind == "patch" else sum(map(len, groups.values()))
        for group, members in groups.items():
            audit.attempt(group, lambda c=check, m=members: c(audit, m))  # type: ignore[misc]
    for path in audit.files:
        if paths.place(path) is None:
            audit.findings.append(Finding("E204", path, f"{path} is no file of a registry"))
    audit.findings += map(_finding, evidence.edited(git.root, audit.files))
    if history:
        audit.findings += map(_finding, evidence.rewritten(git, store.commit))
    if objects:
        audit.findings += map(_finding, evidence.unsound(git))
    findings = sorted(set(audit.findings), key=lambda f: (f.path, f.code))
    return Report(store.commit, audit.counts, tuple(findings))


def _contents(store: Store, entries: Mapping[str, TreeEntry], audit: _Audit) -> Files:
    try:
        return dict(store.contents(entries))
    except IntegrityError:  # one of them ends the bulk reading: find out which
        found: dict[str, bytes] = {}
        for path, entry in entries.items():
            audit.attempt(path, lambda p=path, e=entry: found.update(store.contents({p: e})))  # type: ignore[misc]
        return found


def _settings(store: Store) -> None:
    data = store.file(paths.SETTINGS)
    if data is None:
        raise IntegrityError("E204", f"{paths.SETTINGS} is missing")
    Settings.from_bytes(data)


def _base(audit: _Audit, files: Files) -> None:
    for path, data in files.items():
        name = check_name(path.split("/")[1], "base")
        base = BaseRecord.from_bytes(data, path)
        _same(path, "name", name, base.name)
        audit.bases[name] = base.weights


def _patch(audit: _Audit, files: Files) -> None:
    from patchhub.manifest import Manifest

    by_name = {path.rpartition("/")[2]: data for path, data in files.items()}
    where = next(iter(files)).rpartition("/")[0]
    *_, name, version = where.split("/")
    _same(where, "directory", paths.patch_dir(check_name(name), int(version)), where)
    for required in (paths.RECORD, paths.MANIFEST):
        if required not in by_name:
            raise IntegrityError("E117", f"{where}/{required} is missing")
    data = by_name.pop(paths.RECORD)
    record = Record.from_bytes(data, f"{where}/{paths.RECORD}")
    _same(
        f"{where}/{paths.RECORD}", "name@n", f"{name}@{version}", f"{record.name}@{record.version}"
    )
    manifest = Manifest.from_bytes(by_name[paths.MANIFEST], f"{where}/{paths.MANIFEST}")
    if sha256(by_name[paths.MANIFEST]) != record.patch:
        raise IntegrityError(
            "E202",
            f"{where}/{paths.MANIFEST} is not the manifest that record.json names",
            expected=record.patch,
            found=sha256(by_name[paths.MANIFEST]),
        )
    check_files(manifest, by_name, where)
    if audit.bases.get(record.base) != manifest.base:
        raise IntegrityError(
            "E201",
            f"{where}: base {record.base} is not what the patch was made for",
            expected=manifest.base,
            found=audit.bases.get(record.base, "no such base"),
        )
    if int(version) > 1 and f"{name}@{int(version) - 1}" not in audit.patches:
        raise IntegrityError("E204", f"{where}: version {int(version) - 1} is missing or damaged")
    audit.patches[f"{name}@{version}"] = (record.patch, sha256(data))


def _statement(audit: _Audit, files: Files) -> None:
    for path, data in files.items():
        place = paths.place(path)
        if place is None:
            continue
        shard, subject, kind, digest = place.parts
        _same(path, "directory", subject[:2], shard)
        _same(path, "digest", digest, sha256(data)[:16], "E202")
        body = canonical.loads(data, what=path)
        if kind == GUARD:
            about = body.get("patch") if isinstance(body, Mapping) else None
            _same(path, "patch", subject, about, "E403")
            audit.guards.setdefault(subject, set()).add(sha256(data))


def _policy(audit: _Audit, files: Files) -> None:
    for path, data in files.items():
        try:
            tomllib.loads(data.decode())
        except ValueError as error:
            raise IntegrityError("E146", f"{path} is not TOML", found=str(error)[:200]) from error


def _chain(audit: _Audit, files: Files) -> None:
    current: StackState | None = None
    for path in sorted(files):
        name = check_name(path.split("/")[1], "stack")
        entry = Entry.from_bytes(files[path], path)
        _same(path, "path", paths.entry_file(entry.stack, entry.seq), path, "E203")
        current = step(current or StackState.empty(name, entry.base), entry)
        _check_entry(audit, path, entry)


def _check_entry(audit: _Audit, path: str, entry: Entry) -> None:
    if entry.base not in audit.bases.values():
        raise IntegrityError("E106", f"{path} names a base that is not here", found=entry.base)
    if entry.patch is None:
        return
    known = audit.patches.get(entry.patch.ref)
    if known is None:
        raise IntegrityError("E203", f"{path} names {entry.patch.ref}, which is missing or damaged")
    _same(path, "patch id", known[0], entry.patch.id, "E203")
    _same(path, "record", known[1], entry.record, "E203")
    if entry.guard is not None and entry.guard not in audit.guards.get(entry.patch.id, ()):
        raise IntegrityError(
            "E403", f"{path}: the guard's statement is missing or damaged", found=entry.guard
        )


# Later checks use what earlier ones found out.
_CHECKS: Mapping[str, Callable[[_Audit, Files], None]] = {
    "base": _base,
    "patch": _patch,
    "statement": _statement,
    "policy": _policy,
    "entry": _chain,
}


def _groups(files: Files, kind: str) -> dict[str, dict[str, bytes]]:
    """Files of one kind that are examined together: a patch's directory, a whole stack."""
    groups: dict[str, dict[str, bytes]] = {}
    for path in sorted(files, key=_order):
        place = paths.place(path)
        if place is not None and place.kind == kind:
            group = path
            if kind == "patch":
                group = path.rpartition("/")[0]
            elif kind == "entry":
                group = f"stacks/{place.parts[0]}"
            groups.setdefault(group, {})[path] = files[path]
    return groups


def _order(path: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(p) if p.isdecimal() else 0, p) for p in path.split("/"))


def _same(path: str, what: str, expected: object, found: object, code: str = "E204") -> None:
    if expected != found:
        raise IntegrityError(code, f"{path}: wrong {what}", expected=expected, found=found)


def _details(error: PatchHubError) -> Iterator[tuple[str, str | None]]:
    yield "expected", error.expected
    yield "found", error.found


def _finding(problem: evidence.Problem) -> Finding:
    return Finding(problem.code, problem.path, problem.message)
