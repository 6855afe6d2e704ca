"""Which tensors' bytes differ between two lists of patches, from manifests alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchhub.tensorheader import size_in_bytes

if TYPE_CHECKING:
    from patchhub.manifest import Site
    from patchhub_registry.entry import StackItem
    from patchhub_registry.operations.patchfinder import PatchFinder


@dataclass(frozen=True, slots=True)
class Touched:
    """A tensor whose bytes change.

    Attributes:
        tensor: Its name in the checkpoint.
        dtype: As stored.
        shape: As stored.
        size: Bytes.
        before: Patches that touch it now.
        after: Patches that touch it then.
    """

    tensor: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    before: tuple[str, ...]
    after: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        return {
            "tensor": self.tensor,
            "dtype": self.dtype,
            "shape": self.shape,
            "bytes": self.size,
            "before": self.before,
            "after": self.after,
        }


def differing(
    finder: PatchFinder, before: Sequence[StackItem], after: Sequence[StackItem]
) -> tuple[Touched, ...]:
    """The tensors that different patches touch, by name."""
    now, then = finder.ids_by_tensor(before), finder.ids_by_tensor(after)
    refs = {item.id: item.ref for item in (*before, *after)}
    sites: dict[str, Site] = {}
    for item in (*before, *after):
        patch = finder.find(item)
        sites |= {site.tensor: site for site in (patch.manifest.sites if patch else ())}
    return tuple(
        Touched(
            tensor,
            site.dtype,
            site.shape,
            size_in_bytes(site.dtype, site.shape) or 0,
            tuple(refs[one] for one in now.get(tensor, ())),
            tuple(refs[one] for one in then.get(tensor, ())),
        )
        for tensor, site in sorted(sites.items())
        if now.get(tensor) != then.get(tensor)
    )
