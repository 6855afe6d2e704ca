"""How a patch came about, as far as the same inputs give the same patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from patchhub import canonical
from patchhub.errors import InvalidInputError
from patchhub.fields import Fields, is_sha256


@dataclass(frozen=True, slots=True)
class CorpusRecord:
    """Whose text the key statistics are from, and how much of it.

    Attributes:
        source: ``texts`` that the user gave, or ``samples`` of the model's own.
        digest: SHA-256 of the texts; of samples, of what with the base determines them.
        amount: ``full``, ``fast``, or a number of tokens per dimension of a key.
    """

    source: str
    digest: str
    amount: str

    def __post_init__(self) -> None:
        if self.source not in ("texts", "samples"):
            raise wrong("source", "is not known", "texts | samples", repr(self.source)[:80])
        check_digest("digest", self.digest)
        if not self.amount.strip():
            raise wrong("amount", "must not be blank", None, repr(self.amount))

    def to_json(self) -> dict[str, canonical.Json]:
        """The record."""
        return {"source": self.source, "digest": self.digest, "amount": self.amount}

    @classmethod
    def read(cls, row: Fields) -> CorpusRecord:
        """The record from JSON; every complaint names its field."""
        values = (row.filled("source"), row.sha256("digest"), row.filled("amount"))
        row.end()
        return row.make(lambda: cls(*values))


EXPERIMENTAL = "experimental"
"""Stands, true, among the settings of an edit that nothing published was ever measured on."""


@dataclass(frozen=True, slots=True)
class MethodRecord:
    """How a patch came about: enough to compute it again on the same platform.

    Attributes:
        name: The editor's name.
        version: The editor's version.
        hparams: Its settings; floats as `canonical.decimal` writes them.
        seed: Of the generator it was given.
        threads: Thread count, which can change the last bits of sums.
        requests: Digests of the requests, in their order.
        templates: Digest of the context templates, if the method uses any.
        moments: Digest of the second moments' values, if the method uses any.
        corpus: What text those are from, likewise.
        trained: Digest of the trained editor, if the method has one.
        reproduces: Where the same inputs give the same patch.
    """

    name: str
    version: int
    hparams: Mapping[str, canonical.Json] = field(default_factory=dict)
    seed: int = 0
    threads: int = 1
    requests: tuple[str, ...] = ()
    templates: str | None = None
    moments: str | None = None
    corpus: CorpusRecord | None = None
    trained: str | None = None
    reproduces: str = "same-platform"

    def __post_init__(self) -> None:
        for i, digest in enumerate(self.requests):
            check_digest(f"requests[{i}]", digest)
        if self.trained is not None:
            check_digest("trained", self.trained)
        for name, text in (("name", self.name), ("reproduces", self.reproduces)):
            if not text.strip():
                raise wrong(name, "must not be blank", None, repr(text))
        for name, number in (("version", self.version), ("threads", self.threads)):
            if number < 1:
                raise wrong(name, "must be positive", None, number)
        if not 0 <= self.seed < 2**53:
            raise wrong("seed", "is out of range", "0 to 2**53 - 1", self.seed)

    @property
    def experimental(self) -> bool:
        """Whether nothing is published of the method on models of this family."""
        return EXPERIMENTAL in self.hparams

    def to_json(self) -> dict[str, canonical.Json]:
        """The record; what is absent is left out, settings may be null."""
        value: dict[str, canonical.Json] = {
            "name": self.name,
            "version": self.version,
            "hparams": dict(self.hparams),
            "seed": self.seed,
            "threads": self.threads,
            "requests": list(self.requests),
            "reproduces": self.reproduces,
        }
        optional: dict[str, canonical.Json] = {
            "templates": self.templates,
            "moments": self.moments,
            "corpus": None if self.corpus is None else self.corpus.to_json(),
            "trained": self.trained,
        }
        return value | {name: found for name, found in optional.items() if found is not None}

    @classmethod
    def read(cls, row: Fields) -> MethodRecord:
        """The record from JSON; every complaint names its field."""
        settings: dict[str, canonical.Json] = row.value("hparams", dict, "an object")
        values = {
            "name": row.filled("name"),
            "version": row.integer("version"),
            "hparams": settings,
            "seed": row.integer("seed"),
            "threads": row.integer("threads"),
            "requests": row.texts("requests"),
            "templates": row.optional(row.filled, "templates"),
            "moments": row.optional(row.filled, "moments"),
            "corpus": row.optional(lambda name: CorpusRecord.read(row.inner(name)), "corpus"),
            "trained": row.optional(row.sha256, "trained"),
            "reproduces": row.filled("reproduces"),
        }
        row.end()
        return row.make(lambda: cls(**values))  # type: ignore[arg-type]


def check_digest(name: str, text: str) -> None:
    """Refuse what is no SHA-256.

    Raises:
        InvalidInputError: E113, with ``name`` as the field.
    """
    if not is_sha256(text):
        raise wrong(name, "must be a SHA-256", "64 hex digits", repr(text)[:80])


def wrong(name: str, what: str, expected: object, found: object) -> InvalidInputError:
    """E113 for field ``name`` of a record that is being built."""
    return InvalidInputError("E113", what, expected=expected, found=found, field=name)
