"""A model directory that says nothing of itself, known by its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.composer.identity import composed_identity
from patchhub.errors import NotFoundError
from patchhub_registry.entry import StackItem
from patchhub_registry.operations import localfiles, models
from patchhub_registry.operations.directory import places
from patchhub_registry.operations.identify import UNREAD, VERIFIED, Identified, small_parts
from patchhub_registry.operations.patchfinder import PatchFinder
from patchhub_registry.stack import StackState, step

if TYPE_CHECKING:
    from patchhub.patch import Patch
    from patchhub.tensorfile import CheckpointFiles
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord

Digests = Mapping[str, str]


def recognise(
    registry: Registry, where: Path, *, verify: bool, progress: Progress | None
) -> Identified:
    """The base and the stack whose bytes a directory holds.

    Raises:
        NotFoundError: E106, no base has these tensors; E107, no state of a stack has; with what is
            nearest; E109, the base that would tell is not on this machine.
        IntegrityError: E110, E111, E147, it cannot be read.
    """
    from patchhub.fingerprint import hash_tensors
    from patchhub.tensorfile import open_checkpoint

    files = open_checkpoint(where)
    bases = [base for base in registry.bases() if _same_headers(files, base)]
    if not bases:
        raise _no_base(registry, files, where)
    patched = _patched(registry)
    wanted = files.tensors.keys() if verify else _telling(bases, patched)
    report = localfiles.phase(progress, "hash tensors")
    digests = hash_tensors((files.tensors[name] for name in sorted(wanted)), progress=report)
    others = len(digests) == len(files.tensors)
    for base in bases:
        items = _matching(registry, base, digests, patched.get(base.name, frozenset()), progress)
        if items is not None:
            identity = composed_identity(base.weights, [item.id for item in items])
            checked = {
                "headers": VERIFIED,
                "touched": VERIFIED,
                "others": VERIFIED if others else UNREAD,
                **small_parts(where, base),
            }
            stacks = tuple(places(registry, identity))
            return Identified(
                where, "bytes", base.name, base.weights, items, identity, stacks, checked
            )
    raise _no_state(bases, digests, where)


def _same_headers(files: CheckpointFiles, base: BaseRecord) -> bool:
    found = {name: (h.dtype, h.shape) for name, h in files.tensors.items()}
    return found == {name: (e.dtype, e.shape) for name, e in base.fingerprint.tensors.items()}


def _patched(registry: Registry) -> dict[str, frozenset[str]]:
    """Tensors that patches touch, by the name of the base."""
    found: dict[str, set[str]] = {}
    for patch in registry.patches():
        found.setdefault(patch.base, set()).update(patch.sites)
    return {base: frozenset(tensors) for base, tensors in found.items()}


def _telling(bases: Sequence[BaseRecord], patched: Mapping[str, frozenset[str]]) -> set[str]:
    """Tensors that tell the candidates apart: those of patches, and one that bases do not share."""
    wanted = {name for base in bases for name in patched.get(base.name, ())}
    for one, other in combinations(bases, 2):
        mine, theirs = one.fingerprint.tensors, other.fingerprint.tensors
        unlike = [n for n in mine if mine[n].sha256 != theirs[n].sha256 and n not in wanted]
        wanted.update(sorted(unlike, key=lambda name: (mine[name].shape, name))[:1])
    return wanted


def _matching(
    registry: Registry,
    base: BaseRecord,
    digests: Digests,
    patched: frozenset[str],
    progress: Progress | None,
) -> tuple[StackItem, ...] | None:
    """The patches that make these digests of a base; none if nothing here does."""
    differ = _differing(base, digests)
    if not differ:
        return ()
    if not differ <= patched:
        return None
    directory, _ = localfiles.base_directory(registry, base, progress=progress)
    trial = _Trial(registry, base, directory, digests)
    return next((items for items in _states(registry, base) if trial.fits(items, differ)), None)


def _differing(base: BaseRecord, digests: Digests) -> set[str]:
    known = base.fingerprint.tensors
    return {name for name, digest in digests.items() if digest != known[name].sha256}


def _states(registry: Registry, base: BaseRecord) -> Iterator[tuple[StackItem, ...]]:
    """Every state of every stack on a base, the newest first, then every patch alone."""
    for name in registry.stacks():
        entries = registry.log(name)
        if entries[0].base != base.weights:
            continue
        current, states = StackState.empty(name, base.weights), []
        for entry in entries:
            current = step(current, entry)
            states.append(current.items)
        yield from reversed(states)
    for patch in registry.patches():
        if patch.base == base.name:
            yield (StackItem(patch.ref, patch.id),)


@dataclass
class _Trial:
    """Composes tensors of a base until the digests agree."""

    registry: Registry
    base: BaseRecord
    directory: Path
    digests: Digests

    def __post_init__(self) -> None:
        from patchhub.checkpoint.composed import Composed
        from patchhub.tensorfile import open_checkpoint

        self._composed = Composed(open_checkpoint(self.directory))
        self._finder = PatchFinder(self.registry)
        self._patches: dict[str, Patch] = {}

    def fits(self, items: Sequence[StackItem], differ: set[str]) -> bool:
        """Whether the base with these patches has the digests."""
        ids = self._finder.ids_by_tensor(items)
        if not differ <= ids.keys():
            return False
        patches = [self._patch(item) for item in items]
        return all(self._composed.digest(name, patches) == self.digests[name] for name in ids)

    def _patch(self, item: StackItem) -> Patch:
        if item.id not in self._patches:
            self._patches[item.id] = models.read_patch(self.registry, item.ref)
        return self._patches[item.id]


def _no_base(registry: Registry, files: CheckpointFiles, where: Path) -> NotFoundError:
    nearest = []
    for base in registry.bases():
        known = base.fingerprint.tensors
        same = sum(
            n in known and (known[n].dtype, known[n].shape) == (h.dtype, h.shape)
            for n, h in files.tensors.items()
        )
        nearest.append((same, base.name, len(known)))
    found = "no bases"
    if nearest:
        same, name, count = max(nearest)
        found = f"nearest is {name}: {same} of {count} tensors agree in name, dtype and shape"
    return NotFoundError(
        "E106",
        f"{where} is no base of this registry",
        expected="the names, dtypes and shapes of a base's tensors",
        found=found,
        hint="a cast is another base; patchhub base add NAME DIRECTORY",
    )


def _no_state(bases: Sequence[BaseRecord], digests: Digests, where: Path) -> NotFoundError:
    nearest = min(bases, key=lambda base: len(_differing(base, digests)))
    differ = sorted(_differing(nearest, digests))
    return NotFoundError(
        "E107",
        f"{where} has the tensors of base {nearest.name}, but is no state of a stack on it",
        expected="the bytes of the base, of a stack's state, or of one patch on the base",
        found=f"{len(differ)} of the {len(digests)} tensors read differ from the base's: "
        + ", ".join(differ[:3]),
        hint="a fine-tuned copy is another base; patchhub base add NAME DIRECTORY",
        base=nearest.name,
        tensors=differ,
    )
