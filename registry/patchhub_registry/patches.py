"""Stored patches: what a listing shows, what a reference finds, and whether the files are right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from patchhub.canonical import sha256
from patchhub.errors import IntegrityError
from patchhub_registry import paths
from patchhub_registry.schema import Record

if TYPE_CHECKING:
    from patchhub.manifest import FileEntry, Manifest


Row = tuple[str | int | None, ...]
"""A line of one of the index's tables."""


class PatchSummary(NamedTuple):
    """One line of a listing. Read without the checks of `Store.patch`; ``verify`` does those."""

    name: str
    version: int
    id: str
    base: str
    kind: str
    method: str
    sites: tuple[str, ...]
    created: str
    sensitivity: str
    review_after: str | None
    message: str

    @property
    def ref(self) -> str:
        """``name@n``."""
        return f"{self.name}@{self.version}"

    @property
    def short(self) -> str:
        """``ph:`` and 12 hex digits."""
        return f"ph:{self.id[:12]}"


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """One stored patch.

    Attributes:
        record: What was observed.
        digest: SHA-256 of record.json; what stack entries and approvals name.
        manifest: What the patch is; its id was checked against the record.
        path: Its directory in the registry.
    """

    record: Record
    digest: str
    manifest: Manifest
    path: str

    @property
    def name(self) -> str:
        """Patch name."""
        return self.record.name

    @property
    def version(self) -> int:
        """Version."""
        return self.record.version

    @property
    def ref(self) -> str:
        """``name@n``."""
        return f"{self.name}@{self.version}"

    @property
    def id(self) -> str:
        """Patch id, 64 hex digits."""
        return self.record.patch

    @property
    def short(self) -> str:
        """``ph:`` and 12 hex digits."""
        return f"ph:{self.id[:12]}"


def check_files(manifest: Manifest, files: Mapping[str, FileEntry], where: str) -> None:
    """Hold digests and sizes of a patch directory's files against its manifest.

    Args:
        manifest: Says what they must be.
        files: All files by name, without the manifest.
        where: The directory, for messages.

    Raises:
        IntegrityError: E117, a foreign or missing file; E202, a wrong digest.
    """
    for name in sorted(manifest.files.keys() ^ files.keys()):
        what = "is missing" if name in manifest.files else "is not listed in patch.json"
        raise IntegrityError("E117", f"{where}/{name} {what}")
    for name in sorted(files):
        expected, found = manifest.files[name], files[name]
        if found != expected:
            raise IntegrityError(
                "E202",
                f"{where}/{name} does not match its manifest",
                expected=f"{expected.size} bytes, sha256 {expected.sha256}",
                found=f"{found.size} bytes, sha256 {found.sha256}",
            )


def measured(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """Digest and size of every file but the manifest."""
    from patchhub.manifest import FileEntry

    return {
        name: FileEntry(sha256(data), len(data))
        for name, data in files.items()
        if name != paths.MANIFEST
    }


def rows(where: str, files: Mapping[str, bytes]) -> tuple[Row, list[Row]]:
    """What the index notes of a patch: its row of ``patches`` and its rows of ``facts``.

    Args:
        where: Its directory.
        files: Its record, manifest and requests by name.

    Raises:
        IntegrityError: E204, one of them cannot be read.
    """
    *_, name, version = where.split("/")
    try:
        record, manifest = (json.loads(files[file]) for file in (paths.RECORD, paths.MANIFEST))
        if (record["name"], str(record["version"])) != (name, version):
            raise ValueError("another name")
        row = (
            name,
            int(version),
            str(record["patch"]),
            str(record["base"]),
            str(manifest["kind"]),
            str(manifest["method"]["name"]),
            "\n".join(str(site["tensor"]) for site in manifest["sites"]),
            str(record["created"]),
            str(record["sensitivity"]),
            record["review_after"] and str(record["review_after"]),
            str(record["message"]),
        )
        requests = files.get(paths.REQUESTS, b"").splitlines()
        facts: list[Row] = [
            (name, int(version), i, *_fact(line)) for i, line in enumerate(requests)
        ]
        "".join(str(cell) for line in (row, *facts) for cell in line).encode()  # no lone surrogate
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            "E204",
            f"{where} is damaged: record, manifest or requests cannot be read",
            hint="patchhub verify says more",
        ) from error
    return row, facts


def _fact(line: bytes) -> tuple[str, ...]:
    request = json.loads(line)
    known = ("subject", "relation", "prompt", "target")
    subject, relation, prompt, target = (str(request.get(key) or "") for key in known)
    return subject, relation, prompt, target, subject.casefold()
