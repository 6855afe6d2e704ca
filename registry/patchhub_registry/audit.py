"""What must hold of each kind of file in a registry; `verify` walks over them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from patchhub import canonical
from patchhub.canonical import sha256
from patchhub.errors import IntegrityError, PatchHubError
from patchhub.manifest import FileEntry, Manifest
from patchhub_registry import lfs, paths
from patchhub_registry.asset import Asset
from patchhub_registry.entry import Entry
from patchhub_registry.indexing import entry_row
from patchhub_registry.lfs import Payloads, Pointer
from patchhub_registry.names import check_name
from patchhub_registry.patches import Row, check_files, measured, rows
from patchhub_registry.schema import GUARD, BaseRecord, Record
from patchhub_registry.settings import Settings
from patchhub_registry.stack import StackState, step

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the code of its error, the path, and words for people."""

    code: str
    path: str
    message: str


@dataclass(slots=True)
class Audit:
    """State of one examination: what was found wrong, and what later checks need of earlier ones.

    Attributes:
        payloads: Where large payloads lie.
        findings: What is wrong.
        tables: What the index must hold, by table.
    """

    payloads: Payloads
    findings: list[Finding] = field(default_factory=list)
    tables: dict[str, set[Row]] = field(
        default_factory=lambda: {"patches": set(), "facts": set(), "entries": set()}
    )
    _bases: dict[str, str] = field(default_factory=dict)
    _patches: dict[str, tuple[str, str]] = field(default_factory=dict)
    _guards: dict[str, set[str]] = field(default_factory=dict)
    _stacks: dict[str, StackState | None] = field(default_factory=dict)

    def attempt(self, path: str, check: Callable[[], object]) -> None:
        """Run a check; what it raises becomes a finding."""
        try:
            check()
        except PatchHubError as error:
            details = [f"{k} {v}" for k, v in _details(error) if v]
            self.findings.append(Finding(error.code, path, "; ".join([error.what, *details])))

    def examine(self, kind: str, group: str, files: Files) -> None:
        """Check files that belong together: those of a patch or an asset, or a single one."""
        checks: Mapping[str, Callable[[str, Files], None]] = {
            "base": self._base,
            "patch": self._patch,
            "statement": self._statement,
            "policy": self._policy,
            "asset": self._asset,
            "assets": self._attributes,
            "entry": self._entry,
        }
        where = f"stacks/{group.split('/')[1]}" if kind == "entry" else group
        self.attempt(where, lambda: checks[kind](group, files))

    def settings(self, read: Callable[[str], bytes | None]) -> None:
        """Check the files at the top; a user may add lines to two of them.

        Raises:
            IntegrityError: E114, E204.
        """
        data = read(paths.SETTINGS)
        if data is None:
            raise IntegrityError("E204", f"{paths.SETTINGS} is missing")
        Settings.from_bytes(data)
        for path, wanted in ((lfs.ATTRIBUTES, paths.ATTRIBUTES), (".gitignore", paths.IGNORED)):
            there = (read(path) or b"").splitlines()
            for line in wanted.splitlines():
                if line not in there:
                    raise IntegrityError("E204", f"{path} lacks the line {line.decode()!r}")

    def _base(self, path: str, files: Files) -> None:
        name = check_name(path.split("/")[1], "base")
        base = BaseRecord.from_bytes(files[path], path)
        _same(path, "name", name, base.name)
        self._bases[name] = base.weights

    def _patch(self, where: str, files: Files) -> None:
        by_name = {path.rpartition("/")[2]: data for path, data in files.items()}
        *_, name, version = where.split("/")
        _same(where, "directory", paths.patch_dir(check_name(name), int(version)), where)
        for required in (paths.RECORD, paths.MANIFEST):
            if required not in by_name:
                raise IntegrityError("E117", f"{where}/{required} is missing")
        row, facts = rows(where, by_name)
        data = by_name.pop(paths.RECORD)
        record = Record.from_bytes(data, f"{where}/{paths.RECORD}")
        _same(
            *(f"{where}/{paths.RECORD}", "name@n"),
            *(f"{name}@{version}", f"{record.name}@{record.version}"),
        )
        found = sha256(by_name[paths.MANIFEST])
        manifest = Manifest.from_bytes(by_name.pop(paths.MANIFEST), f"{where}/{paths.MANIFEST}")
        if found != record.patch:
            raise IntegrityError(
                "E202",
                f"{where}/{paths.MANIFEST} is not the manifest that record.json names",
                expected=record.patch,
                found=found,
            )
        self._payload_files(manifest, by_name, where)
        _same(where, "base", manifest.base, self._bases.get(record.base, "no such base"), "E201")
        if int(version) > 1 and f"{name}@{int(version) - 1}" not in self._patches:
            raise IntegrityError(
                "E204", f"{where}: version {int(version) - 1} is missing or damaged"
            )
        self._patches[f"{name}@{version}"] = (record.patch, sha256(data))
        self.tables["patches"].add(row)
        self.tables["facts"].update(facts)

    def _payload_files(self, manifest: Manifest, files: dict[str, bytes], where: str) -> None:
        pointers = lfs.pointers(files)
        attributes = files.pop(lfs.ATTRIBUTES, None)
        _same(
            *(f"{where}/{lfs.ATTRIBUTES}", "content"),
            *(lfs.attributes(pointers) if pointers else None, attributes),
        )
        found = measured(files)
        found |= {name: FileEntry(one.oid, one.size) for name, one in pointers.items()}
        check_files(manifest, found, where)
        for name, pointer in pointers.items():
            self.payloads.check(pointer, f"{where}/{name}")

    def _statement(self, path: str, files: Files) -> None:
        place = paths.place(path)
        if place is None:
            return
        shard, subject, kind, digest = place.parts
        data = files[path]
        _same(path, "directory", subject[:2], shard)
        _same(path, "digest", digest, sha256(data)[:16], "E202")
        body = canonical.loads(data, what=path)
        if kind == GUARD:
            about = body.get("patch") if isinstance(body, Mapping) else None
            _same(path, "patch", subject, about, "E403")
            self._guards.setdefault(subject, set()).add(sha256(data))

    def _policy(self, path: str, files: Files) -> None:
        try:
            tomllib.loads(files[path].decode())
        except ValueError as error:
            raise IntegrityError("E146", f"{path} is not TOML", found=str(error)[:200]) from error

    def _asset(self, where: str, files: Files) -> None:
        data = files.get(f"{where}.json")
        if data is None:
            raise IntegrityError("E204", f"{where}.json is missing")
        digest = where.rpartition("/")[2]
        _same(f"{where}.json", "directory", paths.asset_file(digest), f"{where}.json")
        _same(f"{where}.json", "digest", digest, sha256(data), "E202")
        asset = Asset.from_bytes(data, f"{where}.json")
        pointer = Pointer.read(files.get(f"{where}{lfs.SUFFIX}", b""))
        _same(f"{where}{lfs.SUFFIX}", "pointer", asset.payload, pointer, "E202")
        self.payloads.check(asset.payload, f"{where}{lfs.SUFFIX}")

    def _attributes(self, path: str, files: Files) -> None:
        _same(path, "content", paths.ASSET_ATTRIBUTES, files[path])

    def _entry(self, path: str, files: Files) -> None:
        name = check_name(path.split("/")[1], "stack")
        if self._stacks.get(name, True) is None:
            return  # its chain is broken further below
        before, self._stacks[name] = self._stacks.get(name), None
        entry = Entry.from_bytes(files[path], path)
        _same(path, "path", paths.entry_file(entry.stack, entry.seq), path, "E203")
        after = step(before or StackState.empty(name, entry.base), entry)
        self._check_entry(path, entry)
        self._stacks[name] = after
        self.tables["entries"].add(entry_row(entry, after.head))

    def _check_entry(self, path: str, entry: Entry) -> None:
        if entry.base not in self._bases.values():
            raise IntegrityError("E106", f"{path} names a base that is not here", found=entry.base)
        if entry.patch is None:
            return
        known = self._patches.get(entry.patch.ref)
        if known is None:
            raise IntegrityError(
                "E203", f"{path} names {entry.patch.ref}, which is missing or damaged"
            )
        _same(path, "patch id", known[0], entry.patch.id, "E203")
        _same(path, "record", known[1], entry.record, "E203")
        if entry.guard is not None and entry.guard not in self._guards.get(entry.patch.id, ()):
            raise IntegrityError(
                "E403", f"{path}: the guard's statement is missing or damaged", found=entry.guard
            )


def _same(path: str, what: str, expected: object, found: object, code: str = "E204") -> None:
    if expected != found:
        raise IntegrityError(code, f"{path}: wrong {what}", expected=expected, found=found)


def _details(error: PatchHubError) -> Iterator[tuple[str, str | None]]:
    yield "expected", error.expected
    yield "found", error.found
