"""Stored patches: what a listing shows, what a reference finds, and whether the files are right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchhub.canonical import sha256
from patchhub.errors import IntegrityError
from patchhub_registry import paths
from patchhub_registry.schema import Record

if TYPE_CHECKING:
    from patchhub.manifest import Manifest


@dataclass(frozen=True, slots=True)
class PatchSummary:
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


def check_files(manifest: Manifest, files: Mapping[str, bytes], where: str) -> None:
    """Hold a patch directory's files against its manifest.

    Raises:
        IntegrityError: E117, a foreign or missing file; E202, a wrong digest.
    """
    listed = set(manifest.files)
    present = set(files) - {paths.MANIFEST}
    for name in sorted(listed ^ present):
        what = "is missing" if name in listed else "is not listed in patch.json"
        raise IntegrityError("E117", f"{where}/{name} {what}")
    for name in sorted(listed):
        found = sha256(files[name])
        if found != manifest.files[name].sha256:
            raise IntegrityError(
                "E202",
                f"{where}/{name} does not match its manifest",
                expected=manifest.files[name].sha256,
                found=found,
            )


def summary(path: str, data: Mapping[str, bytes]) -> PatchSummary:
    """The line of a patch.

    Args:
        path: Path of its record.
        data: Content of record and manifest by path.

    Raises:
        IntegrityError: E204, one of them cannot be read.
    """
    try:
        record = json.loads(data[path])
        manifest = json.loads(data[path.removesuffix(paths.RECORD) + paths.MANIFEST])
        review = record["review_after"]
        return PatchSummary(
            name=str(record["name"]),
            version=int(record["version"]),
            id=str(record["patch"]),
            base=str(record["base"]),
            kind=str(manifest["kind"]),
            method=str(manifest["method"]["name"]),
            sites=tuple(str(site["tensor"]) for site in manifest["sites"]),
            created=str(record["created"]),
            sensitivity=str(record["sensitivity"]),
            review_after=None if review is None else str(review),
            message=str(record["message"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            "E204", f"{path} or its manifest is damaged", hint="patchhub verify says more"
        ) from error
