"""Key statistics in the registry: computed by one, used by all who need the very same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from patchhub import canonical
from patchhub.errors import NotFoundError
from patchhub_registry.operations import localfiles

if TYPE_CHECKING:
    from patchhub.editing.editor import Editor
    from patchhub.loading import LoadedBase
    from patchhub_registry.asset import Asset
    from patchhub_registry.registry import Registry

KIND = "moments"


def keep(registry: Registry, base: str | None = None) -> tuple[Asset, ...]:
    """Keep the statistics that edits computed on this machine as assets of the registry.

    Args:
        registry: Where to keep them.
        base: Only those of one base, by name.

    Returns:
        Every asset these statistics are now; those the registry had already among them.

    Raises:
        NotFoundError: E106.
    """
    from patchhub.editing.statistics.moments import described

    bases = registry.bases() if base is None else [registry.base(base)]
    weights = {record.weights for record in bases}
    kept = []
    for file in sorted(localfiles.moments_cache(registry).glob(f"{KIND}-*.safetensors")):
        found = described(file)
        if found is not None and found[0]["base"] in weights:
            content, blocks = found
            facts = {**content, "blocks": list(blocks)}
            key = canonical.digest(content)
            kept.append(registry.assets.put(KIND, str(content["base"]), key, facts, file))
    return tuple(kept)


def brought(registry: Registry, weights: str) -> Path:
    """The machine's cache of statistics, with what the registry has for a base put into it.

    Raises:
        IntegrityError: E202, a payload is damaged.
    """
    from patchhub.editing.statistics.moments import cache_file, described

    cache = localfiles.moments_cache(registry)
    for asset in registry.assets.list(KIND, weights):
        file = cache_file(cache, asset.key)
        here = described(file)
        blocks = cast("Sequence[int]", asset.facts["blocks"])
        if here is None or set(here[1]) < set(blocks):
            _bring(registry, asset, file)
    return cache


def elsewhere(registry: Registry, weights: str) -> dict[str, Sequence[int]]:
    """What the registry could bring for a base: blocks by the key of their content."""
    return {
        asset.key: cast("Sequence[int]", asset.facts["blocks"])
        for asset in registry.assets.list(KIND, weights)
    }


def missing(
    registry: Registry,
    base: LoadedBase,
    editor: Editor,
    settings: Mapping[str, object],
    seed: int,
    amount: str = "full",
) -> bool:
    """Whether an edit would first have to compute statistics."""
    from patchhub.editing.prepare import layers_of
    from patchhub.editing.statistics.corpus import Amount, corpus_for
    from patchhub.editing.statistics.moments import missing_layers

    layers = layers_of(base, editor, settings)
    if not layers:
        return False
    weights = base.fingerprint.weights
    corpus = corpus_for(base, seed, localfiles.texts(registry, weights), Amount.of(amount))
    cache, others = localfiles.moments_cache(registry), elsewhere(registry, weights)
    return bool(missing_layers(base, corpus.record, layers, cache, others))


def _bring(registry: Registry, asset: Asset, file: Path) -> None:
    try:
        source = registry.assets.file(asset)
    except NotFoundError:  # not fetched: it is computed again
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, temporary)
    temporary.replace(file)
