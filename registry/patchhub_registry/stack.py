"""A stack: what a chain of entries folds to. Pure; `chain` reads and continues the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from patchhub.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from patchhub.fields import Fields, InFile
from patchhub_registry import paths, reading
from patchhub_registry.entry import REASON, Entry, StackItem
from patchhub_registry.names import Ref, check_name
from patchhub_registry.schema import Op

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
        """The item a reference means here; a name alone means the version that is in the stack.

        Raises:
            InvalidInputError: E101.
            NotFoundError: E104, ambiguous.
            ConflictError: E307, not in the stack.
        """
        ref = Ref.parse(text)
        found = [item for item in self.items if _means(ref, item)]
        if not found:
            held = ", ".join(item.ref for item in self.items) or "nothing"
            raise ConflictError(
                "E307", f"{ref} is not in stack {self.name}", found=f"it holds {held}"
            )
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

    def __post_init__(self) -> None:
        """Refuse what an entry cannot hold.

        Raises:
            InvalidInputError: E113.
        """
        said = {"reason": self.reason, "waivers": dict(self.waivers)}
        fields = Fields(said, InFile("stack entry", "E113", InvalidInputError))
        reading.printable(fields, "reason", REASON)
        reading.texts(fields, "waivers")


def identity_of(base: str, ids: Sequence[str]) -> str:
    """Identity of the composed model (`patchhub.composer.identity`)."""
    from patchhub.composer.identity import composed_identity

    return composed_identity(base, ids)


def fold(name: str, chain: Sequence[Entry]) -> StackState:
    """The state after a chain that begins with the first entry or with a checkpoint.

    Raises:
        IntegrityError: E203, an entry contradicts the ones before it.
    """
    first = chain[0]
    current = StackState.empty(name, first.base)
    if first.seq > 1:
        current = _resumed(current, first)
        chain = chain[1:]
    for entry in chain:
        current = step(current, entry)
    return current


def step(before: StackState, entry: Entry) -> StackState:
    """The state after one entry.

    Raises:
        IntegrityError: E203, the entry does not continue the state.
    """
    where = _where(entry)
    _check_place(before, entry)
    if entry.seq != before.seq + 1:
        raise IntegrityError(
            "E203", f"{where} has the wrong number", expected=before.seq + 1, found=entry.seq
        )
    if (entry.prev or "") != before.head:
        raise broken_link(entry, before.head)
    if entry.op is Op.CHECKPOINT and entry.items != before.items:
        raise IntegrityError("E203", f"{where}: the checkpoint is not the list before it")
    return _checked(before, entry, _items_after(before, entry))


def rearranged(
    items: Sequence[StackItem], op: Op, item: StackItem, after: str | None
) -> tuple[StackItem, ...]:
    """The list after an operation that was found possible."""
    if op is Op.PUSH:
        return (*items, item)
    rest = [each for each in items if each.id != item.id]
    if op is Op.MOVE:
        position = 0 if after is None else [each.id for each in rest].index(after) + 1
        rest.insert(position, item)
    return tuple(rest)


def broken_link(entry: Entry, expected: str) -> IntegrityError:
    """The error for an entry that does not name its predecessor."""
    return IntegrityError(
        "E203",
        f"{_where(entry)}: chain broken, prev is not the entry before",
        expected=expected or "null",
        found=entry.prev or "null",
    )


def _resumed(before: StackState, entry: Entry) -> StackState:
    """The state that a checkpoint states."""
    _check_place(before, entry)
    return _checked(before, entry, entry.items)


def _check_place(before: StackState, entry: Entry) -> None:
    where = _where(entry)
    if entry.stack != before.name or entry.base != before.base:
        raise IntegrityError("E203", f"{where} belongs to another stack or base")
    if (entry.op is Op.CHECKPOINT) != (entry.seq % CHECKPOINT == 0):
        raise IntegrityError(
            "E203", f"{where}: every {CHECKPOINT}th entry is a checkpoint, and no other"
        )


def _checked(before: StackState, entry: Entry, items: tuple[StackItem, ...]) -> StackState:
    identity = identity_of(entry.base, [item.id for item in items])
    if identity != entry.composed:
        raise IntegrityError(
            "E203",
            f"{_where(entry)}: composed is not the identity of the stack",
            expected=identity,
            found=entry.composed,
        )
    return StackState(before.name, before.base, entry.seq, items, entry.digest, identity)


def _items_after(before: StackState, entry: Entry) -> tuple[StackItem, ...]:
    if entry.patch is None:
        return before.items
    pushes = entry.op is Op.PUSH
    possible = entry.patch.id not in before.ids if pushes else entry.patch in before.items
    others = {*before.ids, None} - {entry.patch.id}
    if not possible or entry.after not in others:
        raise IntegrityError(
            "E203", f"{_where(entry)}: {entry.op} {entry.patch.ref} contradicts the list before"
        )
    return rearranged(before.items, entry.op, entry.patch, entry.after)


def _where(entry: Entry) -> str:
    return paths.entry_file(entry.stack, entry.seq)


def _means(ref: Ref, item: StackItem) -> bool:
    if ref.id is not None:
        return item.id.startswith(ref.id)
    name, _, version = item.ref.partition("@")
    return name == ref.name and ref.version in (None, int(version))
