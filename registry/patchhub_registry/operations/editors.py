"""Trained editors in the registry: trained by one, used by all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.durable import swap_in
from patchhub.errors import NotFoundError
from patchhub_registry.operations import localfiles

if TYPE_CHECKING:
    from patchhub.editing.editor import Editor
    from patchhub.editing.meta.trained import Trained
    from patchhub_registry.asset import Asset
    from patchhub_registry.registry import Registry

KIND = "editor"


def keep(registry: Registry, trained: Trained) -> Asset:
    """Keep a trained editor as an asset; the same one again changes nothing."""
    facts = {**trained.content, **trained.outcome}
    return registry.assets.put(KIND, trained.base, trained.key, facts, trained.data)


def bring(registry: Registry, weights: str, editor: Editor) -> None:
    """Put the registry's trained editors of a method, if it needs one, into the machine's cache.

    Raises:
        IntegrityError: E202, a payload is damaged.
    """
    from patchhub.editing.editor import TRAINED
    from patchhub.editing.meta.trained import file_name

    if TRAINED not in editor.needs:
        return
    cache = localfiles.moments_cache(registry)
    for asset in registry.assets.list(KIND, weights):
        file = cache / file_name(editor.name, asset.payload.oid)
        if asset.facts.get("method") == editor.name and not file.exists():
            _bring(registry, asset, file)


def _bring(registry: Registry, asset: Asset, file: Path) -> None:
    try:
        swap_in(file, registry.assets.file(asset).read_bytes())
    except NotFoundError:  # not fetched: as good as not there
        return
