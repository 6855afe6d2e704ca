"""The git-tracked store of model edits: what was computed, what is applied, on which evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry

__all__ = ["Registry"]


def __getattr__(name: str) -> object:
    if name == "Registry":
        from patchhub_registry.registry import Registry

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
