"""Patches of a registry, each looked up once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from patchhub_registry.entry import StackItem
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry


class PatchFinder:
    """Finds the patches that stacks and directories name.

    Args:
        registry: Where they lie.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._known: dict[str, PatchRecord | None] = {}

    def find(self, item: StackItem) -> PatchRecord | None:
        """The patch with the item's id, or none if the registry does not have it."""
        if item.id not in self._known:
            self._known[item.id] = self._look(item.ref, item.id)
        return self._known[item.id]

    def ids_by_tensor(self, items: Iterable[StackItem]) -> dict[str, tuple[str, ...]]:
        """For every tensor that patches touch the ids of those that do, sorted.

        Patches that the registry does not have are left out.
        """
        found: dict[str, list[str]] = {}
        for item in items:
            patch = self.find(item)
            for site in () if patch is None else patch.manifest.sites:
                found.setdefault(site.tensor, []).append(item.id)
        return {tensor: tuple(sorted(found[tensor])) for tensor in sorted(found)}

    def _look(self, ref: str, id: str) -> PatchRecord | None:
        """By its name, which is quick; by its id where it has another name here."""
        for text in (ref, id):
            try:
                patch = self.registry.resolve(text)
            except (InvalidInputError, NotFoundError):
                continue
            if patch.id == id:
                return patch
        return None
