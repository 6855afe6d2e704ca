"""What can be added to a registry: each kind of addition says which files it makes at a head."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from patchhub import canonical
from patchhub.canonical import Json, sha256
from patchhub.errors import ConflictError, IntegrityError, InvalidInputError
from patchhub.fields import Fields, InFile
from patchhub_registry import chain, lfs, paths
from patchhub_registry.asset import Asset
from patchhub_registry.entry import Entry
from patchhub_registry.lfs import Pointer, Source
from patchhub_registry.names import check_name, shown
from patchhub_registry.patches import PatchRecord, check_files, measured
from patchhub_registry.schema import GUARD, SCHEMA, BaseRecord, Record, Statement
from patchhub_registry.stack import Change, StackState
from patchhub_registry.store import Store
from patchhub_registry.writer import Draft

Made = TypeVar("Made")

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Addition(Generic[Made]):
    """One commit to be.

    Attributes:
        draft: Makes the files for a head, and what to hand back; called again if the head moved.
        rebase: Whether it may be: what only adds may, what continues a chain may not.
        payloads: What the draft's pointers point to; it is stored before the commit.
    """

    draft: Callable[[Store], tuple[Draft, Made]]
    rebase: bool = True
    payloads: Mapping[Pointer, Source] = field(default_factory=dict)


def base(record: BaseRecord) -> Addition[BaseRecord]:
    """Add a base model."""
    path, data = paths.base_file(record.name), record.to_bytes()
    BaseRecord.from_bytes(data, path)  # what cannot be read back is not written

    def draft(store: Store) -> tuple[Draft, BaseRecord]:
        there = store.file(path)
        if there is None:
            return Draft({path: data}, f"base {record.name}: add\n"), record
        known = BaseRecord.from_bytes(there, path)
        if known.fingerprint != record.fingerprint:
            raise ConflictError(
                "E108",
                f'base name "{record.name}" is taken by another model',
                expected=known.weights,
                found=record.weights,
                hint="add it under another name",
            )
        return Draft({}, ""), known

    return Addition(draft)


def patch(
    files: Mapping[str, bytes],
    name: str,
    observed: Mapping[str, Json],
    said: Sequence[Statement],
) -> Addition[PatchRecord]:
    """Add a patch with its record and statements."""
    from patchhub.manifest import Manifest

    check_name(name)
    if paths.MANIFEST not in files:
        raise IntegrityError("E117", f"{paths.MANIFEST} is missing")
    for file in files:
        if _FILE_NAME.fullmatch(file) is None or file == paths.RECORD:
            raise IntegrityError("E117", f"a patch cannot hold a file called {shown(file)}")
    manifest = Manifest.from_bytes(files[paths.MANIFEST], paths.MANIFEST)
    check_files(manifest, measured(files), name)
    statement_files = _statement_files(said)
    held, payloads = lfs.split(files)

    def draft(store: Store) -> tuple[Draft, PatchRecord]:
        version = _next_version(store, name, manifest.id)
        record = _record(name, version, manifest.id, observed)
        _check_base(store, record, manifest.base)
        data = record.to_bytes()
        where = paths.patch_dir(name, version)
        made = PatchRecord(record, sha256(data), manifest, where)
        added = {f"{where}/{file}": content for file, content in held.items()}
        added[f"{where}/{paths.RECORD}"] = data
        new = _not_there(store, statement_files)
        return Draft({**added, **new}, f"add {made.ref} {made.short}\n"), made

    return Addition(draft, payloads=payloads)


def asset(wanted: Asset, payload: Source) -> Addition[Asset]:
    """Add an asset."""
    data = wanted.to_bytes()
    Asset.from_bytes(data)  # what cannot be read back is not written
    files = {
        paths.asset_file(wanted.digest): data,
        paths.asset_file(wanted.digest, lfs.SUFFIX): wanted.payload.to_bytes(),
        f"assets/{lfs.ATTRIBUTES}": paths.ASSET_ATTRIBUTES,
    }

    def draft(store: Store) -> tuple[Draft, Asset]:
        return Draft(_not_there(store, files), f"asset {wanted.digest[:12]}: add\n"), wanted

    return Addition(draft, payloads={wanted.payload: payload})


def statements(said: Sequence[Statement]) -> Addition[None]:
    """Add statements about digests."""
    files = _statement_files(said)

    def draft(store: Store) -> tuple[Draft, None]:
        about = ", ".join(sorted({f"{one.type} of {one.subject[:12]}" for one in said}))
        return Draft(_not_there(store, files), f"statement: {about}\n"), None

    return Addition(draft)


def policy(data: bytes) -> Addition[int]:
    """Add the next version of the policy."""
    try:
        tomllib.loads(data.decode())
    except ValueError as error:
        raise InvalidInputError("E146", "the policy is not TOML", found=str(error)[:200]) from error

    def draft(store: Store) -> tuple[Draft, int]:
        known = store.policies()
        if known and store.policy(known[-1]) == data:
            return Draft({}, ""), known[-1]
        number = known[-1] + 1 if known else 1
        return Draft({paths.policy_file(number): data}, f"policy {number}\n"), number

    return Addition(draft)


def entries(
    expected: StackState,
    changes: Sequence[Change],
    said: Sequence[Statement],
    policy: int | None = None,
) -> Addition[StackState]:
    """Continue a stack's chain; refused if stack or policy are no longer what the caller saw."""
    statement_files = _statement_files(said)

    def draft(store: Store) -> tuple[Draft, StackState]:
        _check_fresh(store, expected)
        if policy is not None:
            _check_policy(store, policy)
        made, after = chain.continued(store, expected, changes)
        for entry in made:
            _check_guard(store, entry, said)
        files = {paths.entry_file(e.stack, e.seq): e.to_bytes() for e in made}
        if not made:
            return Draft({}, ""), after
        return Draft({**files, **_not_there(store, statement_files)}, _message(made)), after

    return Addition(draft, rebase=False)


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


def _next_version(store: Store, name: str, patch_id: str) -> int:
    versions = store.versions(name)
    for version in versions:
        there = store.file(f"{paths.patch_dir(name, version)}/{paths.MANIFEST}")
        if there is not None and sha256(there) == patch_id:
            raise ConflictError(
                "E108", f"{name}@{version} is this very patch", found=f"ph:{patch_id[:12]}"
            )
    return versions[-1] + 1 if versions else 1


def _check_base(store: Store, record: Record, weights: str) -> None:
    known = store.base_weights(record.base)
    if known != weights:
        raise IntegrityError(
            "E201",
            f'the patch was made for another base than "{record.base}"',
            expected=known,
            found=weights,
        )


def _statement_files(said: Sequence[Statement]) -> dict[str, bytes]:
    files = {}
    for one in said:
        canonical.loads(one.data, what=f"{one.type} statement")
        files[paths.statement_file(one.subject, one.type, one.digest)] = one.data
    return files


def _not_there(store: Store, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if store.file(path) != data}


def _check_fresh(store: Store, expected: StackState) -> None:
    name = expected.name
    exists = name in chain.names(store)
    current = chain.state(store, name) if exists else StackState.empty(name, expected.base)
    if current.head == expected.head and current.base == expected.base:
        return
    since = chain.entries(store, name, expected.seq + 1) if exists else []
    listed = "; ".join(f"{e.seq} {e.op} {e.patch.ref if e.patch else ''}".strip() for e in since)
    raise ConflictError(
        "E304",
        f"the plan is stale: made at {name}@{expected.seq}, now at {name}@{current.seq}",
        found=f"since then {listed}" if listed else None,
        hint="run it again on the stack as it is now",
        expected_seq=expected.seq,
        found_seq=current.seq,
    )


def _check_policy(store: Store, judged_by: int) -> None:
    newest = max(store.policies(), default=0)
    if newest != judged_by:
        raise ConflictError(
            "E304",
            f"the plan is stale: judged by policy {judged_by}, now policy {newest} is in force",
            hint="run it again: the evidence is judged by the new policy",
        )


def _check_guard(store: Store, entry: Entry, said: Sequence[Statement]) -> None:
    if entry.guard is None or entry.patch is None:
        return
    about = [one for one in said if one.subject == entry.patch.id]
    known = {one.digest for one in (*about, *store.statements(entry.patch.id)) if one.type == GUARD}
    if entry.guard not in known:
        raise IntegrityError(
            "E403",
            f"there is no such guard statement about {entry.patch.ref}",
            expected=", ".join(sorted(known)) or "none is stored",
            found=entry.guard,
        )


def _message(made: Sequence[Entry]) -> str:
    words = [f"{e.op} {e.patch.ref}" for e in made if e.patch]
    more = f" and {len(words) - 1} more" if words[1:] else ""
    last = made[-1]
    return f"stack {last.stack}: {words[0]}{more} ({last.stack}@{last.seq})\n"
