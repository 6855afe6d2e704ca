"""Large payloads exactly as Git LFS keeps them, without needing git-lfs.

The tree holds a pointer, a ``.gitattributes`` beside it names the file, and the bytes lie in git's
own LFS store under their SHA-256. Stock git-lfs then pushes and fetches them; where it is set up,
a work tree holds the bytes, elsewhere the pointer, as git itself would check them out.

Source: the pointer format, github.com/git-lfs/git-lfs, docs/spec.md, version 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from patchhub import lock
from patchhub.canonical import sha256
from patchhub.errors import IntegrityError, NotFoundError
from patchhub_registry.git import Git

LIMIT = 64 * 1024
"""Payloads of more bytes are kept here; smaller ones in git."""
ATTRIBUTES = ".gitattributes"
SUFFIX = ".safetensors"
"""Only payloads are large; what a reader needs to know about them always lies in git."""
RULE = "filter=lfs diff=lfs -text\n"

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\n"
    rb"size (0|[1-9][0-9]{0,18})\n"
)
_WAIT = 60.0

Source = bytes | Path
"""A payload in memory or in a file."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What stands in the tree for a large payload.

    Attributes:
        oid: SHA-256 of the payload.
        size: Its bytes.
    """

    oid: str
    size: int

    def to_bytes(self) -> bytes:
        """The pointer file."""
        version = "https://git-lfs.github.com/spec/v1"
        return f"version {version}\noid sha256:{self.oid}\nsize {self.size}\n".encode()

    @classmethod
    def read(cls, data: bytes) -> Pointer | None:
        """The pointer in a file; None if it holds something else.

        No safetensors file can be taken for one: its first bytes would be the length of a header
        larger than any disk.
        """
        found = _POINTER.fullmatch(data)
        return None if found is None else cls(found[1].decode(), int(found[2]))


def split(files: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[Pointer, Source]]:
    """A directory's files as the tree holds them, and the payloads they only point to."""
    large = {n: d for n, d in files.items() if n.endswith(SUFFIX) and len(d) > LIMIT}
    found = {name: Pointer(sha256(data), len(data)) for name, data in large.items()}
    held = {**files, **{name: pointer.to_bytes() for name, pointer in found.items()}}
    if found:
        held[ATTRIBUTES] = attributes(found)
    return held, {found[name]: data for name, data in large.items()}


def pointers(files: Mapping[str, bytes]) -> dict[str, Pointer]:
    """The pointers among a directory's files, by name."""
    found = {name: Pointer.read(data) for name, data in files.items() if name.endswith(SUFFIX)}
    return {name: pointer for name, pointer in found.items() if pointer is not None}


def attributes(names: Mapping[str, Pointer]) -> bytes:
    """The ``.gitattributes`` of a directory with pointers."""
    return "".join(f"{name} {RULE}" for name in sorted(names)).encode()


class Payloads:
    """The LFS store of one repository.

    Args:
        git: The repository.
    """

    def __init__(self, git: Git) -> None:
        self._git = git
        self._known: Path | None = None

    @property
    def directory(self) -> Path:
        """Where the store lies: ``.git/lfs``, or what ``lfs.storage`` says."""
        if self._known is None:
            common = self._git.places[1]
            said = self._git.run("config", "-z", "--get", "lfs.storage", accept=(0, 1))
            self._known = common / (os.fsdecode(said.rstrip(b"\0")) or "lfs")
        return self._known

    def file(self, oid: str) -> Path:
        """Where the payload of a digest lies, if it is here."""
        return self.directory / "objects" / oid[:2] / oid[2:4] / oid

    def find(self, pointer: Pointer, what: str) -> Path:
        """The file of a payload; its size was checked, its bytes were not.

        Raises:
            NotFoundError: E120, it is not on this machine.
            IntegrityError: E202, it has another size.
        """
        file = self.file(pointer.oid)
        try:
            size = file.stat().st_size
        except FileNotFoundError as error:
            raise NotFoundError(
                "E120",
                f"{what}: the payload is not on this machine",
                expected=f"{pointer.size} bytes, sha256 {pointer.oid}",
                hint='fetch it with "git lfs pull"',
            ) from error
        if size != pointer.size:
            raise _wrong(what, pointer, f"{size} bytes")
        return file

    def check(self, pointer: Pointer, what: str) -> Path:
        """The file of a payload, read through and found right.

        Raises:
            PatchHubError: As `find`; E202 also for other bytes.
        """
        file = self.find(pointer, what)
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != pointer.oid:
            raise _wrong(what, pointer, f"sha256 {found}")
        return file

    def read(self, pointer: Pointer, what: str) -> bytes:
        """A payload in memory, found right.

        Raises:
            PatchHubError: As `check`.
        """
        data = self.find(pointer, what).read_bytes()
        if sha256(data) != pointer.oid:
            raise _wrong(what, pointer, f"sha256 {sha256(data)}")
        return data

    def keep(self, pointer: Pointer, source: Source) -> None:
        """Store a payload durably; one that is there with these bytes already stays.

        Raises:
            IntegrityError: E202, the source is not what the pointer says.
        """
        from patchhub.durable import sync_directory  # readers do without it

        with contextlib.suppress(NotFoundError, IntegrityError):  # a damaged one is replaced
            os.utime(self.check(pointer, pointer.oid))  # young again: `gc` lets it be
            return
        self.directory.mkdir(exist_ok=True)
        target = self.file(pointer.oid)
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock.locked(self.directory / "patchhub.lock", _WAIT, "the store of payloads"):
            self._put(pointer, source, target)
        for directory in target.parents[:5]:  # up to the one that holds the store
            sync_directory(directory)

    def keep_missing(self, wanted: Mapping[Pointer, Source]) -> None:
        """Store those that are not here. While the registry's lock is held `gc` takes none of them.

        Raises:
            IntegrityError: As `keep`.
        """
        for pointer, source in wanted.items():
            if not self.file(pointer.oid).exists():
                self.keep(pointer, source)

    def is_set_up(self) -> bool:
        """Whether git runs git-lfs here, so that a work tree holds bytes and not pointers."""
        said = self._git.run(
            *("config", "-z", "--get-regexp", r"^filter\.lfs\.(clean|process)$"),
            variables={"GIT_CONFIG_NOSYSTEM": os.environ.get("GIT_CONFIG_NOSYSTEM", "0")},
            accept=(0, 1),
        )
        values = [line.partition(b"\n")[2] for line in said.split(b"\0")]
        return any(values) and shutil.which("git-lfs") is not None

    def _put(self, pointer: Pointer, source: Source, target: Path) -> None:
        temporary = self.directory / "tmp/patchhub"  # ours alone: what a kill left is overwritten
        temporary.parent.mkdir(exist_ok=True)
        with temporary.open("w+b") as stream:
            _copy(source, stream)
            stream.flush()
            os.fsync(stream.fileno())
            stream.seek(0)
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
        if (found, size) != (pointer.oid, pointer.size):
            temporary.unlink()
            raise _wrong(str(target), pointer, f"{size} bytes, sha256 {found}")
        temporary.replace(target)


def _copy(source: Source, stream: BinaryIO) -> None:
    if isinstance(source, bytes):
        stream.write(source)
        return
    with source.open("rb") as reader:
        shutil.copyfileobj(reader, stream, 1 << 20)


def _wrong(what: str, pointer: Pointer, found: str) -> IntegrityError:
    return IntegrityError(
        "E202",
        f"{what}: the payload does not match its digest",
        expected=f"{pointer.size} bytes, sha256 {pointer.oid}",
        found=found,
        hint="remove the damaged file and fetch it again: git lfs pull",
        payload=pointer.oid,
    )
