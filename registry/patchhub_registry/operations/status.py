"""Where everything stands: bases, stacks, and whether a model directory is what it claims to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations.base import BaseSummary, list_bases
from patchhub_registry.operations.reviews import Review, due

if TYPE_CHECKING:
    from patchhub_registry.operations.directory import DirectoryReport
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState


@dataclass(frozen=True, slots=True)
class Status:
    """The registry and, if one was named, a model directory.

    Attributes:
        root: Top directory of the registry.
        head: Its newest commit.
        bases: All bases.
        stacks: All stacks as they are now.
        patches: How many patches there are.
        reviews: Patches to be looked at again, by now or soon.
        model: The directory, if one was named.
    """

    root: Path
    head: str
    bases: tuple[BaseSummary, ...]
    stacks: tuple[StackState, ...]
    patches: int
    reviews: tuple[Review, ...]
    model: DirectoryReport | None


def status(registry: Registry, *, model: str | Path | None = None) -> Status:
    """Where everything stands; a difference is reported, not raised.

    Raises:
        NotFoundError: E109, there is no such model directory.
        ConflictError: E308, PatchHub did not make it.
    """
    report = None
    if model is not None:
        from patchhub_registry.operations.directory import inspect

        report = inspect(registry, Path(model))
    stacks = tuple(map(registry.stack, registry.stacks()))
    patches = registry.patches()
    return Status(
        registry.root,
        registry.head,
        list_bases(registry),
        stacks,
        len(patches),
        due(patches, stacks),
        report,
    )
