"""Attention of a few positions by plain products, where a processor's kernel is made for many.

The kernel takes one head of one row after the other, which with a handful of positions is mostly
overhead. Products of all heads and rows at once are faster, forwards and backwards, and heads that
share keys need no copies of them. The function is the same; values differ by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME, _KERNEL = "patchhub_short", "sdpa"
_FEW = 16
"""Positions that ask; the scores of more would take the memory that the kernel saves."""
_KNOWN = frozenset(
    {"dropout", "scaling", "is_causal", "position_ids", "use_cache", "sliding_window"}
)
"""What models may say besides, a window in the mask, too; for anything else the kernel is asked."""


@contextmanager
def short_attention(model: nn.Module) -> Iterator[None]:
    """Let attention of few positions be computed by products inside the ``with`` block.

    On a processor, and where the model would use the kernel.
    """
    found = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    ours = [c for c in found.values() if getattr(c, "_attn_implementation", None) == _KERNEL]
    try:
        for config in ours:  # by the field itself: the property writes to configs inside, too
            config._attn_implementation_internal = _NAME
        yield
    finally:
        for config in ours:
            config._attn_implementation_internal = _KERNEL


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Of ``(b, h, q, d)``, twice ``(b, g, t, d)`` and a mask ``(b, 1, q, t)``: ``(b, q, h, d)``."""
    rows, heads, asking, size = query.shape
    special = any(value is not None for name, value in more.items() if name not in _KNOWN)
    masked = attention_mask is not None or asking == 1
    few = query.device.type == "cpu" and asking <= _FEW
    if special or more.get("dropout") or not (few and masked):
        found = sdpa_attention_forward(module, query, key, value, attention_mask, **more)
        return found[0], None
    scaling = more.get("scaling")
    scaled = query * (size**-0.5 if scaling is None else scaling)
    groups = key.shape[1]
    scores = scaled.reshape(rows, groups, -1, size) @ key.transpose(-1, -2)
    scores = scores.view(rows, heads, asking, -1)
    if attention_mask is not None:
        scores = scores + _added(attention_mask, scores)
    shares = scores.softmax(-1).view(rows, groups, -1, key.shape[2])
    together = (shares @ value).view(rows, heads, asking, -1)
    return together.transpose(1, 2).contiguous(), None


def _added(mask: Tensor, scores: Tensor) -> Tensor:
    """What makes scores vanish where a mask says so."""
    if mask.dtype != torch.bool:
        return mask
    never = torch.finfo(scores.dtype).min
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, never)


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
