"""Remove what nobody needs: old generations, what crashes left, payloads that nothing names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import BusyError, InvalidInputError, PatchHubError
from patchhub.oserrors import refusals
from patchhub_registry import paths
from patchhub_registry.garbage import GRACE
from patchhub_registry.lock import locked
from patchhub_registry.operations import recovery
from patchhub_registry.operations.known import forgotten, known
from patchhub_registry.operations.ledger import holds

if TYPE_CHECKING:
    from patchhub.checkpoint import Garbage
    from patchhub_registry.operations.recovery import Recovered
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Collected:
    """What `gc` did, or would do.

    Attributes:
        recovered: What crashes had left half done and is settled now; empty in a dry run.
        removed: What was, or would be, removed.
        passed: Model directories that were left alone, and why.
        dry_run: Whether nothing was changed.
    """

    recovered: tuple[Recovered, ...]
    removed: tuple[Garbage, ...]
    passed: tuple[tuple[Path, PatchHubError], ...]
    dry_run: bool

    @property
    def size(self) -> int:
        """Bytes freed."""
        return sum(each.size for each in self.removed)


def gc(
    registry: Registry,
    *,
    models: Sequence[str | Path] = (),
    keep: int = 2,
    now: bool = False,
    dry_run: bool = False,
) -> Collected:
    """Settle what crashes left, then remove what neither a link, a journal nor a commit needs.

    Killed at any moment it leaves things that are whole or that the next `gc` removes.

    Args:
        registry: Itself, and every model directory it was applied to on this machine.
        models: Only these model directories, and not the registry's own files.
        keep: Generations of each directory to keep, the current one among them.
        now: Also temporary files younger than an hour. Only when no other command is running.
        dry_run: Change nothing; say what would be removed.

    Raises:
        InvalidInputError: E101, ``keep`` is less than 1.
        BusyError: E501, a named directory or the registry is in use.
        ConflictError: E308, a named directory is not ours. PatchHubError: E704.
    """
    if keep < 1:
        raise InvalidInputError(
            "E101", "the current generation is always kept", expected="keep ≥ 1"
        )
    removed: list[Garbage] = []
    passed: list[tuple[Path, PatchHubError]] = []
    with refusals():
        settled = () if dry_run else recovery.recover(registry, wait=registry.lock_timeout)
        for directory in [Path(model) for model in models] or known(registry):
            try:
                removed += _directory(registry, directory, keep, dry_run)
            except PatchHubError as error:
                if models:
                    raise
                passed.append((directory, error))
        if not models:
            removed += _registry(registry, 0.0 if now else GRACE, dry_run)
    return Collected(tuple(settled), tuple(removed), tuple(passed), dry_run)


def _directory(registry: Registry, directory: Path, keep: int, dry_run: bool) -> list[Garbage]:
    from patchhub.checkpoint.recovery import gc as collect

    asked = partial(holds, registry, wait=True)
    wait = registry.lock_timeout
    return collect(directory, keep, asked, dry_run=dry_run, lock_timeout=wait)


def _registry(registry: Registry, grace: float, dry_run: bool) -> list[Garbage]:
    from patchhub.checkpoint.garbage import weigh
    from patchhub.durable import remove

    with locked(registry.root / paths.PRIVATE / "lock", registry.lock_timeout):
        if registry.unsettled and not dry_run:
            raise BusyError("E501", "a commit was cut off and cannot be settled now")
        found = registry.garbage(grace)
        gone = forgotten(registry, grace)
        found += [(note, "note about a model directory that is gone") for note in gone]
        weighed = weigh(found)
        if not dry_run:
            for each in weighed:
                with suppress(FileNotFoundError):
                    remove(each.path)
    return weighed
