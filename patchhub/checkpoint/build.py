"""Fills the directory of a generation: links what did not change, composes and writes what did."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from patchhub.canonical import sha256
from patchhub.checkpoint.files import other_files, stamp
from patchhub.checkpoint.plan import METADATA, Shard, Source, index_bytes
from patchhub.checkpoint.records import State
from patchhub.composer.exact_sum import compose
from patchhub.composer.mapped import MappedFile
from patchhub.composer.stack import sites_of, terms_at
from patchhub.durable import link_or_copy, write_new
from patchhub.errors import PatchHubError
from patchhub.fingerprint import Fingerprint, Progress, check_tensors
from patchhub.kinds.storage import view_bytes
from patchhub.patch import Patch
from patchhub.tensorcopy import copy_tensors
from patchhub.tensorfile import INDEX, CheckpointFiles, Raw, read_header, write


@dataclass
class Builder:
    """Writes one generation into an empty directory that nobody reads yet.

    Attributes:
        directory: Of the generation.
        base: The base's files; they are read and linked, never written.
        fingerprint: Of the base.
        patches: The stack.
        known: Directory and state of generations whose files have marks: the current one, which did
            not drift, and one before; none at first.
        trusted: Tensors of the base that an earlier change checked; their files have the stamps
            they had then.
        older: Directories of other generations; their files are checked before they are used.
        progress: Told the bytes written and those to be written.
        touched: SHA-256 of the composed bytes of every touched tensor; filled by `build`.
    """

    directory: Path
    base: CheckpointFiles
    fingerprint: Fingerprint
    patches: Sequence[Patch]
    known: Sequence[tuple[Path, State]]
    trusted: Collection[str]
    older: Sequence[Path]
    progress: Progress | None = None
    touched: dict[str, str] = field(default_factory=dict)

    def build(self, shards: Sequence[Shard]) -> None:
        """Write or link every file but the identity.

        Raises:
            IntegrityError: E201, bytes of the base are not those of its fingerprint.
            InvalidInputError: E112, a tensor cannot be patched.
        """
        changed = any(shard.source is not Source.BASE for shard in shards)
        names = {file.name for file in self.base.shards}
        for name, path in other_files(self.base.directory, names, drop_weights=changed).items():
            (self.directory / name).parent.mkdir(parents=True, exist_ok=True)
            self._link(name, path)
        for shard in shards:
            if shard.source is Source.BASE:
                self._link(shard.name, self.base.directory / shard.name)
        new = [s for s in shards if s.source is not Source.BASE and not self._reuse(s)]
        self._write_all(new)
        if changed:
            write_new(self.directory / INDEX, index_bytes(self.base, shards))

    def _link(self, name: str, source: Path) -> None:
        spare = None
        for folder, _ in self.known[:1]:
            if (folder / name).is_file():
                here, there = (folder / name).stat(), source.stat()
                same = (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
                spare = folder / name if same else None
        link_or_copy(source, self.directory / name, spare)

    def _reuse(self, shard: Shard) -> bool:
        """Link a shard that an earlier generation has; equal names mean equal bytes."""
        for folder, state in self.known:
            mark, file = state.files.get(shard.name), folder / shard.name
            if mark is not None and file.is_file() and stamp(file) == mark.stamp:
                link_or_copy(file, self.directory / shard.name)
                if shard.ids:
                    self.touched[shard.tensors[0]] = state.touched[shard.tensors[0]]
                return True
        for folder in self.older if shard.source is Source.REST else ():
            if self._intact(folder / shard.name, shard):
                link_or_copy(folder / shard.name, self.directory / shard.name)
                return True
        return False

    def _intact(self, file: Path, shard: Shard) -> bool:
        wanted = {name: self.fingerprint.tensors[name].sha256 for name in shard.tensors}
        try:
            headers = read_header(file)
            check_tensors(CheckpointFiles(file.parent, (file,), headers, None), wanted)
        except PatchHubError:
            return False
        return headers.keys() == wanted.keys()

    def _write_all(self, shards: Sequence[Shard]) -> None:
        """Write shards; meanwhile the base's tensors are checked and composed ones are hashed.

        Hashing and writing take about as long as each other and wait for different things. It does
        not run beside the composer, which needs all processors at the same moment.
        """
        sizes = [sum(map(self._size, shard.tensors)) for shard in shards]
        written = {name for shard in shards for name in shard.tensors}
        others = [name for name in sites_of(self.patches) if name not in written]
        with ThreadPoolExecutor(max_workers=2) as pool:
            for i, shard in enumerate(shards):
                composed = self._compose(shard) if shard.ids else None
                checked = pool.submit(self._check, shard.tensors)
                if composed is None:
                    headers = [self.base.tensors[name] for name in shard.tensors]
                    copy_tensors(self.directory / shard.name, headers, METADATA)
                else:
                    data = composed[shard.tensors[0]][2]
                    digest = pool.submit(sha256, data)
                    write(self.directory / shard.name, composed, METADATA, fsync=True)
                    self.touched[shard.tensors[0]] = digest.result()
                checked.result()
                if self.progress is not None:
                    self.progress(sum(sizes[: i + 1]), sum(sizes))
        self._check(others)

    def _check(self, names: Iterable[str]) -> None:
        known = self.fingerprint.tensors
        wanted = {name: known[name].sha256 for name in names if name not in self.trusted}
        if wanted:
            check_tensors(self.base, wanted)

    def _size(self, name: str) -> int:
        return self.base.tensors[name].end - self.base.tensors[name].begin

    def _compose(self, shard: Shard) -> dict[str, Raw]:
        (name,) = shard.tensors
        header = self.base.tensors[name]
        base = MappedFile.open(header.file).view(header)
        composed = compose(base, sites_of(self.patches)[name], terms_at(name, self.patches))
        return {name: (header.dtype, header.shape, view_bytes(composed))}
