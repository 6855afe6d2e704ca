"""Which projections of the decoder are meant, by block and part or as published."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from patchhub.errors import InvalidInputError
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


def published_projections(base: LoadedBase) -> list[str]:
    """Paths of the projections that are published as edited together in a model of this depth.

    Raises:
        InvalidInputError: E142, there are none.
    """
    count = base.arch.block_count(base.model)
    found = base.arch.edit_modules.get(str(count))
    if found is None:
        raise InvalidInputError(
            "E142",
            f"no published projections to edit for {base.arch.model_type} models of this depth",
            expected=f"layers between 0 and {count - 1}",
            found=f"{count} blocks",
            hint="name some, for example --set layers=3,4; late middle blocks are the usual choice",
        )
    return [path.format(layer) for path, layers in found.items() for layer in layers]
