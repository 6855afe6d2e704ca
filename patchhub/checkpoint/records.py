"""What a generation says about itself, and what is remembered beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from patchhub import canonical
from patchhub.errors import IntegrityError
from patchhub.fields import Fields, InFile

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class StackItem:
    """A patch of a stack: its id, and the name it was applied under (may be empty)."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class FileMark:
    """How a file of a generation is known again.

    Attributes:
        stamp: Device, inode, size and time of change; while it is the same, so are the bytes.
        sha256: Of its bytes; empty for files of weights, whose tensors have digests of their own.
    """

    stamp: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model a directory holds.

    Attributes:
        lineage: Drawn at random at the first apply; a copy of the directory has it too.
        serial: Number of the generation; grows by one with every change.
        base: Digest of the base's weights.
        stack: The patches, bottom first.
        identity: Identity of the composed model, see `patchhub.composer.identity`.
        touched: SHA-256 of the composed bytes of every touched tensor.
    """

    lineage: str
    serial: int
    base: str
    stack: tuple[StackItem, ...]
    identity: str
    touched: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """The bytes of ``patchhub.json``."""
        return canonical.dumps({"schema": SCHEMA, **_identity_json(self)})

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> Identity:
        """Parse ``patchhub.json``.

        Raises:
            IntegrityError: E116, not canonical; E206, a field is wrong.
        """
        record = _record(canonical.loads(data, what=what), what)
        identity = _read_identity(record)
        record.end()
        return identity


@dataclass(frozen=True, slots=True)
class State(Identity):
    """Identity of the current generation, and what the next change wants to know.

    Attributes:
        files: Every file of the generation, by name relative to it.
        base_files: Stamps of the base's files of weights.
        split: Tensors that have had a shard of their own; they keep it.
        pending: What will be done with a change that a crash cut off: "undo" or "finish"; "ask"
            where a ledger knows that was not asked; none when all is settled.
    """

    files: Mapping[str, FileMark]
    base_files: Mapping[str, str]
    split: tuple[str, ...]
    pending: str | None = None

    def to_json(self) -> dict[str, canonical.Json]:
        """The state as a record; what is pending lies in the journal."""
        return {
            "schema": SCHEMA,
            **_identity_json(self),
            "files": [[name, m.stamp, m.sha256] for name, m in self.files.items()],
            "base_files": [[name, stamp] for name, stamp in self.base_files.items()],
            "split": list(self.split),
        }

    @classmethod
    def from_json(cls, value: object, what: str) -> State:
        """The state of a record.

        Raises:
            IntegrityError: E206, a field is wrong.
        """
        record = _record(value, what)
        identity = _read_identity(record)
        state = cls(
            **{field.name: getattr(identity, field.name) for field in fields(identity)},
            files={name: FileMark(*mark) for name, *mark in _rows(record, "files", 3)},
            base_files=dict(_rows(record, "base_files", 2)),
            split=record.texts("split"),
        )
        record.end()
        return state


def _identity_json(value: Identity) -> dict[str, canonical.Json]:
    return {
        "lineage": value.lineage,
        "serial": value.serial,
        "base": value.base,
        "stack": [{"id": item.id, "name": item.name} for item in value.stack],
        "identity": value.identity,
        "touched": dict(value.touched),
    }


def _record(value: object, what: str) -> Fields:
    record = Fields(value, InFile(what, "E206", IntegrityError))
    if record.integer("schema") != SCHEMA:
        raise record.error(
            "schema", "is not known", expected=SCHEMA, hint="a newer PatchHub wrote this; update"
        )
    return record


def _read_identity(record: Fields) -> Identity:
    touched = record.inner("touched")
    return Identity(
        lineage=record.filled("lineage"),
        serial=record.integer("serial", low=1),
        base=record.sha256("base"),
        stack=tuple(_read_item(row) for row in record.inners("stack")),
        identity=record.sha256("identity"),
        touched={name: touched.sha256(name) for name in touched.names()},
    )


def _read_item(row: Fields) -> StackItem:
    item = StackItem(row.sha256("id"), row.text("name"))
    row.end()
    return item


def _rows(record: Fields, name: str, width: int) -> list[Any]:
    """A table of texts; file names are no keys, for these are ASCII."""
    rows: list[Any] = record.value(name, list, "a list of rows")
    for row in rows:
        texts = isinstance(row, list) and all(isinstance(item, str) for item in row)
        if not texts or len(row) != width:
            raise record.error(name, f"must be rows of {width} texts", found=str(row)[:80])
    return rows
