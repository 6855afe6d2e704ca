"""A checkpoint file mapped into memory: its tensors as views of the page cache."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from patchhub.errors import NotFoundError
from patchhub.kinds.storage import DTYPES, from_bytes
from patchhub.tensorfile import TensorHeader, truncated

Stamp = tuple[int, ...]
"""Device, inode, size and both times of a file."""


@dataclass(frozen=True, slots=True)
class MappedFile:
    """The whole file. Nobody may write to its views: they would cease to show the file.

    Attributes:
        stamp: What the file was when it was mapped.
        pages: Its bytes.
    """

    stamp: Stamp
    pages: mmap.mmap

    @classmethod
    def open(cls, file: Path) -> MappedFile:
        """Map a file that is not empty.

        Raises:
            NotFoundError: E109, it cannot be read.
        """
        try:
            with file.open("rb") as stream:
                # Private and writable, because torch takes no other; a write would not reach the
                # file.
                pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
                return cls(_stamp(os.fstat(stream.fileno())), pages)
        except OSError as error:
            raise _unreadable(file, error) from error

    def data(self, header: TensorHeader) -> memoryview:
        """The stored bytes of one tensor.

        Raises:
            IntegrityError: E111, the file ends too early.
        """
        if header.end > len(self.pages):
            raise truncated(header)
        return memoryview(self.pages)[header.begin : header.end]

    def view(self, header: TensorHeader) -> Tensor:
        """One tensor, in stored dtype and layout.

        Raises:
            IntegrityError: E111, the file ends too early.
            InvalidInputError: E112, torch has no such dtype.
        """
        data, dtype = self.data(header), DTYPES.get(header.dtype)
        if dtype is None or not len(data) or header.begin % dtype.itemsize:
            return from_bytes(header.dtype, header.shape, data)
        return torch.frombuffer(data, dtype=dtype).reshape(header.shape)


def stamp_of(file: Path) -> Stamp:
    """The stamp that the file has now.

    Raises:
        NotFoundError: E109, it cannot be read.
    """
    try:
        return _stamp(file.stat())
    except OSError as error:
        raise _unreadable(file, error) from error


def _stamp(found: os.stat_result) -> Stamp:
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_dev, found.st_ino, found.st_size, *times


def _unreadable(file: Path, error: OSError) -> NotFoundError:
    return NotFoundError("E109", f"{file}: cannot be read", found=error.strerror)
