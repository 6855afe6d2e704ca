"""Where the base's own tensors come from, whatever the model carries by now."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.composer.exact_sum import check_base, largest_of
from patchhub.errors import IntegrityError, NotFoundError
from patchhub.kinds.storage import DTYPES, digest_of, from_bytes
from patchhub.manifest import Site
from patchhub.sites import parameter_for
from patchhub.tensorfile import CheckpointFiles, TensorHeader, truncated


@dataclass(frozen=True, slots=True)
class BaseTensor:
    """A tensor of the base, its bytes checked.

    Attributes:
        values: In stored dtype and layout, on the CPU; nobody writes to them.
        largest: Size of the largest element; not finite if one of them is not.
    """

    values: Tensor
    largest: float


class Pristine(Protocol):
    """Hands out tensors of the base."""

    def tensor(self, site: Site) -> BaseTensor:
        """The base's tensor at ``site``.

        Raises:
            NotFoundError: E144, the base has no such tensor.
            IntegrityError: E201, its bytes are not those the patches were made for.
            InvalidInputError: E112, it cannot be patched.
        """


class CheckpointPristine:
    """The base's files, mapped into memory: costs no memory of its own, the page cache has them.

    A tensor's bytes are hashed when it is first asked for, and again when device, inode, size or a
    time of its file have changed; between, the file is trusted. Nobody may write into the files
    of a base.
    """

    def __init__(self, files: CheckpointFiles) -> None:
        self._files = files
        self._maps: dict[Path, _Map] = {}

    def tensor(self, site: Site) -> BaseTensor:
        """See `Pristine`.

        Raises:
            NotFoundError: E109, the file is gone.
            IntegrityError: E111, the file ends too early.
        """
        header = self._files.tensors.get(site.tensor)
        if header is None:
            raise NotFoundError("E144", f"the base has no tensor {site.tensor}")
        tensors = self._map(header.file).tensors
        if site.tensor not in tensors or tensors[site.tensor][0] != site.pre:
            tensors[site.tensor] = site.pre, _checked(site, self._map(header.file).view(header))
        return tensors[site.tensor][1]

    def _map(self, file: Path) -> _Map:
        try:
            stamp = _stamp(file.stat())
            if file not in self._maps or self._maps[file].stamp != stamp:
                with file.open("rb") as stream:
                    stamp = _stamp(os.fstat(stream.fileno()))
                    # A private mapping that may be written, because torch takes no other; unlike
                    # the file's, its pages would change.
                    pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
                self._maps[file] = _Map(stamp, pages)
        except OSError as error:
            raise NotFoundError("E109", f"{file}: cannot be read", found=error.strerror) from error
        return self._maps[file]


class MemoryPristine:
    """Copies a tensor out of the model when it is first asked for, and keeps the copy.

    For models whose checkpoint is gone. The model must be the bare base then, and only the composer
    may write to what it copied.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._kept: dict[str, BaseTensor] = {}

    def tensor(self, site: Site) -> BaseTensor:
        """See `Pristine`."""
        if site.tensor not in self._kept:
            parameter = parameter_for(self._model, site).detach()
            copy = parameter.to("cpu", copy=True, memory_format=torch.contiguous_format)
            self._kept[site.tensor] = _checked(site, copy)
        return self._kept[site.tensor]


@dataclass(frozen=True, slots=True)
class _Map:
    """A file in memory, and the tensors in it that were checked, by name and wanted digest."""

    stamp: tuple[int, ...]
    pages: mmap.mmap
    tensors: dict[str, tuple[str, BaseTensor]] = field(default_factory=dict)

    def view(self, header: TensorHeader) -> Tensor:
        if header.end > len(self.pages):
            raise truncated(header)
        dtype = DTYPES.get(header.dtype)
        if dtype is None or header.begin == header.end or header.begin % dtype.itemsize:
            data = self.pages[header.begin : header.end]
            return from_bytes(header.dtype, header.shape, data)
        count = (header.end - header.begin) // dtype.itemsize
        flat = torch.frombuffer(self.pages, dtype=dtype, count=count, offset=header.begin)
        return flat.reshape(header.shape)


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_dev, found.st_ino, found.st_size, *times


def _checked(site: Site, values: Tensor) -> BaseTensor:
    found = digest_of(values)
    if found != site.pre:
        raise IntegrityError(
            "E201",
            f"the base's tensor {site.tensor} is not what the patches were made for",
            expected=f"sha256 {site.pre}",
            found=f"sha256 {found}",
            hint="were the base's files changed? fetch them again",
            tensor=site.tensor,
        )
    check_base(values, site)
    return BaseTensor(values, largest_of(values))
