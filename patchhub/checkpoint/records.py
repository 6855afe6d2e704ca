"""What is remembered beside the generations of a model directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from patchhub import canonical
from patchhub.fields import Fields
from patchhub.identityfile import SCHEMA, Identity, identity_json, open_record, read_identity


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
class State(Identity):
    """Identity of the current generation, and what the next change wants to know.

    Attributes:
        files: Every file of the generation, by name relative to it.
        base_files: Stamps of the base's files of weights.
        split: Tensors that have had a shard of their own; they keep it.
        before: The state before the last change, without what was before it; its generation may be
            gone by now. None at first.
        pending: What will be done with a change that a crash cut off: "undo" or "finish"; "ask"
            where a ledger knows that was not asked; none when all is settled.
    """

    files: Mapping[str, FileMark]
    base_files: Mapping[str, str]
    split: tuple[str, ...]
    before: State | None = None
    pending: str | None = None

    def to_json(self) -> dict[str, canonical.Json]:
        """The state as a record; what is pending lies in the journal."""
        return {
            "schema": SCHEMA,
            **identity_json(self),
            "files": [[name, m.stamp, m.sha256] for name, m in self.files.items()],
            "base_files": [[name, stamp] for name, stamp in self.base_files.items()],
            "split": list(self.split),
            **({} if self.before is None else {"before": self.before.to_json()}),
        }

    @property
    def number_to_come(self) -> int:
        """Above every number that a generation of this directory ever had."""
        return 1 + max(self.serial, 0 if self.before is None else self.before.serial)

    @property
    def shown_again(self) -> bool:
        """Whether the last change showed a generation that was there already."""
        return self.before is not None and self.before.serial > self.serial

    @classmethod
    def from_json(cls, value: object, what: str) -> State:
        """The state of a record.

        Raises:
            IntegrityError: E206, a field is wrong.
        """
        record = open_record(value, what)
        identity = read_identity(record)
        before = record.value("before", dict, "an object") if "before" in record else None
        state = cls(
            **{field.name: getattr(identity, field.name) for field in fields(identity)},
            files={name: FileMark(*mark) for name, *mark in _rows(record, "files", 3)},
            base_files=dict(_rows(record, "base_files", 2)),
            split=record.texts("split"),
            before=None if before is None else cls.from_json(before, f"{what}: before"),
        )
        record.end()
        return state


def _rows(record: Fields, name: str, width: int) -> list[Any]:
    """A table of texts; file names are no keys, for these are ASCII."""
    rows: list[Any] = record.value(name, list, "a list of rows")
    for row in rows:
        texts = isinstance(row, list) and all(isinstance(item, str) for item in row)
        if not texts or len(row) != width:
            raise record.error(name, f"must be rows of {width} texts", found=str(row)[:80])
    return rows
