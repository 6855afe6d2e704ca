"""What a stack says about each tensor: which patches touch it, and whether they may."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.composer.update import Terms
from patchhub.errors import ConflictError, IntegrityError, InvalidInputError
from patchhub.fingerprint import Fingerprint
from patchhub.kinds import kind_of, weight_kind
from patchhub.manifest import Site
from patchhub.patch import Patch


def check_stack(patches: Sequence[Patch], base: Fingerprint, weights: str) -> None:
    """Refuse a stack that cannot stand on a base.

    Args:
        patches: The stack, bottom first.
        base: Fingerprint of the base.
        weights: Its weights digest, which takes a while to compute.

    Raises:
        ConflictError: E306, a patch occurs twice.
        IntegrityError: E201, a patch was made for another base.
        InvalidInputError: E112, two patches read the same tensor in different ways.
    """
    seen: dict[str, Patch] = {}
    for patch in patches:
        if patch.id in seen:
            raise ConflictError("E306", f"{patch.short} is already in the stack", patch=patch.id)
        seen[patch.id] = patch
        check_base(patch, base, weights)
    sites_of(patches)


def sites_of(patches: Sequence[Patch]) -> dict[str, Site]:
    """The touched tensors, by name in sorted order, each with the site that describes it.

    Raises:
        InvalidInputError: E112, two patches read the same tensor in different ways.
    """
    sites: dict[str, Site] = {}
    for patch in patches:
        for site in patch.manifest.sites:
            known = sites.setdefault(site.tensor, site)
            if known.orientation is not site.orientation:
                raise InvalidInputError(
                    "E112",
                    f"patches disagree about the orientation of {site.tensor}",
                    expected=known.orientation,
                    found=f"{site.orientation} in {patch.short}",
                )
    return dict(sorted(sites.items()))


def weight_patches(patches: Sequence[Patch]) -> list[Patch]:
    """Those that change weights, in their order."""
    return [patch for patch in patches if kind_of(patch.kind).algebra.on_weights]


def live_patches(patches: Sequence[Patch]) -> list[Patch]:
    """Those that act while the model runs, in their order."""
    return [patch for patch in patches if not kind_of(patch.kind).algebra.on_weights]


def ids_at(tensor: str, patches: Sequence[Patch]) -> tuple[str, ...]:
    """Sorted ids of the patches that touch a tensor: with the base, all its bytes depend on."""
    return tuple(sorted(patch.id for patch in patches if tensor in patch.payload))


def terms_at(tensor: str, patches: Sequence[Patch]) -> Terms:
    """Kind and tensors of each patch that touches a tensor.

    Raises:
        InvalidInputError: E112, a patch does not change weights.
    """
    return [(weight_kind(p.kind), p.payload[tensor]) for p in patches if tensor in p.payload]


def check_base(patch: Patch, base: Fingerprint, weights: str) -> None:
    """Refuse a patch that was made for other bytes (E201)."""
    for site in patch.manifest.sites:
        entry = base.tensors.get(site.tensor)
        found = "no such tensor"
        if entry is not None:
            found = f"{entry.dtype} {list(entry.shape)} sha256 {entry.sha256}"
        wanted = f"{site.dtype} {list(site.shape)} sha256 {site.pre}"
        if found != wanted:
            raise _other_base(patch, f": tensor {site.tensor} differs", wanted, found)
    if patch.manifest.base != weights:
        raise _other_base(patch, "", f"weights {patch.manifest.base}", f"weights {weights}")


def _other_base(patch: Patch, where: str, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        "E201",
        f"{patch.short} was made for another base{where}",
        expected=expected,
        found=found,
        hint="edit this base anew; a patch fits only the bytes it was computed on",
        patch=patch.id,
    )
