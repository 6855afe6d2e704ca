"""Composed tensors of a base, one at a time, without a directory to put them in."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from patchhub.composer.exact_sum import compose
from patchhub.composer.stack import sites_of, terms_at, weight_patches
from patchhub.kinds.storage import digest_of, from_bytes
from patchhub.patch import Patch
from patchhub.tensorfile import CheckpointFiles, read_bytes


class Composed:
    """What tensors of a base are with patches on them.

    Args:
        base: The base's files, whose bytes are known to be right.
    """

    def __init__(self, base: CheckpointFiles) -> None:
        self._base = base
        self._digests: dict[tuple[str, tuple[str, ...]], str] = {}

    def tensor(self, name: str, patches: Sequence[Patch]) -> Tensor:
        """A tensor as the base's file would hold it, in its stored dtype and layout.

        Patches that act while the model runs are no part of it.

        Raises:
            InvalidInputError: E112, it cannot be patched.
        """
        header = self._base.tensors[name]
        pristine = from_bytes(header.dtype, header.shape, read_bytes(header))
        terms = terms_at(name, weight_patches(patches))
        return compose(pristine, sites_of(patches)[name], terms) if terms else pristine

    def digest(self, name: str, patches: Sequence[Patch]) -> str:
        """SHA-256 of the bytes of `tensor`; computed once for the same patches."""
        key = (name, tuple(sorted(patch.id for patch in patches if name in patch.payload)))
        if key not in self._digests:
            self._digests[key] = digest_of(self.tensor(name, patches))
        return self._digests[key]
