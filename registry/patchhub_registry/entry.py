"""One step of a stack's chain, as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from patchhub import canonical
from patchhub.canonical import Json
from patchhub.fields import Fields, is_sha256
from patchhub_registry import reading
from patchhub_registry.schema import SCHEMA, Op

REASON = r"[a-z][a-z0-9_-]{0,62}"
_REF = r"[a-z0-9][a-z0-9-]{0,62}@[1-9][0-9]{0,5}"


@dataclass(frozen=True, slots=True)
class StackItem:
    """One patch in a stack: ``name@n`` and the patch id."""

    ref: str
    id: str

    @property
    def short(self) -> str:
        """``ph:`` and 12 hex digits."""
        return f"ph:{self.id[:12]}"

    def to_json(self) -> dict[str, Json]:
        """As a JSON object."""
        return {"ref": self.ref, "id": self.id}

    @classmethod
    def read(cls, fields: Fields) -> StackItem:
        """Read from fields."""
        item = cls(
            reading.printable(fields, "ref", _REF),
            fields.sha256("id"),
        )
        fields.end()
        return item


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a stack's chain.

    Attributes:
        stack: Name of the stack.
        seq: 1, 2, 3 …
        op: What happened.
        prev: SHA-256 of the previous entry's file; None for the first.
        base: Digest of the base's weights.
        composed: Identity of the composed model after this entry.
        reason: Short code, e.g. ``fact-update`` or ``rollback``.
        patch: The patch pushed, reverted or moved; None for a checkpoint.
        record: Digest of that patch's record.json.
        after: For a move, id of the patch it now follows; None for the bottom.
        items: For a checkpoint, the whole list; empty otherwise.
        policy: Digest of the policy in force.
        guard: Digest of the guard's statement.
        waivers: Checks that were waived, with the reason given.
        approvals: Digests of approval statements.
    """

    stack: str
    seq: int
    op: Op
    prev: str | None
    base: str
    composed: str
    reason: str
    patch: StackItem | None = None
    record: str | None = None
    after: str | None = None
    items: tuple[StackItem, ...] = ()
    policy: str | None = None
    guard: str | None = None
    waivers: Mapping[str, str] = field(default_factory=dict)
    approvals: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the file; the next entry's ``prev``."""
        return canonical.sha256(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file, canonical."""
        body: dict[str, Json] = {
            "schema": SCHEMA,
            "stack": self.stack,
            "seq": self.seq,
            "op": str(self.op),
            "prev": self.prev,
            "base": self.base,
            "composed": self.composed,
            "reason": self.reason,
            "policy": self.policy,
            "guard": self.guard,
            "waivers": dict(self.waivers),
            "approvals": list(self.approvals),
        }
        if self.op is Op.CHECKPOINT:
            body["items"] = [item.to_json() for item in self.items]
        elif self.patch is not None:
            body |= {"patch": self.patch.to_json(), "record": self.record}
        if self.op is Op.MOVE:
            body["after"] = self.after
        return canonical.dumps(body)

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "stack entry") -> Entry:
        """Read the file.

        Raises:
            IntegrityError: E113, E114, E116.
        """
        fields = reading.stored(data, what)
        reading.schema(fields, SCHEMA)
        op = Op(reading.choice(fields, "op", [str(op) for op in Op]))
        listed = op is Op.CHECKPOINT
        entry = cls(
            stack=reading.name(fields, "stack", "stack"),
            seq=fields.integer("seq", low=1),
            op=op,
            prev=reading.nullable(fields.sha256, fields, "prev"),
            base=fields.sha256("base"),
            composed=fields.sha256("composed"),
            reason=reading.printable(fields, "reason", REASON),
            patch=None if listed else StackItem.read(fields.inner("patch")),
            record=None if listed else fields.sha256("record"),
            after=reading.nullable(fields.sha256, fields, "after") if op is Op.MOVE else None,
            items=tuple(map(StackItem.read, fields.inners("items"))) if listed else (),
            policy=reading.nullable(fields.sha256, fields, "policy"),
            guard=reading.nullable(fields.sha256, fields, "guard"),
            waivers=reading.texts(fields, "waivers"),
            approvals=_read_approvals(fields),
        )
        fields.end()
        return entry


def _read_approvals(fields: Fields) -> tuple[str, ...]:
    found: list[object] = fields.value("approvals", list, "a list")
    digests = [str(item) for item in found]
    if not all(map(is_sha256, digests)):
        raise fields.error("approvals", "must list SHA-256 digests")
    return tuple(digests)
