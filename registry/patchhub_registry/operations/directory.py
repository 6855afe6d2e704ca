"""What a patched model directory holds, held against its own state, its base and the registry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import ConflictError, IntegrityError, NotFoundError
from patchhub_registry.operations import ledger, localfiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from patchhub.checkpoint import Drift, Identity
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord


@dataclass(frozen=True, slots=True)
class Position:
    """A state in a stack's history.

    Attributes:
        stack: Name of the stack.
        seq: The newest entry after which the stack was this model.
        head: The newest entry of all.
    """

    stack: str
    seq: int
    head: int

    def __str__(self) -> str:
        behind = "" if self.seq == self.head else f", behind {self.stack}@{self.head}"
        return f"{self.stack}@{self.seq}{behind}"


@dataclass(frozen=True, slots=True)
class DirectoryReport:
    """One model directory.

    Attributes:
        directory: Where it is.
        state: What it says about itself.
        base: Name of its base in the registry; None if the registry does not know it.
        stacks: Where in the registry's stacks this model is; none if they never had it.
        drift: What was changed outside PatchHub.
        files: SHA-256 over every file that `from_pretrained` reads; None if not asked for.
        base_files: The same of the base's directory.
    """

    directory: Path
    state: Identity
    base: str | None
    stacks: tuple[Position, ...]
    drift: tuple[Drift, ...]
    files: str | None = None
    base_files: str | None = None

    @property
    def equals_base(self) -> bool | None:
        """Whether every file equals the base's; None if that was not asked for."""
        return None if self.base_files is None else self.files == self.base_files

    @property
    def pending(self) -> str | None:
        """What the next change will do with one that a crash left half done, if there is one."""
        found: str | None = getattr(self.state, "pending", None)
        return found

    def require(self) -> None:
        """Pass if the directory is what it says.

        Raises:
            IntegrityError: E206.
        """
        if self.drift:
            raise IntegrityError(
                "E206",
                f"{self.directory} was changed outside PatchHub",
                found="; ".join(f"{each.where}: {each.found}" for each in self.drift[:5]),
                hint=f"keep what you need of it, remove the link {self.directory}, apply again",
            )


def inspect(
    registry: Registry, directory: Path, *, deep: bool = False, progress: Progress | None = None
) -> DirectoryReport:
    """Examine a directory that `apply` made; nothing is changed.

    Args:
        registry: Whose bases and stacks it is held against.
        directory: The model directory.
        deep: Read every byte, and take the digests of all files.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E109. ConflictError: E308, PatchHub did not make it.
    """
    from patchhub.checkpoint import directory_digest, verify_directory

    state = said_by(directory, registry)
    base = _base(registry, state.base)
    drift = [] if base is None else verify_directory(directory, base.fingerprint, deep=deep)
    report = DirectoryReport(
        directory,
        state,
        None if base is None else base.name,
        tuple(places(registry, state.identity)),
        tuple(drift),
    )
    if not deep:
        return report
    where = _base_directory(registry, base, progress)
    return replace(
        report,
        files=directory_digest(directory),
        base_files=None if where is None else directory_digest(where),
    )


def said_by(directory: Path, registry: Registry | None = None) -> Identity:
    """What a directory says it holds: its state, or for a copy of one its identity.

    Args:
        directory: The model directory.
        registry: Asked whether a change that a crash cut off was recorded.

    Raises:
        NotFoundError: E109. ConflictError: E308, PatchHub did not make it.
    """
    from patchhub.checkpoint import identify, read_state

    try:
        asked = None if registry is None else partial(ledger.holds, registry, wait=False)
        return read_state(directory, asked)
    except ConflictError:
        copied = identify(directory) if directory.is_dir() else None
        if copied is None:
            raise
        return copied


def places(registry: Registry, identity: str) -> Iterator[Position]:
    """Where in the registry's stacks a model is: of each stack the newest such state."""
    for name in registry.stacks():
        entries = registry.log(name)
        found = [entry.seq for entry in entries if entry.composed == identity]
        if found:
            yield Position(name, found[-1], entries[-1].seq)


def _base(registry: Registry, weights: str) -> BaseRecord | None:
    return next((base for base in registry.bases() if base.weights == weights), None)


def _base_directory(
    registry: Registry, base: BaseRecord | None, progress: Progress | None
) -> Path | None:
    if base is None:
        return None
    try:
        return localfiles.base_directory(registry, base, progress=progress)[0]
    except NotFoundError:
        return None
