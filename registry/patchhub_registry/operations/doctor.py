"""Is everything as it should be? The machine, the registry, the models on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import IntegrityError, PatchHubError
from patchhub_registry.operations.health import directories, environment, store
from patchhub_registry.operations.health.finding import Finding, Severity, error
from patchhub_registry.paths import PRIVATE

if TYPE_CHECKING:
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry

_AT_WORK = 60.0
"""Seconds in which a command that noted a model directory has begun to make it."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was looked at, mended and found.

    Attributes:
        examined: What was looked at, in words.
        repaired: What was mended, in words.
        findings: What remains, the worst first.
    """

    examined: tuple[str, ...]
    repaired: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether no error remains; warnings and notes may."""
        return all(each.severity is not Severity.ERROR for each in self.findings)

    def require(self) -> None:
        """Pass if it is healthy.

        Raises:
            IntegrityError: E208.
        """
        wrong = [each for each in self.findings if each.severity is Severity.ERROR]
        if wrong:
            raise IntegrityError(
                "E208",
                f"{len(wrong)} thing{'' if len(wrong) == 1 else 's'} must be mended",
                found="; ".join(each.what for each in wrong[:3]),
                hint=next((each.fix for each in wrong if each.fix), None),
            )


def doctor(
    registry: Registry | None, *, repair: bool = False, progress: Progress | None = None
) -> Diagnosis:
    """Look at everything; change nothing but what ``repair`` mends safely.

    Safe is what the next command would do by itself: settle what crashes left, make the index
    again, forget directories that are gone.

    Args:
        registry: The registry; without one only the machine is looked at.
        repair: Mend what can be mended safely before looking.
        progress: Called with the phase, units done, units in all.
    """
    repaired = tuple(_repaired(registry)) if repair and registry is not None else ()
    root = Path.cwd() if registry is None else registry.root
    parts = [("libraries", environment.libraries()), ("git", environment.git_program(root))]
    if registry is not None:
        private = root / PRIVATE
        parts += [
            ("file system", environment.file_system(private if private.is_dir() else root)),
            ("ownership", environment.ownership(root)),
            ("settings", store.settings(registry)),
            ("locks", store.leftovers(registry)),
            ("index", store.tables(registry)),
            ("digests", store.digests(registry)),
            ("work tree", store.work_tree(registry)),
            ("bases", directories.bases(registry, progress)),
            ("model directories", directories.models(registry)),
        ]
    found: list[Finding] = []
    examined = []
    for i, (name, part) in enumerate(parts):
        if progress is not None:
            progress("examine", i, len(parts))
        found += _safely(name, part)
        examined.append(name)
    order = list(Severity)
    found.sort(key=lambda each: order.index(each.severity))
    return Diagnosis(tuple(examined), repaired, tuple(found))


def _safely(name: str, part: Iterable[Finding]) -> Iterator[Finding]:
    """The findings of a part; one that cannot be looked at is a finding itself."""
    try:
        yield from part
    except PatchHubError as wrong:
        yield error("cannot-look", f"{name}: [{wrong.code}] {wrong.what}", wrong.hint or "")
    except OSError as refused:
        yield error("cannot-look", f"{name}: {refused}")


def _repaired(registry: Registry) -> Iterator[str]:
    from patchhub_registry.operations.known import forgotten
    from patchhub_registry.operations.recovery import recover

    for each in recover(registry, wait=1.0):
        if each.done in ("finished", "undone"):
            yield f"{each.where}: an interrupted change was {each.done}"
    for notice in forgotten(registry, _AT_WORK):
        notice.unlink(missing_ok=True)
        yield "a model directory that is gone was forgotten"
    if any(store.tables(registry)):
        registry.count()
        yield "the index was made again"
