"""After a commit: bring work tree and index along, so that ``git status`` is clean.

Only paths the commit added are touched, and a file that is already there is never overwritten: it
is the user's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from patchhub.errors import BusyError, PatchHubError
from patchhub_registry.git import Git
from patchhub_registry.lfs import LIMIT, SUFFIX, Payloads, Pointer

_KEY = "patchhub-index.key"
_INDEX = "patchhub-index"
_PRIVATE = (_KEY, _INDEX, f"{_INDEX}.lock")
_MARK = b"patchhub"  # git's index begins with DIRC
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Added:
    """One file that a commit added.

    Attributes:
        path: Path in the repository.
        blob: Object id.
        file: A file with these bytes that may be moved into the work tree.
        smudged: Whether ``file`` holds the payload that the blob is only the pointer to.
    """

    path: str
    blob: str
    file: Path
    smudged: bool = False


def refresh(git: Git, git_dir: Path, lock: int, added: Sequence[Added], patience: float) -> None:
    """Put new files into the work tree and the index.

    Args:
        git: The repository.
        git_dir: Its git directory, where the index lies.
        lock: Descriptor of the registry's lock, which git children keep open.
        added: The files; their sources are used up.
        patience: Seconds to wait while another git holds the index.

    Raises:
        BusyError: E501, another git holds the index.
        OSError: The disk is full or read-only.
    """
    ours = [item for item in added if _place(git.root, item) and not item.smudged]
    theirs = [item for item in added if item not in ours]
    try:
        _take_index_lock(git_dir, patience)
        _update_index(git, git_dir, lock, ours, theirs)
    finally:
        clear_index_lock(git_dir)


def checked_out(payloads: Payloads, added: Sequence[Added]) -> list[Added]:
    """The files as git would check them out: payloads in place of pointers if git-lfs is set up."""
    found = {i: _pointer(item) for i, item in enumerate(added) if item.path.endswith(SUFFIX)}
    pointers = {i: pointer for i, pointer in found.items() if pointer is not None}
    files = list(added)
    if not pointers or not payloads.is_set_up():
        return files
    for i, pointer in pointers.items():
        with contextlib.suppress(PatchHubError):  # not fetched: the pointer stays
            shutil.copyfile(payloads.find(pointer, added[i].path), added[i].file)
            files[i] = replace(added[i], smudged=True)
    return files


def _pointer(item: Added) -> Pointer | None:
    small = item.file.stat().st_size <= LIMIT
    return Pointer.read(item.file.read_bytes()) if small else None


def clear_index_lock(git_dir: Path) -> None:
    """Remove what a killed refresh left; call it only while holding the registry's lock."""
    lock = git_dir / "index.lock"
    try:
        with lock.open("rb") as stream:
            ours = stream.read(len(_MARK)) == _MARK
    except FileNotFoundError:
        ours = False
    if ours:
        lock.unlink(missing_ok=True)
    for name in _PRIVATE:
        (git_dir / name).unlink(missing_ok=True)


def _place(root: Path, item: Added) -> bool:
    """Move one file to its place; whether the place now holds these bytes."""
    target = root / item.path
    try:
        _make_parents(root, target)
    except (FileExistsError, NotADirectoryError):  # a user's file stands where a directory should
        item.file.unlink(missing_ok=True)
        return False
    try:
        os.link(item.file, target)
    except FileExistsError:
        same = _same(item.file, target)
        item.file.unlink(missing_ok=True)
        return same
    except OSError:  # no hard links here
        return _copy(item.file, target)
    item.file.unlink()
    return True


def _make_parents(root: Path, target: Path) -> None:
    for parent in reversed(target.relative_to(root).parents[:-1]):
        directory = root / parent
        if directory.is_symlink():
            raise NotADirectoryError(directory)
        directory.mkdir(exist_ok=True)


def _same(source: Path, target: Path) -> bool:
    if target.is_symlink() or not target.is_file():
        return False
    if source.stat().st_size != target.stat().st_size:
        return False
    return source.read_bytes() == target.read_bytes()


def _copy(source: Path, target: Path) -> bool:
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer)
    except FileExistsError:
        return _same(source, target)
    finally:
        source.unlink(missing_ok=True)
    return True


def _update_index(
    git: Git, git_dir: Path, lock: int, ours: Sequence[Added], theirs: Sequence[Added]
) -> None:
    """Add entries to a copy of the index, then put the copy in its place.

    Of our files git notes the time stamps, so that it need not read them again. Of the user's and
    of payloads it gets to know the committed content alone: its next status reads them, the latter
    through git-lfs.
    """
    index, private = git_dir / "index", git_dir / _INDEX
    if index.exists():
        shutil.copyfile(index, private)
    facts = [("--cacheinfo", f"100644,{item.blob},{item.path}") for item in theirs]
    git.run(
        *("update-index", "--add", *chain.from_iterable(facts), "-z", "--stdin"),
        data="".join(f"{item.path}\0" for item in ours).encode(),
        variables={"GIT_INDEX_FILE": str(private)},
        inherit=[lock],
    )
    private.replace(index)


def _take_index_lock(git_dir: Path, patience: float) -> None:
    """Hold git's own index lock with a mark in it, by which a later command knows it as ours."""
    clear_index_lock(git_dir)
    key = git_dir / _KEY
    key.write_bytes(_MARK)
    deadline = time.monotonic() + patience
    while True:
        try:
            _link_or_create(key, git_dir / "index.lock")
            return
        except FileExistsError as error:
            if time.monotonic() >= deadline:
                raise BusyError(
                    "E501",
                    "another git process holds the index",
                    found=str(git_dir / "index.lock"),
                ) from error
            time.sleep(_PAUSE)


def _link_or_create(key: Path, lock: Path) -> None:
    try:
        os.link(key, lock)
    except FileExistsError:
        raise
    except OSError:  # no hard links here
        with lock.open("xb") as stream:
            stream.write(_MARK)
