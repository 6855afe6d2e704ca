"""The registry itself: what crashes left, the index, every digest, the work tree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from patchhub.errors import BusyError, PatchHubError
from patchhub_registry import index, paths
from patchhub_registry.git import Git
from patchhub_registry.lock import locked
from patchhub_registry.operations.health.finding import Finding, error, note, warning
from patchhub_registry.settings import Settings

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry

_OLD = 60.0
"""Seconds after which a lock file of git's is looked at: no command of ours holds one so long."""
_REPAIR = "patchhub doctor --repair"
_MOST = 20


def settings(registry: Registry) -> Iterator[Finding]:
    """Whether this is a registry that this version can read."""
    try:
        Settings.from_bytes((registry.root / paths.SETTINGS).read_bytes())
    except OSError as refused:
        yield error("settings-unreadable", f"{paths.SETTINGS}: {refused.strerror}")
    except PatchHubError as wrong:
        yield error("settings-damaged", wrong.what, wrong.hint or "")


def leftovers(registry: Registry) -> Iterator[Finding]:
    """Commits that were cut off, and locks that somebody holds or has left."""
    if registry.unsettled:
        words = "a commit is under way or was cut off; the next command settles it"
        yield warning("commit-unfinished", words, _REPAIR)
    lock = registry.root / paths.PRIVATE / "lock"
    if lock.is_file():
        try:
            with locked(lock, 0.0):
                pass
        except BusyError as busy:
            yield note("registry-busy", busy.what)
    own, common = Git(registry.root).places
    files = {own / "index.lock", own / "HEAD.lock", common / "packed-refs.lock"}
    files |= {common / "config.lock", *(common / "refs").rglob("*.lock")}
    for file in sorted(files):
        try:
            age = time.time() - file.stat().st_mtime
        except OSError:
            continue
        if age > _OLD:
            words = f"{file} was left by a git that ended {_ago(age)} ago, or hangs"
            yield warning("git-lock-left", words, f"rm {file}  (if no git is running here)")


def tables(registry: Registry) -> Iterator[Finding]:
    """Whether the index is the newest commit's; it is disposable, so this only costs time."""
    file = registry.root / paths.PRIVATE / index.NAME
    if not file.exists():
        return
    found = index.load(file)
    if found is None:
        yield note("index-unreadable", "the index will be made again when it is needed", _REPAIR)
        return
    commit = found.commit
    found.close()
    if commit != registry.head:
        words = f"the index is of commit {commit[:12]}, the newest is {registry.head[:12]}"
        yield note("index-stale", words, _REPAIR)


def digests(registry: Registry) -> Iterator[Finding]:
    """Every file against its form, digest and chain, the work tree, payloads that are not here."""
    for each in registry.audit(objects=False, history=False).findings[:_MOST]:
        if each.code == "E120":
            yield warning("payload-missing", each.message, "git lfs pull")
        else:
            yield error("registry-damaged", f"[{each.code}] {each.message}", "patchhub verify")


def work_tree(registry: Registry) -> Iterator[Finding]:
    """Files that lie where only PatchHub writes and are in no commit; `digests` sees the others."""
    command = ("ls-files", "--others", "-z", "--")
    found = Git(registry.root).run(*command, *paths.OWNED).decode(errors="replace").split("\0")
    files = [file for file in found if file]
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        words = f"{files[0]}{more}: in no commit, and nothing reads it"
        yield warning("file-foreign", words, f"rm {registry.root / files[0]}  (if it is not yours)")


def _ago(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
