"""Which projections of the decoder are meant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from patchhub.loading import LoadedBase

Part: TypeAlias = Literal["attention_in", "attention_out", "mlp_in", "mlp_out"]


def projections(base: LoadedBase, layers: Collection[int], parts: Sequence[str]) -> list[str]:
    """Paths of projections of the decoder, block by block (E144: no such block)."""
    found: list[str] = []
    for layer in layers:
        for part in parts:
            if part.endswith("_in"):
                found += base.arch.paths(part, layer, base.model)
            else:
                found.append(base.arch.path(part, layer, base.model))
    return list(dict.fromkeys(found))


def lowest_block(base: LoadedBase, paths: Sequence[str]) -> int:
    """The lowest block of the decoder in which one of the modules lies; 0 if one lies elsewhere."""
    count = base.arch.block_count(base.model)
    blocks = [f"{base.arch.path('block', i, base.model)}." for i in range(count)]
    inside = [i for path in paths for i, block in enumerate(blocks) if path.startswith(block)]
    return min(inside) if len(inside) == len(paths) else 0
