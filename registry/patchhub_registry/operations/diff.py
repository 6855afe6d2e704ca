"""Two models, or two patches, compared: which patches, which tensors, how far apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from patchhub.errors import ConflictError, NotFoundError
from patchhub_registry.operations import localfiles, models
from patchhub_registry.operations.patchfinder import PatchFinder
from patchhub_registry.operations.sides import Side, side
from patchhub_registry.operations.touched import Touched, differing

if TYPE_CHECKING:
    from patchhub.checkpoint.composed import Composed
    from patchhub.composer.difference import Apart
    from patchhub.patch import Patch
    from patchhub_registry.entry import StackItem
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Norms:
    """Frobenius norms of what is added to one tensor.

    Attributes:
        a: By all patches of the one side.
        b: By all patches of the other.
        difference: Between the two.
    """

    a: float
    b: float
    difference: float


@dataclass(frozen=True, slots=True)
class SiteDiff:
    """One tensor that the two sides patch differently.

    Attributes:
        touched: The tensor, with the patches of both sides.
        rank_a: Rank of all updates of the one side together, at most; none if one has no rank.
        rank_b: The same of the other side.
        norms: None where they were not asked for.
        realised: How the stored bytes differ; none without a base at hand.
    """

    touched: Touched
    rank_a: int | None
    rank_b: int | None
    norms: Norms | None = None
    realised: Apart | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sides compared.

    Attributes:
        a: The one.
        b: The other.
        sites: Tensors that they patch differently, by name.
        warnings: What could not be said, and why.
    """

    a: Side
    b: Side
    sites: tuple[SiteDiff, ...]
    warnings: tuple[str, ...] = ()

    @property
    def only_a(self) -> tuple[StackItem, ...]:
        """Patches of the one side alone."""
        return _without(self.a.items, self.b.items)

    @property
    def only_b(self) -> tuple[StackItem, ...]:
        """Patches of the other side alone."""
        return _without(self.b.items, self.a.items)


def diff(
    registry: Registry, a: str, b: str, *, norms: bool = True, progress: Progress | None = None
) -> Difference:
    """Compare two states of stacks, bases, patches or directories on the same base.

    Args:
        registry: Where they are looked up.
        a: The one; see `patchhub_registry.operations.sides.side`.
        b: The other.
        norms: Also read the tensors: norms, and how the stored bytes differ.
        progress: Called with the phase, units done, units in all.

    Raises:
        ConflictError: E302, the two stand on different bases.
        NotFoundError: E102 to E107, E109. IntegrityError: E2xx.
    """
    left, right = side(registry, a), side(registry, b)
    if left.base != right.base:
        raise ConflictError(
            "E302",
            "these models stand on different bases",
            expected=f"{left.label} on {left.base[:12]}",
            found=f"{right.label} on {right.base[:12]}",
        )
    finder = PatchFinder(registry)
    tensors = differing(finder, left.items, right.items)
    plain = tuple(
        SiteDiff(t, _rank(finder, left, t.tensor), _rank(finder, right, t.tensor)) for t in tensors
    )
    if not (norms and plain):
        return Difference(left, right, plain)
    return _Measure(registry, left, right, progress).all(plain)


class _Measure:
    """The part that reads tensors."""

    def __init__(self, registry: Registry, a: Side, b: Side, progress: Progress | None) -> None:
        known = {i.id: models.read_patch(registry, i.ref) for i in (*a.items, *b.items)}
        self._a, self._b = a, b
        self._left: list[Patch] = [known[item.id] for item in a.items]
        self._right: list[Patch] = [known[item.id] for item in b.items]
        self._progress = progress
        self._warnings: list[str] = []
        self._composed = self._base(registry, a.base, progress)

    def all(self, sites: Sequence[SiteDiff]) -> Difference:
        found = []
        for i, site in enumerate(sites):
            found.append(self._measured(site))
            if self._progress is not None:
                self._progress("compare tensors", i + 1, len(sites))
        return Difference(self._a, self._b, tuple(found), tuple(self._warnings))

    def _base(self, registry: Registry, weights: str, progress: Progress | None) -> Composed | None:
        from patchhub.checkpoint.composed import Composed
        from patchhub.tensorfile import open_checkpoint

        record = models.base_with(registry, weights, "the comparison")
        try:
            directory, _ = localfiles.base_directory(registry, record, progress=progress)
        except NotFoundError as error:
            self._warnings.append(f"{error.what}, so stored bytes are not compared")
            return None
        return Composed(open_checkpoint(directory))

    def _measured(self, site: SiteDiff) -> SiteDiff:
        from dataclasses import replace

        from patchhub.composer.difference import apart

        tensor, realised = site.touched.tensor, None
        if self._composed is not None:
            compose = self._composed.tensor
            before, after = compose(tensor, self._left), compose(tensor, self._right)
            realised = apart(before, after, compose(tensor, ()))
        return replace(site, norms=self._norms(tensor), realised=realised)

    def _norms(self, tensor: str) -> Norms:
        from patchhub.composer.difference import norm
        from patchhub.composer.stack import weight_patches
        from patchhub.kinds import weight_kind

        def terms(patches: Sequence[Patch], sign: int, but: Sequence[Patch] = ()) -> list[Any]:
            left_out = {patch.id for patch in but}
            return [
                (sign, weight_kind(patch.kind), patch.payload[tensor])
                for patch in weight_patches(patches)
                if tensor in patch.payload and patch.id not in left_out
            ]

        a, b = self._left, self._right
        sites = (s for p in (*a, *b) for s in p.manifest.sites if s.tensor == tensor)
        shape = next(sites).matrix_shape
        gap = [*terms(b, 1, but=a), *terms(a, -1, but=b)]
        return Norms(norm(terms(a, 1), shape), norm(terms(b, 1), shape), norm(gap, shape))


def _rank(finder: PatchFinder, one: Side, tensor: str) -> int | None:
    total = 0
    for item in one.items:
        patch = finder.find(item)
        for site in () if patch is None else patch.manifest.sites:
            if site.tensor == tensor:
                if site.rank is None:
                    return None
                total += site.rank
    return total


def _without(items: Sequence[StackItem], others: Sequence[StackItem]) -> tuple[StackItem, ...]:
    ids = {item.id for item in others}
    return tuple(item for item in items if item.id not in ids)
