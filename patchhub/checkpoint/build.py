"""Fills the directory of a generation: links what did not change, composes and writes what did."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patchhub.canonical import sha256
from patchhub.checkpoint.durable import link_or_copy, write_new
from patchhub.checkpoint.files import holds_weights, list_files
from patchhub.checkpoint.plan import METADATA, Shard, Source, index_bytes
from patchhub.checkpoint.records import State
from patchhub.composer.exact_sum import compose
from patchhub.composer.stack import sites_of, terms_at
from patchhub.errors import PatchHubError
from patchhub.fingerprint import Fingerprint, Progress, check_tensors
from patchhub.identityfile import IDENTITY
from patchhub.kinds.storage import from_bytes, to_bytes
from patchhub.patch import Patch
from patchhub.tensorfile import INDEX, CheckpointFiles, Raw, read_bytes, read_header, write


@dataclass
class Builder:
    """Writes one generation into an empty directory that nobody reads yet.

    Attributes:
        directory: Of the generation.
        base: The base's files; they are read and linked, never written.
        fingerprint: Of the base.
        patches: The stack.
        current: Directory and state of the current generation, which did not drift; or none.
        older: Directories of other generations; their files are checked before they are used.
        progress: Told the bytes written and those to be written.
        touched: SHA-256 of the composed bytes of every touched tensor; filled by `build`.
    """

    directory: Path
    base: CheckpointFiles
    fingerprint: Fingerprint
    patches: Sequence[Patch]
    current: tuple[Path, State] | None
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
        self._link_others(drop_weights=changed)
        for shard in shards:
            if shard.source is Source.BASE:
                self._link(shard.name, self.base.directory / shard.name)
        new = [s for s in shards if s.source is not Source.BASE and not self._reuse(s)]
        needed = {*sites_of(self.patches), *(name for shard in new for name in shard.tensors)}
        check_tensors(self.base, {name: self.fingerprint.tensors[name].sha256 for name in needed})
        self._write_all(new)
        if changed:
            write_new(self.directory / INDEX, index_bytes(self.base, shards))

    def _link_others(self, *, drop_weights: bool) -> None:
        """Link the base's other files; copies of the weights in other formats would mislead."""
        shards = {path.name for path in self.base.shards}
        for name, path in list_files(self.base.directory).items():
            if name in shards or name == IDENTITY or (drop_weights and holds_weights(name)):
                continue
            (self.directory / name).parent.mkdir(parents=True, exist_ok=True)
            self._link(name, path)

    def _link(self, name: str, source: Path) -> None:
        spare = None
        if self.current is not None and (self.current[0] / name).is_file():
            spare = self.current[0] / name
            here, there = spare.stat(), source.stat()
            if (here.st_size, here.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
                spare = None
        link_or_copy(source, self.directory / name, spare)

    def _reuse(self, shard: Shard) -> bool:
        """Link a shard that an earlier generation has; equal names mean equal bytes."""
        if self.current is not None and shard.name in self.current[1].files:
            earlier, state = self.current
            link_or_copy(earlier / shard.name, self.directory / shard.name)
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
        sizes = [
            sum(self.base.tensors[n].end - self.base.tensors[n].begin for n in shard.tensors)
            for shard in shards
        ]
        for i, shard in enumerate(shards):
            raws = self._own(shard) if shard.source is Source.OWN else self._rest(shard)
            write(self.directory / shard.name, raws, METADATA, fsync=True)
            if self.progress is not None:
                self.progress(sum(sizes[: i + 1]), sum(sizes))

    def _own(self, shard: Shard) -> dict[str, Raw]:
        (name,) = shard.tensors
        header = self.base.tensors[name]
        data = read_bytes(header)
        if shard.ids:
            pristine = from_bytes(header.dtype, header.shape, data)
            site = sites_of(self.patches)[name]
            data = to_bytes(compose(pristine, site, terms_at(name, self.patches)))
            self.touched[name] = sha256(data)
        return {name: (header.dtype, header.shape, data)}

    def _rest(self, shard: Shard) -> dict[str, Raw]:
        """Views of the base's file, so that a large shard takes no memory of its own."""
        file = self.base.tensors[shard.tensors[0]].file
        with file.open("rb") as stream:
            view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        headers = [self.base.tensors[name] for name in shard.tensors]
        return {h.name: (h.dtype, h.shape, view[h.begin : h.end]) for h in headers}
