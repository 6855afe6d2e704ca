"""Making a new registry."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from patchhub.errors import ConflictError
from patchhub_registry import paths
from patchhub_registry.git import Git
from patchhub_registry.journal import pending
from patchhub_registry.lock import locked
from patchhub_registry.objects import Objects
from patchhub_registry.settings import Settings
from patchhub_registry.writer import Draft, Writer

_OPTIONS = ("--quiet", "--initial-branch=main", "--template=", "--object-format=sha1")
_CONFIGURATION = ("gc.auto=0", "maintenance.auto=false", "core.fsync=committed")


def create(directory: Path, lock_timeout: float, policy: bytes | None = None) -> Path:
    """Make a registry with its own git repository; its top directory.

    Args:
        directory: New, empty, or a git repository without commits and files.
        lock_timeout: Seconds to wait for the lock.
        policy: The first policy; it comes with the first commit, so that no moment is without it.

    Raises:
        ConflictError: E108, it is a registry already; E308, it holds something else.
        PatchHubError: E701, git is missing or too old; E702, git failed.
    """
    begun = bool(pending(directory / paths.PRIVATE / "journal"))
    unfinished = begun and not (directory / paths.SETTINGS).exists()
    if not unfinished:
        _check_vacant(directory)
    directory.mkdir(parents=True, exist_ok=True)
    root = directory.resolve()
    git = Git(root)
    git.check_version()
    begun_here = root / paths.PRIVATE / "begun"
    with locked(root / paths.PRIVATE / "lock", lock_timeout) as lock:
        if begun_here.exists():  # nobody else uses a repository that has no commit yet
            for stale in (root / ".git").glob("*.lock"):
                stale.unlink()
        begun_here.touch()
        git.run("init", *_OPTIONS, inherit=[lock])
    objects = Objects(git)
    writer = Writer(git, objects, lock_timeout)
    try:
        if unfinished and writer.recover(lock_timeout) and (root / paths.SETTINGS).exists():
            begun_here.unlink(missing_ok=True)
            return root
        if objects.get("HEAD") is not None:
            raise ConflictError("E308", f"{directory} is a git repository with commits")
        with locked(root / paths.PRIVATE / "lock", lock_timeout) as lock:
            for setting in _CONFIGURATION:
                git.run("config", *setting.split("="), inherit=[lock])
        files = {
            paths.SETTINGS: Settings(secrets.token_hex(16)).to_bytes(),
            ".gitattributes": paths.ATTRIBUTES,
            ".gitignore": paths.IGNORED,
        }
        if policy is not None:
            files[paths.policy_file(1)] = policy
        writer.commit(lambda _: Draft(files, "registry: begin\n"), rebase=False)
        begun_here.unlink(missing_ok=True)
    finally:
        objects.close()
    return root


def _check_vacant(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ConflictError("E308", f"{directory} is not a directory")
    held = {entry.name for entry in os.scandir(directory)}
    if paths.SETTINGS in held:
        raise ConflictError("E108", f"{directory} is a registry already")
    foreign = sorted(held - {".git", paths.PRIVATE})
    if foreign:
        raise ConflictError(
            "E308",
            f"{directory} is not empty",
            found=", ".join(foreign[:5]),
            hint="give a new or empty directory",
        )
