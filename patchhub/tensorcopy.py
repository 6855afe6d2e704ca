"""Tensors copied from file to file, by the operating system where it can."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from io import FileIO
from pathlib import Path

from patchhub.tensorfile import header_bytes, sort_names, truncated
from patchhub.tensorheader import TensorHeader

_BLOCK = 1 << 22
_CANNOT = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM}
"""What a system says that copies only through memory, at least between these two files."""


def copy_tensors(
    path: Path, headers: Iterable[TensorHeader], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file of tensors that lie in other files, in place, and bring it to the disk.

    Args:
        path: The new file; the same as `patchhub.tensorfile.write` would make of the same tensors.
        headers: Where the tensors are.
        metadata: At most one key.

    Raises:
        IntegrityError: E111, a file ends too early.
    """
    found = {header.name: header for header in headers}
    sizes = {h.name: (h.dtype, h.shape, h.end - h.begin) for h in found.values()}
    with path.open("wb", buffering=0) as target:
        _write(target, header_bytes(sizes, metadata))
        for run in _runs(found[name] for name in sort_names(sizes)):
            with run.file.open("rb", buffering=0) as source:
                _copy(source, target, run)
        os.fsync(target.fileno())


def _runs(headers: Iterable[TensorHeader]) -> Iterator[TensorHeader]:
    """Tensors that follow each other where they come from, as one."""
    run: TensorHeader | None = None
    for header in headers:
        if run is not None and (run.file, run.end) == (header.file, header.begin):
            run = replace(header, begin=run.begin)
            continue
        if run is not None:
            yield run
        run = header
    if run is not None:
        yield run


def _copy(source: FileIO, target: FileIO, run: TensorHeader) -> None:
    place = run.begin
    while place < run.end:
        try:
            count = os.copy_file_range(source.fileno(), target.fileno(), run.end - place, place)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _CANNOT:
                raise
            data = os.pread(source.fileno(), min(_BLOCK, run.end - place), place)
            count = len(data)
            _write(target, data)
        if not count:
            raise truncated(run)
        place += count


def _write(target: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]
