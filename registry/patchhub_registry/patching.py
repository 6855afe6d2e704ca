"""Patches to be added: each is checked once, then made at whatever head the commit will follow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from patchhub.canonical import Json, sha256
from patchhub.errors import ConflictError, IntegrityError, InvalidInputError
from patchhub.fields import Fields, InFile
from patchhub_registry import lfs, paths
from patchhub_registry.additions import Addition, not_there, statement_files
from patchhub_registry.lfs import Pointer, Source
from patchhub_registry.names import check_name, shown
from patchhub_registry.patches import PatchRecord, check_files, measured
from patchhub_registry.schema import SCHEMA, Record, Statement
from patchhub_registry.store import Store
from patchhub_registry.writer import Draft

if TYPE_CHECKING:
    from patchhub.manifest import Manifest

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class NewPatch:
    """A patch that shall be added.

    Attributes:
        files: The patch directory.
        name: Its name; it becomes the next version of that.
        observed: What goes into its record.
    """

    files: Mapping[str, bytes]
    name: str
    observed: Mapping[str, Json]


def patches(
    wanted: Sequence[NewPatch], said: Sequence[Statement]
) -> Addition[tuple[PatchRecord, ...]]:
    """Add patches with their records and statements: all of them or, where one is refused, none."""
    ready = [_Ready.of(one) for one in wanted]
    files_said = statement_files(said)
    payloads = {pointer: source for one in ready for pointer, source in one.payloads.items()}

    def draft(store: Store) -> tuple[Draft, tuple[PatchRecord, ...]]:
        made: list[PatchRecord] = []
        files: dict[str, bytes] = {}
        for one in ready:
            earlier = [other.id for other in made if other.name == one.name]
            found, record = one.at(store, earlier)
            made.append(found)
            files |= {f"{found.path}/{name}": data for name, data in record.items()}
        words = [f"{one.ref} {one.short}" for one in made] or ["statements"]
        more = f" and {len(words) - 1} more" if words[1:] else ""
        new = not_there(store, files_said)
        return Draft({**files, **new}, f"add {words[0]}{more}\n"), tuple(made)

    return Addition(draft, payloads=payloads)


@dataclass(frozen=True)
class _Ready:
    """A patch whose files are what its manifest says."""

    name: str
    manifest: Manifest
    observed: Mapping[str, Json]
    held: Mapping[str, bytes]
    payloads: Mapping[Pointer, Source]

    @classmethod
    def of(cls, wanted: NewPatch) -> _Ready:
        from patchhub.manifest import Manifest

        check_name(wanted.name)
        if paths.MANIFEST not in wanted.files:
            raise IntegrityError("E117", f"{paths.MANIFEST} is missing")
        for file in wanted.files:
            if _FILE_NAME.fullmatch(file) is None or file == paths.RECORD:
                raise IntegrityError("E117", f"a patch cannot hold a file called {shown(file)}")
        manifest = Manifest.from_bytes(wanted.files[paths.MANIFEST], paths.MANIFEST)
        check_files(manifest, measured(wanted.files), wanted.name)
        return cls(wanted.name, manifest, wanted.observed, *lfs.split(wanted.files))

    def at(self, store: Store, earlier: Sequence[str]) -> tuple[PatchRecord, dict[str, bytes]]:
        """The patch as the next version at a head, after ``earlier`` ones of the same commit."""
        version = _next_version(store, self.name, self.manifest.id, earlier)
        record = _record(self.name, version, self.manifest.id, self.observed)
        _check_base(store, record, self.manifest.base)
        data = record.to_bytes()
        where = paths.patch_dir(self.name, version)
        made = PatchRecord(record, sha256(data), self.manifest, where)
        return made, {**self.held, paths.RECORD: data}


def _record(name: str, version: int, patch_id: str, observed: Mapping[str, Json]) -> Record:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    defaults: dict[str, Json] = {
        "created": now,
        "libraries": {},
        "realised": {},
        "sensitivity": "internal",
        "review_after": None,
        "message": "",
    }
    fixed: dict[str, Json] = {
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "patch": patch_id,
    }
    fail = InFile("record", "E113", InvalidInputError)
    for key in fixed.keys() & observed.keys():
        raise fail((key,), "is given by the registry")
    record = Record.read(Fields({**defaults, **observed, **fixed}, fail))
    if record.sensitivity == "personal":
        raise fail(
            ("sensitivity",),
            "personal cannot be stored: git does not forget",
            expected="public | internal",
        )
    return record


def _next_version(store: Store, name: str, patch_id: str, earlier: Sequence[str]) -> int:
    versions = store.versions(name)
    last = versions[-1] if versions else 0
    if patch_id in earlier:
        number = last + 1 + earlier.index(patch_id)
        raise ConflictError(
            "E108", f"{name}@{number} is this very patch", found=f"ph:{patch_id[:12]}"
        )
    for version in versions:
        there = store.file(f"{paths.patch_dir(name, version)}/{paths.MANIFEST}")
        if there is not None and sha256(there) == patch_id:
            raise ConflictError(
                "E108", f"{name}@{version} is this very patch", found=f"ph:{patch_id[:12]}"
            )
    return last + len(earlier) + 1


def _check_base(store: Store, record: Record, weights: str) -> None:
    known = store.base_weights(record.base)
    if known != weights:
        raise IntegrityError(
            "E201",
            f'the patch was made for another base than "{record.base}"',
            expected=known,
            found=weights,
        )
