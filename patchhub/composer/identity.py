"""Identity of a composed model: which base, which patches, in which segments. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.canonical import digest
from patchhub.errors import ConflictError

SCHEMA = 1


def composed_identity(base_weights: str, ids: Sequence[str]) -> str:
    """SHA-256 (hex) that two composed models share exactly if their weights are made of the same.

    Additive patches commute, so their order does not count: they form one segment whose ids are
    sorted.

    Args:
        base_weights: The weights digest of the base's fingerprint.
        ids: Patch ids (64 hex) of the stack, bottom first.

    Raises:
        ConflictError: E306, an id occurs twice.
    """
    if len(set(ids)) != len(ids):
        twice = sorted({one for one in ids if ids.count(one) > 1})
        raise ConflictError("E306", "a patch occurs twice in the stack", found=", ".join(twice))
    segments = [sorted(ids)] if ids else []
    return digest({"schema": SCHEMA, "base": base_weights, "stack": segments})
