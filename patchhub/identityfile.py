"""Which model a directory holds, in its own words: base, patches, digests. Needs no torch.

The file lies in every generation that `patchhub.checkpoint` makes, and beside the weights of a
patched model that is saved from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from patchhub import canonical
from patchhub.errors import ConflictError, IntegrityError, NotFoundError
from patchhub.fields import Fields, InFile

IDENTITY: Final = "patchhub.json"
"""The file's name; `from_pretrained` does not read it."""
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class StackItem:
    """A patch of a stack: its id, and the name it was applied under (may be empty)."""

    id: str
    name: str


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
        return canonical.dumps({"schema": SCHEMA, **identity_json(self)})

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> Identity:
        """Parse ``patchhub.json``.

        Raises:
            IntegrityError: E116, not canonical; E206, a field is wrong.
        """
        record = open_record(canonical.loads(data, what=what), what)
        identity = read_identity(record)
        record.end()
        return identity


def identify(directory: Path) -> Identity | None:
    """Which model a directory says it holds; works on a copy of a generation too.

    Returns:
        None for a directory that says nothing, such as a base. What is said here is proved by
        `patchhub.checkpoint.verify_directory`.

    Raises:
        NotFoundError: E109, no such directory.
        IntegrityError: E116, E206, the identity file was tampered with.
    """
    real = directory.resolve()
    if not real.is_dir():
        raise NotFoundError("E109", f"{directory}: no such directory")
    file = real / IDENTITY
    if not file.is_file():
        return None
    return Identity.from_bytes(file.read_bytes(), str(directory / IDENTITY))


def require_bare(directory: Path) -> None:
    """Pass unless a directory says that it holds patches.

    Raises:
        ConflictError: E309. NotFoundError: E109. IntegrityError: E116, E206.
    """
    found = identify(directory)
    if found is not None and found.stack:
        raise ConflictError(
            "E309",
            f"{directory} holds a patched model, not a base",
            expected="a base",
            found=f"base {found.base[:12]} with {', '.join(i.id[:12] for i in found.stack)}",
            hint=f"name its base; a model of its own right must not carry {IDENTITY}",
            stack=[item.id for item in found.stack],
        )


def identity_json(value: Identity) -> dict[str, canonical.Json]:
    """The fields of an identity in a record."""
    return {
        "lineage": value.lineage,
        "serial": value.serial,
        "base": value.base,
        "stack": [{"id": item.id, "name": item.name} for item in value.stack],
        "identity": value.identity,
        "touched": dict(value.touched),
    }


def open_record(value: object, what: str) -> Fields:
    """A record whose schema is known (E206)."""
    record = Fields(value, InFile(what, "E206", IntegrityError))
    if record.integer("schema") != SCHEMA:
        raise record.error(
            "schema", "is not known", expected=SCHEMA, hint="a newer PatchHub wrote this; update"
        )
    return record


def read_identity(record: Fields) -> Identity:
    """The identity among a record's fields (E206)."""
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
