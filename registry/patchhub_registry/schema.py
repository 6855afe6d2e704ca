"""What the registry's JSON files say: strict, canonical, written once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from patchhub import canonical
from patchhub.canonical import Json
from patchhub.errors import IntegrityError, InvalidInputError, PatchHubError
from patchhub.fields import Fields, is_sha256
from patchhub_registry import reading
from patchhub_registry.names import shown

if TYPE_CHECKING:
    from patchhub.fingerprint import Fingerprint

SCHEMA = 1
SENSITIVITIES = ("public", "internal", "personal")
STATEMENT_TYPE = r"[a-z][a-z0-9-]{0,30}"
GUARD = "guard"
"""Type of the statements that hold a verdict; a stack entry names one."""
SEARCH = "search"
"""Type of the statements that say which methods were tried before a patch was made."""
_MOMENT = reading.DAY + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A request that was asked for together with others and is not in the patch.

    Attributes:
        request: Digest of what it asks.
        code: Of the error with which the method refused it.
        what: The error's words.
    """

    request: str
    code: str
    what: str

    def to_json(self) -> dict[str, Json]:
        """As a JSON object."""
        return {"request": self.request, "code": self.code, "what": self.what}

    @classmethod
    def read(cls, fields: Fields) -> LeftOut:
        """Read from fields."""
        made = cls(
            fields.sha256("request"),
            reading.printable(fields, "code", r"E[0-9]{3}"),
            reading.printable(fields, "what"),
        )
        fields.end()
        return made


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
        realised: Per touched tensor, how the rounded change differs from the wanted one; numbers
            are integers or decimal strings.
        sensitivity: ``public``, ``internal`` or ``personal``.
        review_after: Date ``YYYY-MM-DD`` after which the edit shall be looked at again.
        message: One line by the user.
        dropped: Requests that could not be edited while those of the patch could.
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
    dropped: tuple[LeftOut, ...] = ()

    def to_bytes(self) -> bytes:
        """The file, canonical; ``dropped`` is left out where there is none."""
        value: dict[str, Json] = {
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
        if self.dropped:
            value["dropped"] = [one.to_json() for one in self.dropped]
        return canonical.dumps(value)

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "record.json") -> Record:
        """Read the file.

        Raises:
            IntegrityError: E113, E114, E116.
        """
        return cls.read(reading.stored(data, what))

    @classmethod
    def read(cls, fields: Fields) -> Record:
        """Read from fields; the caller chose the class of the errors."""
        reading.schema(fields, SCHEMA)
        realised = fields.inner("realised")
        record = cls(
            name=reading.name(fields, "name"),
            version=fields.integer("version", low=1),
            patch=fields.sha256("patch"),
            base=reading.name(fields, "base", "base"),
            created=reading.printable(fields, "created", _MOMENT),
            libraries=reading.texts(fields, "libraries"),
            realised={site: reading.numbers(realised, site) for site in reading.keys(realised)},
            sensitivity=reading.choice(fields, "sensitivity", SENSITIVITIES),
            review_after=reading.nullable(
                lambda key: reading.day(fields, key), fields, "review_after"
            ),
            message=reading.printable(fields, "message"),
            dropped=_left_out(fields),
        )
        fields.end()
        return record


def _left_out(fields: Fields) -> tuple[LeftOut, ...]:
    """None where the field is left out."""
    return tuple(map(LeftOut.read, fields.inners("dropped"))) if "dropped" in fields else ()


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
            IntegrityError: E113, E114, E116; E202, weights is not the tensor table's digest.
        """
        from patchhub.fingerprint import Fingerprint

        fields = reading.stored(data, what)
        reading.schema(fields, SCHEMA)
        weights = fields.sha256("weights")
        table: Json = fields.value("fingerprint", object, "an object")  # type: ignore[assignment]
        try:
            fingerprint = Fingerprint.from_json(table)
        except PatchHubError as error:
            raise IntegrityError(
                error.code, f"{what}: {error.what}", expected=error.expected, found=error.found
            ) from error
        base = cls(
            reading.name(fields, "name", "base"), fingerprint, reading.texts(fields, "notes")
        )
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
class Statement:
    """Canonical JSON that says something about a digest, e.g. the guard's verdict about a patch.

    Attributes:
        subject: Digest spoken about (patch id, record digest …).
        type: Kind of statement: ``guard``, ``probes``, ``search``, later ``approval``.
        data: The file's bytes.
    """

    subject: str
    type: str
    data: bytes

    def __post_init__(self) -> None:
        if not is_sha256(self.subject):
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
