"""What can be added to a registry: each kind of addition says which files it makes at a head.

Patches are in `patchhub_registry.patching`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from patchhub import canonical
from patchhub.errors import ConflictError, IntegrityError, InvalidInputError
from patchhub_registry import chain, lfs, paths
from patchhub_registry.asset import Asset
from patchhub_registry.entry import Entry
from patchhub_registry.lfs import Pointer, Source
from patchhub_registry.schema import GUARD, BaseRecord, Statement
from patchhub_registry.stack import Change, StackState
from patchhub_registry.store import Store
from patchhub_registry.writer import Draft

Made = TypeVar("Made")


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
        return Draft(not_there(store, files), f"asset {wanted.digest[:12]}: add\n"), wanted

    return Addition(draft, payloads={wanted.payload: payload})


def statements(said: Sequence[Statement]) -> Addition[None]:
    """Add statements about digests."""
    files = statement_files(said)

    def draft(store: Store) -> tuple[Draft, None]:
        about = ", ".join(sorted({f"{one.type} of {one.subject[:12]}" for one in said}))
        return Draft(not_there(store, files), f"statement: {about}\n"), None

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
    files_said = statement_files(said)

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
        return Draft({**files, **not_there(store, files_said)}, _message(made)), after

    return Addition(draft, rebase=False)


def statement_files(said: Sequence[Statement]) -> dict[str, bytes]:
    """The files of statements."""
    files = {}
    for one in said:
        canonical.loads(one.data, what=f"{one.type} statement")
        files[paths.statement_file(one.subject, one.type, one.digest)] = one.data
    return files


def not_there(store: Store, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those files that a head does not have yet."""
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
