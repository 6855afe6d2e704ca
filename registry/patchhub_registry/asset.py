"""``assets/<hh>/<digest>.json``: what was computed once and is worth keeping, such as moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from patchhub import canonical
from patchhub.canonical import Json
from patchhub_registry import reading
from patchhub_registry.lfs import Pointer
from patchhub_registry.schema import SCHEMA

TYPE = r"[a-z][a-z0-9-]{0,30}"


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset, named by the SHA-256 of its file; the payload lies beside it in LFS's layout.

    Attributes:
        type: What it is, e.g. ``moments``.
        base: Digest of the weights of the base it belongs to.
        key: Digest of all that decides its content; who needs it looks it up by this.
        facts: What it is, in words for programs: corpus, site, blocks, counts.
        payload: The bytes.
    """

    type: str
    base: str
    key: str
    facts: Mapping[str, Json]
    payload: Pointer

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return canonical.sha256(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file, canonical."""
        return canonical.dumps(
            {
                "schema": SCHEMA,
                "type": self.type,
                "base": self.base,
                "key": self.key,
                "facts": dict(self.facts),
                "payload": {"sha256": self.payload.oid, "size": self.payload.size},
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "asset") -> Asset:
        """Read the file.

        Raises:
            IntegrityError: E113, E114, E116.
        """
        fields = reading.stored(data, what)
        reading.schema(fields, SCHEMA)
        payload = fields.inner("payload")
        facts: Mapping[str, Json] = fields.value("facts", dict, "an object")
        asset = cls(
            type=reading.printable(fields, "type", TYPE),
            base=fields.sha256("base"),
            key=fields.sha256("key"),
            facts=facts,
            payload=Pointer(payload.sha256("sha256"), payload.integer("size")),
        )
        payload.end()
        fields.end()
        return asset
