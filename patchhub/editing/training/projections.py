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
