"""File operations that happen whole or not at all, most of them on the disk when they return."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_LINK = {
    errno.EXDEV,  # another file system
    errno.EPERM,  # the file system has no hard links, or the file belongs to somebody else
    errno.EACCES,
    errno.EMLINK,  # too many already
    errno.ENOSYS,
    errno.EOPNOTSUPP,
}


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet; its directory entry is not synced."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def replace(path: Path, data: bytes) -> None:
    """Give a file new content in one step; the directory must be on one file system."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.unlink(missing_ok=True)
    try:
        write_new(beside, data)
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def swap_in(path: Path, data: bytes) -> None:
    """As `replace`, for what may be lost with the power, such as a cache; processes may compete."""
    with swapped_in(path) as beside:
        beside.write_bytes(data)


@contextmanager
def swapped_in(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` when the body ends well; see `swap_in`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def link_or_copy(source: Path, destination: Path, spare: Path | None = None) -> bool:
    """Hard-link a file, or copy it where that is impossible; a copy keeps the time of change.

    Args:
        source: The file; a symbolic link stands for what it points to.
        destination: Must not exist.
        spare: An earlier copy of ``source``, linked instead of copying again.

    Returns:
        Whether it was linked.
    """
    real = source.resolve()
    try:
        os.link(real, destination)
        return True
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    if spare is not None:
        return link_or_copy(spare, destination)
    shutil.copyfile(real, destination)
    stat = real.stat()
    os.utime(destination, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with destination.open("rb") as stream:
        os.fsync(stream.fileno())
    return False


def point_link(link: Path, destination: str, beside: Path) -> None:
    """Make a symbolic link point elsewhere, in one step.

    Args:
        link: The link, which may not exist yet.
        destination: Where it shall point, relative to its directory.
        beside: A free name on the same file system.
    """
    beside.unlink(missing_ok=True)
    beside.symlink_to(destination)
    beside.replace(link)
    sync_directory(link.parent)


def sync_directory(directory: Path) -> None:
    """Bring the entries of a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Bring the entries of a directory and of all below it to the disk."""
    for path, _, _ in os.walk(directory, topdown=False):
        sync_directory(Path(path))
    sync_directory(directory.parent)


def remove(path: Path) -> None:
    """Remove a file or a directory with all below it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
