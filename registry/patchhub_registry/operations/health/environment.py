"""What the machine offers: git, libraries, and what the file system can do."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import IO

from patchhub.errors import PatchHubError
from patchhub_registry.git import Git
from patchhub_registry.operations.health.finding import Finding, error, note, warning

_NEEDED = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)$")


def libraries() -> Iterator[Finding]:
    """Python and every library that is needed, by the versions said to be installed."""
    wanted = metadata.metadata("patchhub")["Requires-Python"].removeprefix(">=")
    if sys.version_info[:3] < _numbers(wanted):
        found = ".".join(map(str, sys.version_info[:3]))
        yield error("python-old", f"Python {found} runs, {wanted} or newer is needed")
    for line in metadata.requires("patchhub") or ():
        match = _NEEDED.match(line)
        if match is None:  # with a marker: an extra
            continue
        name, least = match.groups()
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield error("library-missing", f"{name} is not installed", f"pip install '{line}'")
            continue
        if _numbers(found) < _numbers(least):
            words = f"{name} {found} is installed, {least} or newer is needed"
            yield error("library-old", words, f"pip install '{line}'")


def git_program(directory: Path) -> Iterator[Finding]:
    """Git itself, what goes with it, and who commits.

    Args:
        directory: Any that exists.
    """
    git = Git(directory)
    try:
        git.check_version()
    except PatchHubError as wrong:
        words = f"{wrong.what}; found {wrong.found}" if wrong.found else wrong.what
        yield error("git-missing", words, (wrong.expected and f"install {wrong.expected}") or "")
        return
    if not _works(git, "lfs", "version"):
        yield note(
            "git-lfs-absent",
            "git-lfs is not installed: payloads above 64 KiB can be used, not pushed or fetched",
            "install git-lfs",
        )
    said = git.run("config", "-z", "--get-regexp", r"^user\.(name|email)$", accept=(0, 1))
    for key in ("user.name", "user.email"):
        variable = f"GIT_AUTHOR_{key.rpartition('.')[2].upper()}"
        if f"{key}\n" not in said.decode(errors="replace") and variable not in git.environment:
            yield note(
                "git-identity",
                f"git's {key} is not set: commits are made in the name of PatchHub",
                f"git config --global {key} ...",
            )


def ownership(root: Path) -> Iterator[Finding]:
    """Whether git works in a registry that may belong to somebody else."""
    try:
        Git(root).run("rev-parse", "--git-dir")
    except PatchHubError as wrong:
        if "dubious ownership" in str(wrong.found):
            fix = f"git config --global --add safe.directory {root}"
            yield error("git-ownership", f"{root} belongs to somebody else; git refuses it", fix)
        else:
            yield error("git-refuses", f"{wrong.what}: {wrong.found or ''}".rstrip(": "))


def file_system(directory: Path) -> Iterator[Finding]:
    """What the file system of a directory can do, tried in a new directory inside it."""
    try:
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=directory) as folder:
            yield from _tried(Path(folder), directory)
    except OSError as refused:
        yield error("fs-read-only", f"{directory} cannot be written: {refused.strerror}")


def _tried(folder: Path, where: Path) -> Iterator[Finding]:
    with (folder / "file").open("wb") as stream:
        stream.write(b"x")
        stream.flush()
        if not _can(lambda: fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)):
            yield error("fs-no-locks", f"{where} has no kernel locks; keep it on a local disk")
        if not _can(lambda: _sync(stream, folder)):
            yield warning("fs-no-sync", f"{where} cannot be synced: a power cut may lose commits")
    if not _can(lambda: os.link(folder / "file", folder / "link")):
        yield note("fs-no-links", f"{where} has no hard links: files of models are copied")


def _sync(stream: IO[bytes], folder: Path) -> None:
    os.fsync(stream.fileno())
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _can(action: Callable[[], object]) -> bool:
    with suppress(OSError):
        action()
        return True
    return False


def _works(git: Git, *arguments: str) -> bool:
    with suppress(PatchHubError):
        git.run(*arguments)
        return True
    return False


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
