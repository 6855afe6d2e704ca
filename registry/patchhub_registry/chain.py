"""The chain of a stack in the registry: reading its entries, and the entries that continue it."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from patchhub_registry import paths
from patchhub_registry.entry import Entry, StackItem
from patchhub_registry.names import check_name
from patchhub_registry.schema import Op
from patchhub_registry.stack import (
    CHECKPOINT,
    Change,
    StackState,
    broken_link,
    fold,
    identity_of,
    rearranged,
    step,
)
from patchhub_registry.store import Store


def names(store: Store) -> list[str]:
    """Names of all stacks."""
    return sorted(store.directory("stacks"))


def entries(store: Store, name: str, start: int = 1) -> list[Entry]:
    """Entries of a stack from number ``start`` on, chain checked.

    Raises:
        NotFoundError: E107.
        IntegrityError: E203, a gap or a wrong link; E113, E114, E116 for a damaged file.
    """
    newest = last(store, check_name(name, "stack"))
    found: list[Entry] = []
    for seq in range(max(1, start), newest + 1):
        path = paths.entry_file(name, seq)
        data = store.file(path)
        if data is None:
            raise IntegrityError("E203", f"{path} is missing; the chain has a gap")
        entry = Entry.from_bytes(data, path)
        if (entry.stack, entry.seq) != (name, seq):
            raise IntegrityError("E203", f"{path} holds {entry.stack}@{entry.seq}")
        if found and entry.prev != found[-1].digest:
            raise broken_link(entry, found[-1].digest)
        found.append(entry)
    return found


def state(store: Store, name: str) -> StackState:
    """A stack's state at the store's commit; reads at most 100 entries.

    Raises:
        NotFoundError: E107.
        IntegrityError: As `entries`.
    """
    newest = last(store, check_name(name, "stack"))
    return fold(name, entries(store, name, newest - newest % CHECKPOINT))


def continued(
    store: Store, before: StackState, changes: Sequence[Change]
) -> tuple[list[Entry], StackState]:
    """The entries that some operations add, and the state after them.

    Raises:
        ConflictError: E306, already in the stack; E307, not in it.
        IntegrityError: E201, a patch was made for another base.
        PatchHubError: As `Store.patch`.
    """
    made: list[Entry] = []
    current = before
    for change in changes:
        if (current.seq + 1) % CHECKPOINT == 0:
            made.append(_checkpoint(current))
            current = step(current, made[-1])
        entry = _entry(store, current, change)
        made.append(Entry.from_bytes(entry.to_bytes()))  # what cannot be read is not written
        current = step(current, entry)
    return made, current


def _entry(store: Store, before: StackState, change: Change) -> Entry:
    if change.op is Op.PUSH:
        patch = store.patch(change.ref)
        item = StackItem(patch.ref, patch.id)
        _check_push(before, item, patch.manifest.base)
    else:
        item = before.item(change.ref)
        patch = store.patch(item.ref)
    after = None if change.after is None else before.item(change.after).id
    if after == item.id:
        raise InvalidInputError("E101", f"{item.ref} cannot follow itself")
    items = rearranged(before.items, change.op, item, after)
    return Entry(
        stack=before.name,
        seq=before.seq + 1,
        op=change.op,
        prev=before.head or None,
        base=before.base,
        composed=identity_of(before.base, [each.id for each in items]),
        reason=change.reason,
        patch=item,
        record=patch.digest,
        after=after,
        policy=change.policy,
        guard=change.guard,
        waivers=change.waivers,
    )


def _check_push(before: StackState, item: StackItem, base: str) -> None:
    if base != before.base:
        raise IntegrityError(
            "E201",
            f"{item.ref} was made for another base than that of stack {before.name}",
            expected=before.base,
            found=base,
        )
    for there in before.items:
        if there.id == item.id:
            raise ConflictError(
                "E306", f"{item.ref} is already in stack {before.name}", found=there.ref
            )


def _checkpoint(before: StackState) -> Entry:
    return Entry(
        stack=before.name,
        seq=before.seq + 1,
        op=Op.CHECKPOINT,
        prev=before.head or None,
        base=before.base,
        composed=before.identity,
        reason="checkpoint",
        items=before.items,
    )


def last(store: Store, name: str) -> int:
    """Number of a stack's newest entry.

    Raises:
        NotFoundError: E107.
        IntegrityError: E203, it has none.
    """
    groups = [group for group in store.directory(f"stacks/{name}") if group.isdecimal()]
    if not groups:
        known = ", ".join(names(store)) or "none"
        raise NotFoundError("E107", f'no stack "{name}"', found=f"known stacks: {known}")
    files = store.directory(f"stacks/{name}/{max(groups)}")
    numbers = [int(file[:6]) for file in files if file[:6].isdecimal()]
    if not numbers:
        raise IntegrityError("E203", f"stacks/{name}/{max(groups)} holds no entry")
    return max(numbers)
