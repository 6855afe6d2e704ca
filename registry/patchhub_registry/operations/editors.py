"""Trained editors in the registry: trained by one, used by all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
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


def bring(
    registry: Registry,
    weights: str,
    editor: Editor,
    wanted: Callable[[Asset], bool] = lambda asset: True,
) -> None:
    """Put the registry's trained editors of a method, if it needs one, into the machine's cache.

    Args:
        registry: Has them.
        weights: Digest of the base's weights.
        editor: The method.
        wanted: Whether the caller may mean an editor; others stay behind if they were not fetched.

    Raises:
        NotFoundError: E120, a payload that is wanted was not fetched.
        IntegrityError: E202, a payload is damaged.
    """
    from patchhub.editing.editor import TRAINED
    from patchhub.editing.meta.trained import file_name

    if TRAINED not in editor.needs:
        return
    cache = localfiles.moments_cache(registry)
    for asset in registry.assets.list(KIND, weights):
        file = cache / file_name(editor.name, asset.payload.oid)
        if asset.facts.get("method") != editor.name or _holds(file, asset):
            continue
        try:
            swap_in(file, registry.assets.file(asset).read_bytes())
        except NotFoundError:
            if wanted(asset):
                raise


def named(settings: Mapping[str, object] | None) -> Callable[[Asset], bool]:
    """Whether an edit's settings may mean an editor: all, where they name none."""
    digest = str((settings or {}).get("trained") or "")
    return lambda asset: asset.payload.oid.startswith(digest)


def _holds(file: Path, asset: Asset) -> bool:
    """Whether a file of the cache is there, and whole."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == asset.payload.oid
    except FileNotFoundError:
        return False
