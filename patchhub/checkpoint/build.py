"""Fills the directory of a generation: links what did not change, composes and writes what did."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from patchhub.canonical import sha256
from patchhub.checkpoint.durable import link_or_copy, write_new
from patchhub.checkpoint.files import other_files, stamp
from patchhub.checkpoint.plan import METADATA, Shard, Source, index_bytes
from patchhub.checkpoint.records import State
from patchhub.composer.exact_sum import compose
from patchhub.composer.mapped import MappedFile
from patchhub.composer.stack import sites_of, terms_at
from patchhub.errors import PatchHubError
from patchhub.fingerprint import Fingerprint, Progress, check_tensors
from patchhub.kinds.storage import view_bytes
from patchhub.patch import Patch
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
        older: Directories of other generations; their files are checked before they are used.
        progress: Told the bytes written and those to be written.
        touched: SHA-256 of the composed bytes of every touched tensor; filled by `build`.
    """

    directory: Path
    base: CheckpointFiles
    fingerprint: Fingerprint
    patches: Sequence[Patch]
    known: Sequence[tuple[Path, State]]
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
        needed = {*sites_of(self.patches), *(name for shard in new for name in shard.tensors)}
        wanted = {name: self.fingerprint.tensors[name].sha256 for name in needed}
        # Hashing and writing take about as long as each other, and wait for different things.
        with ThreadPoolExecutor(max_workers=2) as pool:
            checked = pool.submit(check_tensors, self.base, wanted)
            digests = self._write_all(new, pool)
            checked.result()
            self.touched |= {name: digest.result() for name, digest in digests.items()}
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

    def _write_all(self, shards: Sequence[Shard], pool: Executor) -> dict[str, Future[str]]:
        """Write shards; the digests of what was composed are taken meanwhile."""
        sizes = [
            sum(self.base.tensors[n].end - self.base.tensors[n].begin for n in shard.tensors)
            for shard in shards
        ]
        digests: dict[str, Future[str]] = {}
        for i, shard in enumerate(shards):
            raws = self._raws(shard)
            if shard.ids:
                digests |= {name: pool.submit(sha256, raw[2]) for name, raw in raws.items()}
            write(self.directory / shard.name, raws, METADATA, fsync=True)
            if self.progress is not None:
                self.progress(sum(sizes[: i + 1]), sum(sizes))
        return digests

    def _raws(self, shard: Shard) -> dict[str, Raw]:
        """What goes into a shard: composed tensors, or views of the base's file."""
        headers = [self.base.tensors[name] for name in shard.tensors]
        mapped = MappedFile.open(headers[0].file)
        if not shard.ids:
            return {h.name: (h.dtype, h.shape, mapped.data(h)) for h in headers}
        (header,) = headers
        site, terms = sites_of(self.patches)[header.name], terms_at(header.name, self.patches)
        composed = compose(mapped.view(header), site, terms)
        return {header.name: (header.dtype, header.shape, view_bytes(composed))}
