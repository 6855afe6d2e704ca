"""What the registry's JSON files say: strict, canonical, written once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from patchhub import canonical
from patchhub.canonical import Json
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.fields import Fields
from patchhub_registry import reading
from patchhub_registry.names import check_name, is_digest, shown

if TYPE_CHECKING:
    from patchhub.fingerprint import Fingerprint

SCHEMA = 1
SENSITIVITIES = ("public", "internal", "personal")
STATEMENT_TYPE = r"[a-z][a-z0-9-]{0,30}"
REASON = r"[a-z][a-z0-9_-]{0,62}"
_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_MOMENT = _DATE + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"


@dataclass(frozen=True, slots=True)
class Record:
    """``record.json``: what was observed when a patch was made; what it *is* stands in patch.json.

    Attributes:
        name: Patch name.
        version: 1, 2, 3 … per name.
        patch: Patch id (SHA-256 of patch.json).
        base: Name of the base in this registry.
        created: UTC, ``YYYY-MM-DDThh:mm:ssZ``.
        libraries: Versions of the libraries that computed it.
        realised: Per touched tensor, how the rounded change differs from the wanted one; numbers are
            integers or decimal strings.
        sensitivity: ``public``, ``internal`` or ``personal``.
        review_after: Date ``YYYY-MM-DD`` after which the edit shall be looked at again.
        message: One line by the user.
    """

    name: str
    version: int
    patch: str
    base: str
    created: str
    libraries: Mapping[str, str] = field(default_factory=dict)
    realised: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    sensitivity: str = "internal"
    review_after: str | None = None
    message: str = ""

    def to_bytes(self) -> bytes:
        """The file, canonical."""
        return canonical.dumps(
            {
                "schema": SCHEMA,
                "name": self.name,
                "version": self.version,
                "patch": self.patch,
                "base": self.base,
                "created": self.created,
                "libraries": dict(self.libraries),
                "realised": {site: dict(values) for site, values in self.realised.items()},
                "sensitivity": self.sensitivity,
                "review_after": self.review_after,
                "message": self.message,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "record.json") -> Record:
        """Read the file.

        Raises:
            IntegrityError: E113, E114, E116.
        """
        fields = Fields(canonical.loads(data, what=what), reading.failing(what))
        return cls.read(fields)

    @classmethod
    def read(cls, fields: Fields) -> Record:
        """Read from fields; the caller chose the class of the errors."""
        reading.schema(fields, SCHEMA)
        realised = fields.inner("realised")
        record = cls(
            name=read_name(fields, "name"),
            version=fields.integer("version", low=1),
            patch=reading.digest(fields, "patch"),
            base=read_name(fields, "base", "base"),
            created=reading.printable(fields, "created", _MOMENT),
            libraries=reading.texts(fields, "libraries"),
            realised={site: reading.numbers(realised, site) for site in reading.names(realised)},
            sensitivity=reading.choice(fields, "sensitivity", SENSITIVITIES),
            review_after=reading.nullable(_read_date, fields, "review_after"),
            message=reading.printable(fields, "message"),
        )
        fields.end()
        return record


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """``base.json``: a base model the registry knows.

    Attributes:
        name: Its name here.
        fingerprint: What it is; `weights` is the digest that patches bind to.
        notes: Free facts for people, e.g. ``model_type`` or ``source``; no paths of this machine.
    """

    name: str
    fingerprint: Fingerprint
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> str:
        """Digest of the weights."""
        return self.fingerprint.weights

    def to_bytes(self) -> bytes:
        """The file, canonical."""
        return canonical.dumps(
            {
                "schema": SCHEMA,
                "name": self.name,
                "weights": self.weights,
                "fingerprint": self.fingerprint.to_json(),
                "notes": dict(self.notes),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "base.json") -> BaseRecord:
        """Read the file.

        Raises:
            IntegrityError: E113, E114, E116; E202, the weights' digest is not that of the tensor table.
        """
        from patchhub.errors import IntegrityError
        from patchhub.fingerprint import Fingerprint

        fields = Fields(canonical.loads(data, what=what), reading.failing(what))
        reading.schema(fields, SCHEMA)
        weights = reading.digest(fields, "weights")
        table: Json = fields.value("fingerprint", object, "an object")  # type: ignore[assignment]
        try:
            fingerprint = Fingerprint.from_json(table)
        except PatchHubError as error:
            raise IntegrityError(
                error.code, f"{what}: {error.what}", expected=error.expected, found=error.found
            ) from error
        base = cls(read_name(fields, "name", "base"), fingerprint, reading.texts(fields, "notes"))
        fields.end()
        if base.weights != weights:
            raise IntegrityError(
                "E202",
                f"{what}: weights is not the digest of the tensor table",
                expected=base.weights,
                found=weights,
            )
        return base


class Op(StrEnum):
    """What one entry does to a stack."""

    PUSH = "push"
    REVERT = "revert"
    MOVE = "move"
    CHECKPOINT = "checkpoint"


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
            reading.printable(fields, "ref", r"[a-z0-9][a-z0-9-]{0,62}@[1-9][0-9]{0,5}"),
            reading.digest(fields, "id"),
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
        fields = Fields(canonical.loads(data, what=what), reading.failing(what))
        reading.schema(fields, SCHEMA)
        op = Op(reading.choice(fields, "op", [str(op) for op in Op]))
        listed = op is Op.CHECKPOINT
        entry = cls(
            stack=read_name(fields, "stack", "stack"),
            seq=fields.integer("seq", low=1),
            op=op,
            prev=reading.nullable(reading.digest, fields, "prev"),
            base=reading.digest(fields, "base"),
            composed=reading.digest(fields, "composed"),
            reason=reading.printable(fields, "reason", REASON),
            patch=None if listed else StackItem.read(fields.inner("patch")),
            record=None if listed else reading.digest(fields, "record"),
            after=_read_after(fields) if op is Op.MOVE else None,
            items=tuple(map(StackItem.read, fields.inners("items"))) if listed else (),
            policy=reading.nullable(reading.digest, fields, "policy"),
            guard=reading.nullable(reading.digest, fields, "guard"),
            waivers=reading.texts(fields, "waivers"),
            approvals=_read_approvals(fields),
        )
        fields.end()
        return entry


@dataclass(frozen=True, slots=True)
class Statement:
    """Canonical JSON that says something about a digest, e.g. the guard's verdict about a patch.

    Attributes:
        subject: Digest spoken about (patch id, record digest …).
        type: Kind of statement: ``guard``, ``probes``, later ``approval``.
        data: The file's bytes.
    """

    subject: str
    type: str
    data: bytes

    def __post_init__(self) -> None:
        if not is_digest(self.subject):
            raise InvalidInputError(
                "E101", f"a statement is about a SHA-256, not {shown(self.subject)}"
            )
        if re.fullmatch(STATEMENT_TYPE, self.type) is None:
            raise InvalidInputError(
                "E101", f"not a statement type: {shown(self.type)}", expected=STATEMENT_TYPE
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return canonical.sha256(self.data)


def read_name(fields: Fields, name: str, what: str = "patch") -> str:
    """A field that holds a name."""
    found = fields.text(name)
    try:
        return check_name(found, what)
    except InvalidInputError as error:
        raise fields.error(
            name, f"is {error.what}", code=error.code, expected=error.expected
        ) from error


def _read_date(fields: Fields, name: str) -> str:
    return reading.printable(fields, name, _DATE)


def _read_after(fields: Fields) -> str | None:
    return reading.nullable(reading.digest, fields, "after")


def _read_approvals(fields: Fields) -> tuple[str, ...]:
    found = fields.sequence("approvals")
    for item in found:
        if not is_digest(item):
            raise fields.error("approvals", "must list SHA-256 digests")
    return tuple(map(str, found))
