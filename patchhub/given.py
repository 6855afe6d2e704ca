"""What the public calls are given: things themselves, or the places where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from patchhub.loading import LoadedBase, load_base
from patchhub.patch import Patch
from patchhub.request import EditRequest, load_requests

Base: TypeAlias = LoadedBase | str | Path
"""A loaded base or its directory, as `from_pretrained` reads it."""
Requests: TypeAlias = Sequence[EditRequest] | EditRequest | str | Path
"""Requests, or the file that holds them."""
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a phase, units done and units in all."""


def base_of(base: Base, device: str) -> LoadedBase:
    """A base in memory; one that is given by its directory is put on ``device``."""
    return base if isinstance(base, LoadedBase) else load_base(Path(base), device=device)


def patch_of(patch: Patch | str | Path) -> Patch:
    """A patch with its tensors."""
    return patch if isinstance(patch, Patch) else Patch.read(Path(patch))


def patches_of(patches: Sequence[Patch | str | Path]) -> tuple[Patch, ...]:
    """Patches with their tensors."""
    return tuple(patch_of(patch) for patch in patches)


def requests_of(requests: Requests) -> tuple[EditRequest, ...]:
    """The requests themselves."""
    if isinstance(requests, EditRequest):
        return (requests,)
    if isinstance(requests, str | Path):
        return load_requests(Path(requests))
    return tuple(requests)
