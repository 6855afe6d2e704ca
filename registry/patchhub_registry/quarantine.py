"""New git objects gather in a directory of our own until a commit is complete.

What a killed git leaves half written then lies where nobody else writes, and is removed with the
directory; the repository's own store never holds a temporary file or the objects of a failed draft.
"""

from __future__ import annotations

import os
from pathlib import Path

from patchhub.durable import sync_directory
from patchhub_registry.git import Git


class Quarantine:
    """A second object store that git writes to while it reads both.

    Args:
        git: The repository.
        directory: A directory that does not exist yet, on the repository's file system.
        lock: Descriptor of the registry's lock, which every git child keeps open.

    Attributes:
        git: The repository as one sees it from here.
    """

    def __init__(self, git: Git, directory: Path, lock: int) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._store = git.places[1] / "objects"
        places = {
            "GIT_OBJECT_DIRECTORY": str(directory),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(self._store),
        }
        self.git = git.derived(places, [lock])

    def release(self) -> None:
        """Move all objects into the repository's store; each is complete and durable by now.

        So are their names when this returns: the branch must not point to what may get lost.
        """
        touched = []
        for group in self._directory.iterdir():
            if len(group.name) != 2:  # info, pack
                continue
            place = self._store / group.name
            place.mkdir(exist_ok=True)
            with os.scandir(group) as entries:
                for entry in entries:
                    os.replace(entry.path, place / entry.name)  # noqa: PTH105  # a Path per object
            touched.append(place)
        for place in (*touched, self._store):
            sync_directory(place)


def _quoted(path: Path) -> str:
    """A path as git reads it from a list that colons separate."""
    text = str(path)
    for sign, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(sign, escaped)
    return f'"{text}"'
