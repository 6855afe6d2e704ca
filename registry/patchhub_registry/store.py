"""Reading a registry at one commit: bases, patches, statements, policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from patchhub.canonical import sha256
from patchhub.errors import IntegrityError, NotFoundError, PatchHubError
from patchhub_registry import lfs, paths
from patchhub_registry.git import Git
from patchhub_registry.lfs import Payloads
from patchhub_registry.names import Ref, check_name
from patchhub_registry.objects import Objects, TreeEntry
from patchhub_registry.patches import PatchRecord, check_files, measured
from patchhub_registry.schema import BaseRecord, Record, Statement

Ids = Callable[[str], Sequence[tuple[str, str, int]]]


class Store:
    """What a registry says at one commit.

    Args:
        git: The repository.
        objects: Reader of the same repository.
        commit: The commit; every answer comes from it.
        ids: Id, name and version of the commit's patches whose id begins with some hex digits.

    Attributes:
        payloads: Where the large payloads lie.
    """

    def __init__(self, git: Git, objects: Objects, commit: str, ids: Ids | None = None) -> None:
        self.commit = commit
        self.payloads = Payloads(git)
        self._ids = self._read_ids if ids is None else ids
        self._git = git
        self._objects = objects

    def file(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        found = self._objects.get(f"{self.commit}:{path}")
        return found.data if found is not None and found.type == "blob" else None

    def directory(self, path: str) -> dict[str, TreeEntry]:
        """Entries of a directory; empty if there is none."""
        return self._objects.tree(f"{self.commit}:{path}")

    def files(self, path: str) -> dict[str, bytes]:
        """The files of one directory by name."""
        entries = {name: e.id for name, e in self.directory(path).items() if not e.is_tree}
        found = self._objects.many(list(entries.values()))
        return {name: blob.data for name, blob in zip(entries, found, strict=True) if blob}

    def walk(self, *below: str) -> dict[str, TreeEntry]:
        """Every file below some directories by path; without any, every file of the commit."""
        command = ("ls-tree", "-r", "-z", "--full-tree", self.commit, "--", *below)
        lines = self._git.run(*command).decode("utf-8", "surrogateescape").split("\0")
        return dict(_tree_line(line) for line in lines if line)

    def contents(self, entries: Mapping[str, TreeEntry]) -> Iterator[tuple[str, bytes]]:
        """Path and content of files that `walk` found.

        Raises:
            IntegrityError: E204, an object is missing.
        """
        found = self._objects.many([entry.id for entry in entries.values()])
        for path, blob in zip(entries, found, strict=True):
            if blob is None:
                raise IntegrityError("E204", f"{path}: its git object is missing")
            yield path, blob.data

    def bases(self) -> list[BaseRecord]:
        """All bases, by name."""
        return [self.base(name) for name in sorted(self.directory("bases"))]

    def base(self, name: str) -> BaseRecord:
        """One base.

        Raises:
            NotFoundError: E106.
        """
        return BaseRecord.from_bytes(self._base(name), paths.base_file(name))

    def base_weights(self, name: str) -> str:
        """Digest of a base's weights, read without checking its table of tensors.

        Raises:
            NotFoundError: E106.
            IntegrityError: E204, the file is damaged.
        """
        try:
            return str(json.loads(self._base(name))["weights"])
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError("E204", f"{paths.base_file(name)} is damaged") from error

    def _base(self, name: str) -> bytes:
        data = self.file(paths.base_file(check_name(name, "base")))
        if data is None:
            names = list(self.directory("bases"))
            raise _missing(
                "E106", f'no base "{name}"', name, names, 'add it with "patchhub base add"'
            )
        return data

    def versions(self, name: str) -> list[int]:
        """Versions of a patch, ascending; empty if there is no such patch."""
        found = self.directory(paths.patch_name_dir(name))
        return sorted(int(version) for version in found if version.isdecimal())

    def resolve(self, text: str) -> tuple[str, int]:
        """Name and version that a reference means.

        Raises:
            InvalidInputError: E101, not a reference.
            NotFoundError: E102, no such patch; E103, no such version; E104, ambiguous.
        """
        ref = Ref.parse(text)
        if ref.name is None:
            return self._by_id(ref)
        versions = self.versions(ref.name)
        if not versions:
            names = sorted({path.split("/")[2] for path in self._records()})
            raise _missing("E102", f'no patch "{ref.name}"', ref.name, names)
        if ref.version is None:
            return ref.name, versions[-1]
        if ref.version not in versions:
            known = f"version{'s' if len(versions) > 1 else ''} {_span(versions)}"
            raise NotFoundError("E103", f"{ref.name} has {known}; there is no {ref.version}")
        return ref.name, ref.version

    def patch(self, text: str) -> PatchRecord:
        """The patch that a reference means; manifest and record are checked, payload is not.

        Raises:
            PatchHubError: As `resolve`; E202, the manifest is not the one the record names.
        """
        from patchhub.manifest import Manifest

        name, version = self.resolve(text)
        path = paths.patch_dir(name, version)
        record_data = self._required(f"{path}/{paths.RECORD}")
        manifest_data = self._required(f"{path}/{paths.MANIFEST}")
        record = Record.from_bytes(record_data, f"{path}/{paths.RECORD}")
        if sha256(manifest_data) != record.patch:
            raise IntegrityError(
                "E202",
                f"{path}/{paths.MANIFEST} is not the manifest that record.json names",
                expected=record.patch,
                found=sha256(manifest_data),
            )
        manifest = Manifest.from_bytes(manifest_data, f"{path}/{paths.MANIFEST}")
        return PatchRecord(record, sha256(record_data), manifest, path)

    def patch_files(self, text: str) -> dict[str, bytes]:
        """The patch directory's files, every digest checked.

        Raises:
            PatchHubError: As `patch`; E117, a foreign or missing file; E120, a large payload was
                not fetched; E202, a wrong digest.
        """
        patch = self.patch(text)
        files = self.files(patch.path)
        for name in (paths.RECORD, lfs.ATTRIBUTES):
            files.pop(name, None)
        for name, pointer in lfs.pointers(files).items():
            files[name] = self.payloads.read(pointer, f"{patch.path}/{name}")
        check_files(patch.manifest, measured(files), patch.path)
        return files

    def statements(self, subject: str) -> list[Statement]:
        """Statements about a digest."""
        return [
            Statement(subject, name.rpartition("-")[0], data)
            for name, data in sorted(self.files(paths.statements_dir(subject)).items())
        ]

    def policies(self) -> list[int]:
        """Numbers of the registry's policies, ascending."""
        places = map(paths.place, (f"policy/{name}" for name in self.directory("policy")))
        return sorted(int(place.parts[0]) for place in places if place is not None)

    def policy(self, number: int | None = None) -> bytes | None:
        """A policy file, by default the one in force (the highest); None if there is none."""
        known = self.policies()
        if number is None and not known:
            return None
        return self.file(paths.policy_file(known[-1] if number is None else number))

    def _required(self, path: str) -> bytes:
        data = self.file(path)
        if data is None:
            raise IntegrityError("E117", f"{path} is missing")
        return data

    def _records(self) -> dict[str, TreeEntry]:
        found = self.walk("patches")
        return {path: entry for path, entry in found.items() if path.endswith(f"/{paths.RECORD}")}

    def _read_ids(self, prefix: str) -> list[tuple[str, str, int]]:
        records = [Record.from_bytes(data, path) for path, data in self.contents(self._records())]
        return [(r.patch, r.name, r.version) for r in records if r.patch.startswith(prefix)]

    def _by_id(self, ref: Ref) -> tuple[str, int]:
        found = self._ids(str(ref.id))
        ids = sorted({patch_id for patch_id, _, _ in found})
        if not found:
            raise NotFoundError("E102", f"no patch {ref}")
        if len(ids) > 1:
            listed = ", ".join(f"ph:{one[:12]}" for one in ids[:5])
            raise NotFoundError(
                "E104", f'"{ref}" is ambiguous', found=listed, hint="give more digits"
            )
        return found[0][1:]


def _tree_line(line: str) -> tuple[str, TreeEntry]:
    facts, _, path = line.partition("\t")
    mode, _, oid = facts.split(" ")
    return path, TreeEntry(mode.lstrip("0"), oid)


def _missing(
    code: str, what: str, name: str, known: Sequence[str], hint: str | None = None
) -> PatchHubError:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return NotFoundError(code, what, hint=f'did you mean "{near[0]}"?' if near else hint)


def _span(numbers: Sequence[int]) -> str:
    dense = numbers[-1] - numbers[0] + 1 == len(numbers)
    return (
        f"{numbers[0]}-{numbers[-1]}"
        if dense and len(numbers) > 1
        else ", ".join(map(str, numbers))
    )
