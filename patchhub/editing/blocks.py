"""Which blocks an edit takes where nobody names any."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedModel

from patchhub.errors import InvalidInputError
from patchhub.sites import DECODER, Architecture

INSERT, SPREAD = "insert", "spread"
"""The purposes of writing at a subject: in one block, in several together."""


def edit_layer(model: PreTrainedModel, arch: Architecture, purpose: str) -> int:
    """The block to edit when nobody names one; as `edit_layers`, for purposes with one block."""
    return _chosen(model, arch, purpose, "layer")[0]


def edit_layers(model: PreTrainedModel, arch: Architecture, purpose: str) -> tuple[int, ...]:
    """The blocks to edit, ascending, when nobody names any.

    Where an edit is written at a subject, they are of the stack that reads it. A checkpoint may say
    it itself (``"patchhub": {"edit_layer": 2}`` in ``config.json``; an edit that is spread takes
    all up to that one, from which facts are read); otherwise the published choice for a model of
    this family and depth is taken.

    Raises:
        InvalidInputError: E142, nothing is known for this model.
    """
    return _chosen(model, arch, purpose, "layers")


def _chosen(model: PreTrainedModel, arch: Architecture, purpose: str, name: str) -> tuple[int, ...]:
    """As `edit_layers`; ``name`` is what a method calls its blocks."""
    own = getattr(model.config, "patchhub", None)
    if isinstance(own, Mapping) and isinstance(own.get("edit_layer"), int):
        last = int(own["edit_layer"])
        return tuple(range(last + 1)) if purpose == SPREAD else (last,)
    stack = arch.reading if purpose in (INSERT, SPREAD) else DECODER
    count = arch.block_count(model, stack)
    found = arch.edit_layers.get(purpose, {}).get(str(count))
    if found is None:
        early = count // 3
        last = min(early + 2, count - 1) if purpose in (SPREAD, "finetune") else early
        example = ",".join(map(str, range(early, last + 1)))
        raise InvalidInputError(
            "E142",
            f"no published block to edit for {arch.model_type} models with {count} blocks",
            expected=f"{name} between 0 and {count - 1}",
            hint=f"for example --set {name}={example}; early middle blocks are the usual choice",
        )
    return found
