"""Building a commit without git's index: only the changed trees are written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from patchhub.errors import ConflictError, PatchHubError
from patchhub_registry.git import Git, pipes
from patchhub_registry.objects import Objects, TreeEntry


@dataclass(slots=True)
class _Branch:
    """Changed files of one directory: blob ids of files, and directories below."""

    files: dict[str, str] = field(default_factory=dict)
    below: dict[str, _Branch] = field(default_factory=dict)


def write_blobs(git: Git, files: Sequence[Path]) -> list[str]:
    """Store files as blobs, byte for byte, with one git process; their ids in the same order.

    Args:
        git: The repository.
        files: Paths below its root (git reads them relative to it, one per line).
    """
    names = "".join(f"{file.relative_to(git.root).as_posix()}\n" for file in files)
    output = git.run("hash-object", "-w", "--no-filters", "--stdin-paths", data=names.encode())
    ids = output.decode().split()
    if len(ids) != len(files):
        raise PatchHubError("E702", "git hash-object stored too few files", found=len(ids))
    return ids


def write_trees(git: Git, objects: Objects, commit: str, blobs: Mapping[str, str]) -> str:
    """Write the trees of ``commit`` with new files added; the id of the new top tree.

    Args:
        git: The repository.
        objects: Reader of the same repository.
        commit: Commit to start from, or an empty text for none.
        blobs: Path → blob id.

    Raises:
        ConflictError: E305, a path exists already with another content: files are written once.
    """
    root = _Branch()
    for path, blob in blobs.items():
        *parents, name = path.split("/")
        branch = root
        for parent in parents:
            branch = branch.below.setdefault(parent, _Branch())
        branch.files[name] = blob
    with git.start("mktree", "-z", "--missing", "--batch") as process:
        try:
            return _write(process, objects, f"{commit}^{{tree}}" if commit else "", root, "")
        except BrokenPipeError as error:
            orders, _, complaints = pipes(process)
            complaint = complaints.read()
            with suppress(BrokenPipeError):  # what is still buffered reaches no one
                orders.close()
            raise git.failure("mktree", process.wait(), complaint) from error


def _write(
    process: subprocess.Popen[bytes], objects: Objects, old: str, branch: _Branch, where: str
) -> str:
    entries = objects.tree(old) if old else {}
    for name, blob in branch.files.items():
        if name in entries and entries[name].id != blob:
            raise _taken(f"{where}{name}")
        entries[name] = TreeEntry("100644", blob)
    for name, inner in branch.below.items():
        there = entries.get(name)
        if there is not None and not there.is_tree:
            raise _taken(f"{where}{name}")
        start = "" if there is None else there.id
        tree = _write(process, objects, start, inner, f"{where}{name}/")
        entries[name] = TreeEntry("40000", tree)
    return _store(process, entries)


def _store(process: subprocess.Popen[bytes], entries: Mapping[str, TreeEntry]) -> str:
    orders, answers, _ = pipes(process)
    lines = [
        b"%s %s %s\t%s\0"
        % (entry.mode.zfill(6).encode(), _type(entry), entry.id.encode(), os.fsencode(name))
        for name, entry in entries.items()
    ]
    orders.write(b"".join(lines) + b"\0")
    orders.flush()
    answer = answers.readline()
    if not answer.endswith(b"\n"):
        raise BrokenPipeError
    return answer.decode().strip()


def _type(entry: TreeEntry) -> bytes:
    if entry.is_tree:
        return b"tree"
    return b"commit" if entry.mode == "160000" else b"blob"


def _taken(path: str) -> PatchHubError:
    return ConflictError(
        "E305", f"{path} exists already; files of a registry are written once", path=path
    )
