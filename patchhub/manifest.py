"""What ``patch.json`` says: what an edit is, and nothing of when, where or by whom it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import ClassVar, Final, TypeVar

from patchhub import canonical
from patchhub.errors import InvalidInputError
from patchhub.fields import Fields, InFile
from patchhub.provenance import MethodRecord, check_digest, wrong
from patchhub.tensorheader import BITS

__all__ = [
    "FILE",
    "Algebra",
    "FileEntry",
    "Kind",
    "Manifest",
    "MethodRecord",
    "Orientation",
    "Site",
]

E = TypeVar("E", bound=StrEnum)

FILE: Final = "patch.json"


class Kind(StrEnum):
    """How a patch acts on a model."""

    LOW_RANK = "low_rank"
    DENSE = "dense"
    SPARSE = "sparse"
    NEURONS = "neurons"
    CODEBOOK = "codebook"
    MEMORY = "memory"


class Algebra(StrEnum):
    """How patches of a stack meet: which of them commute, and in which order the others act."""

    ADDITIVE = "additive"
    """Adds to weights; all such patches commute."""
    ASSIGN = "assign"
    """Sets weights; what is pushed later adds on top of it."""
    OUTPUT = "output"
    """Adds to a module's output; all such patches commute."""
    OVERRIDE = "override"
    """Replaces a module's output where a key fires; the stack's order settles ties."""
    OUTSIDE = "outside"
    """Acts outside the model."""

    @property
    def on_weights(self) -> bool:
        """Whether what such a patch was computed on is provenance only.

        Then any of them may leave from the middle of a stack; the others hold to their context.
        """
        return self in (Algebra.ADDITIVE, Algebra.ASSIGN)


class Orientation(StrEnum):
    """How the checkpoint stores a tensor. Patch tensors are always (d_out, d_in) or (n,)."""

    OUT_IN = "out_in"
    IN_OUT = "in_out"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Site:
    """One base tensor that a patch touches.

    Attributes:
        tensor: Its name in the checkpoint.
        orientation: How the checkpoint stores it.
        shape: As stored.
        dtype: As stored, by its safetensors name.
        pre: SHA-256 of the base's stored bytes.
        rank: Rank of the update, for kinds that have one.
        expert: Which expert of a fused tensor, if it is one.
        runtime: Path of the module in the running model, where it is not the tensor's name without
            its last part (GPT-2's first checkpoints leave out ``transformer.``).
    """

    tensor: str
    orientation: Orientation
    shape: tuple[int, ...]
    dtype: str
    pre: str
    rank: int | None = None
    expert: int | None = None
    runtime: str | None = None

    def __post_init__(self) -> None:
        dimensions = 1 if self.orientation is Orientation.VECTOR else 2
        fused = 0 if self.expert is None else 1
        if len(self.shape) != dimensions + fused or min(self.shape) < 1:
            words = f"{dimensions + fused} dimensions for {self.orientation}"
            raise wrong("shape", "does not fit the orientation", words, list(self.shape))
        if fused and not 0 <= (self.expert or 0) < self.shape[0]:
            raise wrong("expert", "is out of range", f"below {self.shape[0]}", self.expert)
        if self.dtype not in BITS:
            raise wrong("dtype", "is not known", " ".join(BITS), self.dtype)
        if self.rank is not None and self.rank < 1:
            raise wrong("rank", "must be positive", None, self.rank)
        check_digest("pre", self.pre)
        for name, text in (("tensor", self.tensor), ("runtime", self.runtime or "-")):
            if not text or not text.isascii() or not text.isprintable():
                raise wrong(name, "must be printable ASCII", None, repr(text))

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """Shape of the patch's tensors: (d_out, d_in), or (n,) for a vector."""
        shape = self.shape if self.expert is None else self.shape[1:]
        return shape[::-1] if self.orientation is Orientation.IN_OUT else shape

    @property
    def module(self) -> str:
        """Path of the module that owns the tensor."""
        return self.runtime or self.tensor.removesuffix(".weight").removesuffix(".bias")

    def to_json(self) -> dict[str, canonical.Json]:
        """The site as a record; absent fields are left out."""
        value: dict[str, canonical.Json] = {
            "tensor": self.tensor,
            "orientation": str(self.orientation),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "pre": self.pre,
        }
        optional = {"rank": self.rank, "expert": self.expert, "runtime": self.runtime}
        return value | {name: item for name, item in optional.items() if item is not None}

    @classmethod
    def read(cls, row: Fields) -> Site:
        """The site of a record; every complaint names its field."""
        values = (
            row.filled("tensor"),
            _one_of(row, "orientation", Orientation),
            row.integers("shape"),
            row.filled("dtype"),
            row.sha256("pre"),
            row.optional(row.integer, "rank"),
            row.optional(row.integer, "expert"),
            row.optional(row.filled, "runtime"),
        )
        row.end()
        return row.make(lambda: cls(*values))


@dataclass(frozen=True, slots=True)
class FileEntry:
    """SHA-256 and size in bytes of one file of the patch."""

    sha256: str
    size: int

    def to_json(self) -> dict[str, canonical.Json]:
        """The entry as a record."""
        return {"sha256": self.sha256, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of ``patch.json``; the SHA-256 of its bytes is the patch's id.

    Attributes:
        kind: How the patch acts.
        sites: What it touches, sorted by tensor and expert.
        base: Digest of the base's weights.
        onto: Ids of the patches that the model carried while the edit was computed.
        method: How it was computed.
        files: Every other file of the patch, by name.
        content: Digest of the table of its tensors; survives a re-save by another tool.
        algebra: How it meets other patches.
        supersedes: Ids of the patches it stands for, sorted; it takes their place in a stack.
    """

    SCHEMA: ClassVar[int] = 1

    kind: Kind
    sites: tuple[Site, ...]
    base: str
    onto: tuple[str, ...]
    method: MethodRecord
    files: Mapping[str, FileEntry]
    content: str
    algebra: str = Algebra.ADDITIVE
    supersedes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys = [(site.tensor, -1 if site.expert is None else site.expert) for site in self.sites]
        if keys != sorted(set(keys)):
            raise wrong("sites", "must be sorted by tensor and expert, each once", None, keys)
        check_digest("base", self.base)
        check_digest("content", self.content)
        for name, ids in (("onto", self.onto), ("supersedes", self.supersedes)):
            for i, digest in enumerate(ids):
                check_digest(f"{name}[{i}]", digest)
        if list(self.supersedes) != sorted(set(self.supersedes)):
            raise wrong("supersedes", "must be sorted, each id once", None, list(self.supersedes))
        for name, entry in self.files.items():
            if name in (FILE, ".", "..") or PurePosixPath(name).name != name or "\\" in name:
                raise wrong("files", "must name plain files beside the manifest", None, repr(name))
            check_digest(f"files.{name}.sha256", entry.sha256)

    @property
    def id(self) -> str:
        """The patch's id: 64 hex digits."""
        return canonical.sha256(self.to_bytes())

    @property
    def short(self) -> str:
        """The id's short form for people."""
        return f"ph:{self.id[:12]}"

    def to_bytes(self) -> bytes:
        """The bytes of ``patch.json``.

        Raises:
            InvalidInputError: E113, a setting has no canonical form.
        """
        value: dict[str, canonical.Json] = {
            "schema": self.SCHEMA,
            "kind": str(self.kind),
            "sites": [site.to_json() for site in self.sites],
            "base": self.base,
            "onto": list(self.onto),
            "method": self.method.to_json(),
            "files": {name: entry.to_json() for name, entry in self.files.items()},
            "content": self.content,
            "algebra": str(self.algebra),
        }
        if self.supersedes:
            value["supersedes"] = list(self.supersedes)
        return canonical.dumps(value)

    @classmethod
    def from_bytes(cls, data: bytes, what: str = FILE) -> Manifest:
        """Parse ``patch.json``.

        Raises:
            IntegrityError: E116, not canonical JSON.
            InvalidInputError: E113, a field is wrong, missing or unknown; E114, unknown schema.
        """
        record = Fields(canonical.loads(data, what=what), InFile(what, "E113", InvalidInputError))
        if record.integer("schema") != cls.SCHEMA:
            raise InvalidInputError(
                "E114",
                f"{what}: schema is not known",
                expected=cls.SCHEMA,
                found=record.integer("schema"),
                hint="a newer PatchHub wrote this; update",
            )
        values = (
            _one_of(record, "kind", Kind),
            tuple(Site.read(row) for row in record.inners("sites")),
            record.sha256("base"),
            record.texts("onto"),
            MethodRecord.read(record.inner("method")),
            {name: _file(row) for name, row in record.table("files")},
            record.sha256("content"),
            _one_of(record, "algebra", Algebra),
            record.optional(record.texts, "supersedes") or (),
        )
        record.end()
        manifest = record.make(lambda: cls(*values))
        if manifest.to_bytes() != data:
            raise InvalidInputError("E113", f"{what}: has null or [] for what must be left out")
        return manifest


def _file(row: Fields) -> FileEntry:
    entry = FileEntry(row.sha256("sha256"), row.integer("size"))
    row.end()
    return entry


def _one_of(row: Fields, name: str, words: type[E]) -> E:
    found = row.filled(name)
    try:
        return words(found)
    except ValueError:
        known = ", ".join(words)
        raise row.error(name, "is not known", expected=f"one of {known}", found=found) from None
