"""Commits: objects first, then one compare-and-swap of the branch, then work tree and index."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from patchhub.errors import BusyError, ConflictError, PatchHubError
from patchhub_registry import journal, tree, worktree
from patchhub_registry.git import Git
from patchhub_registry.journal import Intent
from patchhub_registry.lfs import Payloads
from patchhub_registry.lock import locked
from patchhub_registry.objects import Objects
from patchhub_registry.paths import PRIVATE
from patchhub_registry.quarantine import Quarantine
from patchhub_registry.worktree import Added, checked_out

_TRIES = 5
_SETTLE = 0.2
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Draft:
    """What a commit shall add.

    Attributes:
        files: Path → content; none of the paths exists yet.
        message: Commit message, made from checked data only.
    """

    files: Mapping[str, bytes]
    message: str


Plan = Callable[[str], Draft]
"""Makes the draft for a head commit (empty text: no commit yet); it may be called again."""


class Writer:
    """The only thing that changes a registry.

    Args:
        git: The repository.
        objects: Reader of the same repository.
        timeout: Seconds to wait for the lock.
    """

    def __init__(self, git: Git, objects: Objects, timeout: float) -> None:
        self.timeout = timeout
        self._git = git
        self._objects = objects
        self._payloads = Payloads(git)
        self._private = git.root / PRIVATE

    def commit(self, plan: Plan, *, rebase: bool) -> str:
        """Add files in one commit.

        Args:
            plan: Makes the draft; it sees the head that the commit will follow.
            rebase: Whether to plan again when another program moved the branch meanwhile.

        Returns:
            The new head; the old one when the draft is empty.

        Raises:
            BusyError: E501, the lock or the branch is held by another process.
            ConflictError: E305, the branch moved (with ``rebase``: five times in a row).
        """
        with locked(self._private / "lock", self.timeout) as lock:
            ref = self._branch()
            self._clean(lock, _PATIENCE)
            for attempt in range(_TRIES):
                old = self._head(ref)
                try:
                    return self._tried(plan, old, ref, lock)
                except _MovedError as moved:
                    if not rebase or attempt == _TRIES - 1:
                        raise ConflictError(
                            "E305",
                            "the registry's head moved while committing; nothing was changed",
                            expected=old,
                            found=moved.found,
                            hint="run it again",
                        ) from None
                    time.sleep(random.uniform(0, 0.05) * (attempt + 1))
        raise AssertionError("unreachable")  # the last attempt returns or raises

    def recover(self, wait: float) -> bool:
        """Clean up after commands that were killed.

        Args:
            wait: Seconds to wait for the lock, which a git that outlived its parent may still hold.

        Returns:
            Whether nothing is left to clean up.
        """
        if not journal.pending(self._private / "journal"):
            return True
        try:
            with locked(self._private / "lock", wait) as lock:
                self._clean(lock, 0)
        except (PatchHubError, OSError):  # busy, read-only, on no branch: reading needs none of it
            return False
        return not journal.pending(self._private / "journal")

    def _tried(self, plan: Plan, old: str, ref: str, lock: int) -> str:
        """`_commit_once`, which leaves no temporary file when it fails."""
        try:
            return self._commit_once(plan, old, ref, lock)
        except BaseException:
            shutil.rmtree(self._private / "tmp", ignore_errors=True)
            raise

    def _commit_once(self, plan: Plan, old: str, ref: str, lock: int) -> str:
        draft = plan(old)
        if not draft.files:
            return old
        directory = self._fresh_tmp()
        quarantine = Quarantine(self._git, directory / "objects", lock)
        added = _stored(quarantine.git, directory, draft.files)
        blobs = {item.path: item.blob for item in added}
        top = tree.write_trees(quarantine.git, self._objects, old, blobs)
        new = quarantine.git.run(
            *("commit-tree", top),
            *(("-p", old) if old else ()),
            data=draft.message.encode(),
            variables=self._git.identity(),
        )
        quarantine.release()
        intent = self._swap(old, new.decode().strip(), ref, lock)
        self._finish(intent, lock, added, _PATIENCE)
        return intent.new

    def _fresh_tmp(self) -> Path:
        directory = self._private / "tmp"
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        return directory

    def _swap(self, old: str, new: str, ref: str, lock: int) -> Intent:
        """Move the branch from old to new; the one visible step."""
        order = f"update {ref}\0{new}\0{old or '0' * len(new)}\0".encode()
        arguments = ("update-ref", "--stdin", "-z", "--create-reflog", "-m", "patchhub")
        with self._git.start(*arguments, inherit=[lock]) as process:
            # named before it is told what to do: a ref lock it leaves is then known to be its own
            directory = self._private / "journal"
            intent = Intent.begin(directory, old, new, ref, process.pid)
            _, complaint = process.communicate(order)
        if process.returncode != 0:
            self._check_moved(intent, process.returncode, complaint)
        return intent

    def _check_moved(self, intent: Intent, status: int, complaint: bytes) -> None:
        """After git failed: pass if the branch moved all the same, else leave nothing behind."""
        if status < 0:
            self._clear_ref_locks(intent)
        found = self._head(intent.ref)
        if found == intent.new:
            return
        intent.done()
        if found != intent.old:
            raise _MovedError(found)
        raise self._refused(intent, status, complaint)

    def _refused(self, intent: Intent, status: int, complaint: bytes) -> PatchHubError:
        for file in _ref_locks(intent, *self._git.places):
            if file.exists():
                return BusyError(
                    "E501",
                    "another git process holds the branch",
                    found=str(file),
                    hint="if no git is running here, remove that file",
                )
        return self._git.failure("update-ref", status, complaint)

    def _finish(self, intent: Intent, lock: int, added: list[Added], patience: float) -> bool:
        try:
            files = checked_out(self._payloads, added)
            worktree.refresh(self._git, self._git.places[0], lock, files, patience)
        except (PatchHubError, OSError):
            return False  # committed all the same; the next command tries again
        shutil.rmtree(self._private / "tmp", ignore_errors=True)
        with suppress(OSError):
            intent.done()
        return True

    def _clean(self, lock: int, patience: float) -> None:
        """Finish or forget what earlier commands left; we hold the lock, so none is running."""
        left = journal.pending(self._private / "journal")
        if left:
            worktree.clear_index_lock(self._git.places[0])
        for file in left:
            intent = journal.read(file)
            if intent is None:
                file.unlink(missing_ok=True)
                continue
            self._clear_ref_locks(intent)
            if self._is_reached(intent):
                if not self._finish(intent, lock, self._restore(intent), patience):
                    patience = 0  # what held the index holds it for the others, too
            else:
                intent.done()

    def _is_reached(self, intent: Intent) -> bool:
        """Whether the commit became part of the branch that is checked out."""
        command = ("merge-base", "--is-ancestor", intent.new, "HEAD")
        try:
            self._git.run(*command)
        except PatchHubError:
            return False
        return True

    def _restore(self, intent: Intent) -> list[Added]:
        """The files a commit added, read back."""
        command = ["diff-tree", "-r", "-z", "--no-renames", "--diff-filter=A"]
        command += [intent.old, intent.new] if intent.old else ["--root", intent.new]
        fields = self._git.run(*command).decode().split("\0")
        if not intent.old:
            fields = fields[1:]
        lines = list(zip(fields[0::2], fields[1::2], strict=False))
        directory = self._fresh_tmp()
        added = []
        for i, (facts, path) in enumerate(lines):
            blob = facts.split()[3]
            found = self._objects.get(blob)
            if found is not None:
                source = directory / str(i)
                source.write_bytes(found.data)
                added.append(Added(path, blob, source))
        return added

    def _clear_ref_locks(self, intent: Intent) -> None:
        """Remove ref locks of the dead git child that the journal names.

        Its lock is either still empty or holds the commit it was to set; a lock of anybody else
        holds another commit, or does not stay empty.
        """
        for file in _ref_locks(intent, *self._git.places):
            if _content(file) == b"":
                time.sleep(_SETTLE)
            if _content(file) in (b"", intent.new.encode()):
                file.unlink(missing_ok=True)

    def _head(self, ref: str) -> str:
        found = self._objects.get(ref)
        return "" if found is None else found.id

    def _branch(self) -> str:
        ref = self._git.run("symbolic-ref", "-q", "HEAD", accept=(0, 1)).decode().strip()
        if not ref:
            raise PatchHubError(
                "E702", "the registry's repository is on no branch", hint="git switch main"
            )
        return ref


class _MovedError(Exception):
    """The branch is not where it was."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


def _stored(git: Git, directory: Path, files: Mapping[str, bytes]) -> list[Added]:
    paths = sorted(files)
    sources = [directory / str(i) for i in range(len(paths))]
    for path, source in zip(paths, sources, strict=True):
        source.write_bytes(files[path])
    return list(map(Added, paths, tree.write_blobs(git, sources), sources))


def _ref_locks(intent: Intent, own: Path, common: Path) -> tuple[Path, Path]:
    return (common / f"{intent.ref}.lock", own / "HEAD.lock")


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes().strip()
    except FileNotFoundError:
        return None
