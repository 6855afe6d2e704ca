"""What lies outside a commit's content: its history, git's own objects, and the work tree."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from patchhub.errors import PatchHubError
from patchhub_registry import paths
from patchhub_registry.git import Git
from patchhub_registry.lfs import Pointer


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    code: str
    path: str
    message: str


def rewritten(git: Git, commit: str) -> Iterator[Problem]:
    """Files that some commit changed or removed although they are written once."""
    command = (
        "log",
        "-z",
        "--format=%x01%H",
        "--name-only",
        "--no-renames",
        "-m",
        "--first-parent",
    )
    output = git.run(*command, "--diff-filter=DMT", commit, "--", *paths.OWNED, paths.SETTINGS)
    at = ""
    for field in output.decode("utf-8", "surrogateescape").replace("\n", "\0").split("\0"):
        if field.startswith("\x01"):
            at = field[1:13]
        elif field:
            words = f"{field} was changed or removed by commit {at}; it is written once"
            yield Problem("E204", field, words)


def unsound(git: Git) -> Iterator[Problem]:
    """What ``git fsck`` complains about."""
    try:
        git.run("fsck", "--full", "--strict", "--no-dangling", "--no-reflogs", "--no-progress")
    except PatchHubError as error:
        yield Problem("E204", "", f"git fsck: {error.found}")


def edited(root: Path, files: Mapping[str, bytes]) -> Iterator[Problem]:
    """Work tree copies that differ from what was committed.

    Nothing reads them, but somebody may load a patch straight from its directory. A copy may hold
    the payload where a pointer was committed: git-lfs checks it out so.
    """
    for path, data in files.items():
        try:
            if not _same(root / path, data):
                words = f"{path} in the work tree is not what was committed"
                yield Problem("E202", path, f"{words}; git checkout -- {path} brings it back")
        except (FileNotFoundError, NotADirectoryError):
            continue  # not checked out, or removed by the user: nothing can be loaded from it
        except OSError as error:
            yield Problem("E204", path, f"{path} cannot be read: {error.strerror}")


def _same(copy: Path, data: bytes) -> bool:
    facts = copy.lstat()
    if not stat.S_ISREG(facts.st_mode):
        return False
    if facts.st_size == len(data):
        return copy.read_bytes() == data
    pointer = Pointer.read(data)
    if pointer is None or facts.st_size != pointer.size:
        return False
    with copy.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == pointer.oid
