"""Take in a patch directory that was made elsewhere."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import IntegrityError, InvalidInputError
from patchhub_registry.operations import models, naming, reviews

if TYPE_CHECKING:
    from patchhub.fingerprint import Fingerprint
    from patchhub.manifest import Manifest
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry


def add(
    registry: Registry,
    directory: str | Path,
    *,
    name: str | None = None,
    sensitivity: str = "internal",
    review_after: str | datetime.date | None = None,
    message: str = "",
) -> PatchRecord:
    """Check a patch directory to the last byte and keep it; `check` then gives it a verdict.

    Args:
        registry: The registry.
        directory: A patch directory, such as ``edit --out`` writes.
        name: Name of the patch; else one made from its first request.
        sensitivity: ``public``, ``internal`` or ``personal``; recorded.
        review_after: Day after which the edit shall be looked at again; recorded.
        message: One line for the record.

    Raises:
        InvalidInputError: E101 the name; E110 to E115 a file; E113 also the day; E117 a foreign or
            missing file.
        IntegrityError: E116, E202, or E201: the registry has no such base.
        NotFoundError: E109.
    """
    from patchhub.patch import Patch

    review = reviews.day(review_after)
    if name is not None:
        naming.patch_name(name, "", ())
    patch = Patch.read(Path(directory))
    base = models.base_with(registry, patch.manifest.base, f"{directory}")
    fits(patch.manifest, base.fingerprint, str(directory))
    label = naming.patch_name(name, patch.manifest.method.name, patch.requests)
    observed = {
        "base": base.name,
        "created": now(),
        "sensitivity": sensitivity,
        "review_after": review,
        "message": message,
    }
    return registry.add_patch(patch.files(), label, observed, [])


def fits(manifest: Manifest, base: Fingerprint, what: str) -> None:
    """Hold a patch's sites against the base's tensors.

    Raises:
        InvalidInputError: E112, a site has another shape or dtype than the base's tensor.
        IntegrityError: E201, the base has no such tensor or its bytes are others.
    """
    for site in manifest.sites:
        entry = base.tensors.get(site.tensor)
        if entry is None:
            raise IntegrityError(
                "E201", f"{what}: the base has no tensor {site.tensor}", hint="is it another model?"
            )
        if (entry.dtype, entry.shape) != (site.dtype, site.shape):
            raise InvalidInputError(
                "E112",
                f"{what}: {site.tensor} does not fit the base",
                expected=f"{entry.dtype} {list(entry.shape)}",
                found=f"{site.dtype} {list(site.shape)}",
            )
        if entry.sha256 != site.pre:
            raise IntegrityError(
                "E201",
                f"{what} was made for other bytes of {site.tensor}",
                expected=entry.sha256,
                found=site.pre,
            )


def now() -> str:
    """The moment in UTC, as record.json writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
