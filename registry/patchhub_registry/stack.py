"""A stack: a numbered chain of write-once entries, and the list of patches they fold to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from patchhub.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from patchhub_registry import paths
from patchhub_registry.names import Ref, check_name
from patchhub_registry.schema import Entry, Op, StackItem
from patchhub_registry.store import Store

CHECKPOINT = 100
"""Every entry whose number is a multiple of this repeats the whole list, so reading stays short."""


@dataclass(frozen=True, slots=True)
class StackState:
    """A stack after some entry.

    Attributes:
        name: Name of the stack.
        base: Digest of the base's weights.
        seq: Number of the last entry; 0 for a stack that does not exist yet.
        items: The patches, bottom first.
        head: Digest of the last entry; empty for a stack that does not exist yet.
        identity: Identity of the composed model.
    """

    name: str
    base: str
    seq: int
    items: tuple[StackItem, ...]
    head: str
    identity: str

    @classmethod
    def empty(cls, name: str, base: str) -> StackState:
        """A stack without entries over a base, given by the digest of its weights."""
        return cls(check_name(name, "stack"), base, 0, (), "", identity_of(base, ()))

    @property
    def ids(self) -> tuple[str, ...]:
        """Patch ids, bottom first."""
        return tuple(item.id for item in self.items)

    def item(self, text: str) -> StackItem:
        """The item that a reference means in this stack; a name alone means the version that is in it.

        Raises:
            InvalidInputError: E101.
            NotFoundError: E104, ambiguous.
            ConflictError: E307, not in the stack.
        """
        ref = Ref.parse(text)
        found = [item for item in self.items if _means(ref, item)]
        if not found:
            held = ", ".join(item.ref for item in self.items) or "nothing"
            raise ConflictError("E307", f"{ref} is not in stack {self.name}", found=f"it holds {held}")
        if len(found) > 1:
            listed = ", ".join(f"{item.ref} {item.short}" for item in found)
            raise NotFoundError("E104", f'"{ref}" is ambiguous in {self.name}', found=listed)
        return found[0]


@dataclass(frozen=True, slots=True)
class Change:
    """One operation on a stack.

    Attributes:
        op: ``push``, ``revert`` or ``move``.
        ref: The patch: any reference; for revert and move it is looked up in the stack.
        after: For a move: reference of the patch it shall follow; None for the bottom.
        reason: Short code, e.g. ``fact-update``.
        policy: Digest of the policy the guard applied.
        guard: Digest of the guard's statement about the patch.
        waivers: Checks waived, with the reason given.
    """

    op: Op
    ref: str
    after: str | None = None
    reason: str = "unspecified"
    policy: str | None = None
    guard: str | None = None
    waivers: Mapping[str, str] = field(default_factory=dict)


def identity_of(base: str, ids: Sequence[str]) -> str:
    """Identity of the composed model (`patchhub.composer.identity`)."""
    from patchhub.composer.identity import composed_identity

    return composed_identity(base, ids)


def names(store: Store) -> list[str]:
    """Names of all stacks."""
    return sorted(store.directory("stacks"))


def entries(store: Store, name: str, start: int = 1) -> list[Entry]:
    """Entries of a stack from number ``start`` on, chain checked.

    Raises:
        NotFoundError: E107.
        IntegrityError: E203, a gap or a wrong link; E113, E114, E116 for a damaged file.
    """
    last = _last(store, check_name(name, "stack"))
    wanted = [paths.entry_file(name, seq) for seq in range(max(1, start), last + 1)]
    found: list[Entry] = []
    for path in wanted:
        data = store.file(path)
        if data is None:
            raise IntegrityError("E203", f"{path} is missing; the chain has a gap")
        entry = Entry.from_bytes(data, path)
        if found and entry.prev != found[-1].digest:
            raise broken_link(path, found[-1].digest, entry.prev)
        found.append(entry)
    return found


def state(store: Store, name: str) -> StackState:
    """A stack's state at the store's commit; reads at most 100 entries.

    Raises:
        NotFoundError: E107.
        IntegrityError: E203.
    """
    last = _last(store, check_name(name, "stack"))
    return fold(name, entries(store, name, last - last % CHECKPOINT))


def fold(name: str, chain: Sequence[Entry]) -> StackState:
    """The state after a chain that starts at the first entry or at a checkpoint.

    Raises:
        IntegrityError: E203, an entry contradicts the ones before it.
    """
    current = StackState.empty(name, chain[0].base)
    for entry in chain:
        current = step(current, entry, anchored=entry is not chain[0] or entry.seq == 1)
    return current


def step(before: StackState, entry: Entry, *, anchored: bool = True) -> StackState:
    """The state after one entry.

    Args:
        before: State before it.
        entry: The entry.
        anchored: Whether ``before`` is known; if not, the entry is a checkpoint that says it.

    Raises:
        IntegrityError: E203.
    """
    where = paths.entry_file(entry.stack, entry.seq)
    if entry.stack != before.name or entry.base != before.base:
        raise IntegrityError("E203", f"{where} belongs to another stack or base")
    if anchored and entry.seq != before.seq + 1:
        raise IntegrityError(
            "E203", f"{where} has the wrong number", expected=before.seq + 1, found=entry.seq
        )
    if (entry.op is Op.CHECKPOINT) != (entry.seq % CHECKPOINT == 0):
        raise IntegrityError("E203", f"{where}: every {CHECKPOINT}th entry is a checkpoint, no other")
    if anchored and entry.prev != (before.head or None):
        raise broken_link(where, before.head, entry.prev)
    items = _items_after(before, entry, where, anchored=anchored)
    identity = identity_of(entry.base, [item.id for item in items])
    if identity != entry.composed:
        raise IntegrityError(
            "E203",
            f"{where}: composed is not the identity of the stack",
            expected=identity,
            found=entry.composed,
        )
    return StackState(entry.stack, entry.base, entry.seq, items, entry.digest, identity)


def draft(store: Store, before: StackState, change: Change) -> list[Entry]:
    """The entry for one operation, preceded by a checkpoint when one is due.

    Raises:
        ConflictError: E306, already in the stack; E307, not in it.
        IntegrityError: E201, the patch was made for another base.
        PatchHubError: As `Store.patch`.
    """
    due = (before.seq + 1) % CHECKPOINT == 0
    found = [_checkpoint(before)] if due else []
    if found:
        before = step(before, found[0])
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
    items = _rearranged(before.items, change.op, item, after)
    entry = Entry(
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
    return [*found, entry]


def broken_link(where: str, expected: str, found: str | None) -> IntegrityError:
    """The error for an entry that does not name its predecessor."""
    return IntegrityError(
        "E203",
        f"{where}: chain broken, prev is not the entry before",
        expected=expected or "null",
        found=found or "null",
    )


def _last(store: Store, name: str) -> int:
    groups = [group for group in store.directory(f"stacks/{name}") if group.isdecimal()]
    if not groups:
        known = ", ".join(names(store)) or "none"
        raise NotFoundError("E107", f'no stack "{name}"', found=f"known stacks: {known}")
    files = store.directory(f"stacks/{name}/{max(groups)}")
    numbers = [int(file.removesuffix(".json")) for file in files if file[:6].isdecimal()]
    if not numbers:
        raise IntegrityError("E203", f"stacks/{name}/{max(groups)} holds no entry")
    return max(numbers)


def _means(ref: Ref, item: StackItem) -> bool:
    if ref.id is not None:
        return item.id.startswith(ref.id)
    name, _, version = item.ref.partition("@")
    return name == ref.name and ref.version in (None, int(version))


def _check_push(before: StackState, item: StackItem, base: str) -> None:
    if base != before.base:
        raise IntegrityError(
            "E201",
            f"{item.ref} was made for another base than stack {before.name}",
            expected=before.base,
            found=base,
        )
    for there in before.items:
        if there.id == item.id:
            raise ConflictError("E306", f"{item.ref} is already in stack {before.name}", found=there.ref)


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


def _items_after(
    before: StackState, entry: Entry, where: str, *, anchored: bool
) -> tuple[StackItem, ...]:
    if entry.op is Op.CHECKPOINT or entry.patch is None:
        if anchored and entry.items != before.items:
            raise IntegrityError("E203", f"{where}: the checkpoint is not the list before it")
        return entry.items
    present = entry.patch in before.items
    if present == (entry.op is Op.PUSH) or (entry.after is not None and entry.after not in before.ids):
        raise IntegrityError("E203", f"{where}: {entry.op} {entry.patch.ref} contradicts the list before")
    return _rearranged(before.items, entry.op, entry.patch, entry.after)


def _rearranged(
    items: tuple[StackItem, ...], op: Op, item: StackItem, after: str | None
) -> tuple[StackItem, ...]:
    if op is Op.PUSH:
        return (*items, item)
    rest = [each for each in items if each.id != item.id]
    if op is Op.MOVE:
        position = 0 if after is None else [each.id for each in rest].index(after) + 1
        rest.insert(position, item)
    return tuple(rest)
