"""What can be removed, and how many bytes that frees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something nobody needs.

    Attributes:
        path: A file, a link or a whole directory.
        what: What it is, for people.
        size: Bytes that removing it frees once everything listed with it is gone too; a file that
            has a further name elsewhere frees none.
    """

    path: Path
    what: str
    size: int


def weigh(found: Iterable[tuple[Path, str]]) -> list[Garbage]:
    """Things to be removed together, with the bytes each of them frees.

    Args:
        found: Paths, none inside another, and what they are. What is gone meanwhile is left out.
    """
    listed = [(path, what, list(_files(path))) for path, what in found if os.path.lexists(path)]
    names: Counter[tuple[int, int]] = Counter()
    for _, _, files in listed:
        names.update((stat.st_dev, stat.st_ino) for stat in files)
    weighed = []
    for path, what, files in listed:
        size = 0
        for stat in files:
            inode = (stat.st_dev, stat.st_ino)
            if names[inode] >= stat.st_nlink:
                size += stat.st_size
                del names[inode]  # counted once, whatever its number of names here
        weighed.append(Garbage(path, what, size))
    return weighed


def _files(path: Path) -> Iterator[os.stat_result]:
    if path.is_symlink() or not path.is_dir():
        yield path.lstat()
        return
    for folder, _, names in os.walk(path):
        for name in names:
            yield (Path(folder) / name).lstat()
