"""Everything an auditor can check: the registry and, if one is named, a model directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchhub_registry.audit import Finding
    from patchhub_registry.operations.directory import DirectoryReport
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.verify import Report


@dataclass(frozen=True, slots=True)
class Verified:
    """What was examined and found.

    Attributes:
        registry: Report on the registry.
        model: Report on the model directory, if one was named.
    """

    registry: Report
    model: DirectoryReport | None

    @property
    def commit(self) -> str:
        """The commit that was examined."""
        return self.registry.commit

    @property
    def counts(self) -> Mapping[str, int]:
        """How many of each kind were examined."""
        return self.registry.counts

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong in the registry, by path."""
        return self.registry.findings

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.registry.ok and (self.model is None or not self.model.drift)

    def require(self) -> None:
        """Pass if nothing is wrong.

        Raises:
            IntegrityError: With the code of the first finding; E206 for the directory.
        """
        self.registry.require()
        if self.model is not None:
            self.model.require()


def verify(
    registry: Registry,
    *,
    model: str | Path | None = None,
    objects: bool = True,
    history: bool = True,
    progress: Progress | None = None,
) -> Verified:
    """Hold the registry, and a model directory to its last byte, against every digest.

    Args:
        registry: The registry.
        model: A model directory of PatchHub's.
        objects: Also let git check every object (``git fsck``).
        history: Also look for files that were changed or removed after they were written.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E109. ConflictError: E308, PatchHub did not make the directory.
    """
    report = None
    if model is not None:
        from patchhub_registry.operations.directory import inspect

        report = inspect(registry, Path(model), deep=True, progress=progress)
    return Verified(registry.audit(objects=objects, history=history), report)
