"""What a patched model directory holds, held against its own state, its base and the registry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import IntegrityError, NotFoundError
from patchhub_registry.operations import localfiles

if TYPE_CHECKING:
    from patchhub.checkpoint import Drift, State
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord


@dataclass(frozen=True, slots=True)
class DirectoryReport:
    """One model directory.

    Attributes:
        directory: Where it is.
        state: What it says about itself.
        base: Name of its base in the registry; None if the registry does not know it.
        stacks: Stacks of the registry whose model this is, as ``name@seq``.
        drift: What was changed outside PatchHub.
        files: SHA-256 over every file that `from_pretrained` reads; None if not asked for.
        base_files: The same of the base's directory.
    """

    directory: Path
    state: State
    base: str | None
    stacks: tuple[str, ...]
    drift: tuple[Drift, ...]
    files: str | None = None
    base_files: str | None = None

    @property
    def equals_base(self) -> bool | None:
        """Whether every file equals the base's; None if that was not asked for."""
        return None if self.base_files is None else self.files == self.base_files

    def require(self) -> None:
        """Pass if the directory is what it says.

        Raises:
            IntegrityError: E206.
        """
        if self.drift:
            raise IntegrityError(
                "E206",
                f"{self.directory} was changed outside PatchHub",
                found="; ".join(str(each) for each in self.drift[:5]),
                hint="patchhub apply --stack STACK --model DIR writes it anew",
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
    from patchhub.checkpoint import directory_digest, read_state, verify_directory

    state = read_state(directory)
    base = _base(registry, state.base)
    drift = [] if base is None else verify_directory(directory, base.fingerprint, deep=deep)
    report = DirectoryReport(
        directory,
        state,
        None if base is None else base.name,
        tuple(
            f"{found.name}@{found.seq}"
            for found in map(registry.stack, registry.stacks())
            if found.identity == state.identity
        ),
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
