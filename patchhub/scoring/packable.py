"""Which models can be asked many rows as one (`packed`).

Whether a model heeds a mask and positions of our own is not asked of its name but seen: a small
tree must give what plain rows give. It is seen once a model: who makes its modules decide by rows
afterwards must not let it be asked by trees.
"""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from patchhub.composer.slots.plane import routes_rows
from patchhub.editing.wording.tokens import text_config
from patchhub.scoring.batching import evaluating
from patchhub.scoring.trie import Trie

_NEEDED = frozenset({"position_ids", "logits_to_keep"})
_WINDOWS = ("sliding_window", "attention_chunk_size")
_BY_PLACE = "window_size"
"""Set where layers cut by the distance of columns, which a tree's are not (GPT-Neo)."""
LONGEST = 512
"""Tokens of the longest row: a longer one is read in parts, and positions that are scaled by the
length of what is read (longrope) would differ in each; a mask of its square would be large, too."""
_ONE, _OTHER = (5, 6, 7, 8, 9, 1, 2), (5, 6, 7, 3, 4)
_TRUST = {torch.float32: 1e-3, torch.float64: 1e-6}
_TRUST_HALF = 0.05

_seen: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def unwrapped(model: PreTrainedModel) -> Any:
    """The model inside an adapter's wrapper, whose own signature says nothing."""
    unwrap: Any = getattr(model, "get_base_model", None)
    return model if unwrap is None else unwrap()


def accepted(model: PreTrainedModel) -> frozenset[str]:
    """Names of the arguments that a model takes."""
    return frozenset(inspect.signature(unwrapped(model).forward).parameters)


def longest(model: PreTrainedModel) -> int:
    """Longest row that may be packed; 0 if none, as where what acts on a row is chosen for it.

    Beyond the window of a layer that sees only the latest tokens, a tree's mask would show more.
    """
    if routes_rows(model) or not _packs(model):
        return 0
    found = (getattr(text_config(unwrapped(model)), name, None) for name in _WINDOWS)
    return min((size for size in found if isinstance(size, int) and size > 0), default=LONGEST)


def blind(hidden: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    """The mask (1, 1, q, k) that is added to attention scores, as every implementation reads it."""
    mask = torch.zeros(1, 1, *hidden.shape, dtype=dtype)
    return mask.masked_fill_(torch.from_numpy(hidden), torch.finfo(dtype).min)


def _packs(model: PreTrainedModel) -> bool:
    inner = unwrapped(model)
    if not isinstance(inner, PreTrainedModel) or not accepted(model) >= _NEEDED:
        return False
    config: Any = text_config(inner)
    if getattr(config, _BY_PLACE, None) or _has_virtual_tokens(model):
        return False
    if {inner.config._attn_implementation, config._attn_implementation} - {"eager", "sdpa"}:
        return False
    if inner not in _seen:
        agrees = _agrees(inner)
        if agrees is None:  # a broken model says nothing of its kind
            return False
        _seen[inner] = agrees
    return _seen[inner]


def _has_virtual_tokens(model: PreTrainedModel) -> bool:
    adapter = getattr(model, "active_peft_config", None)
    return bool(getattr(adapter, "is_prompt_learning", False))


def _agrees(model: PreTrainedModel) -> bool | None:
    """Whether a tree gives what plain rows give; None if the rows' numbers are not finite."""
    trie = Trie([_ONE, _OTHER])
    mask = blind(trie.hidden(), model.dtype)
    body: Any = model.base_model  # without the head: whoever watches the model's answers sees none
    with evaluating(model):
        plain = [
            body(input_ids=torch.tensor([row], device=model.device), use_cache=False)[0][0]
            for row in (_ONE, _OTHER)
        ]
        if not all(bool(states.isfinite().all()) for states in plain):
            return None
        cache = DynamicCache()
        try:
            together = body(
                input_ids=torch.tensor([trie.ids], device=model.device),
                attention_mask=mask.to(model.device),
                position_ids=torch.tensor([trie.depths], device=model.device),
                past_key_values=cache,
                use_cache=True,
            )[0][0]
        except (ValueError, IndexError, TypeError, AttributeError):
            return False  # it knows masks or caches of another form only
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return False
    tolerance = _TRUST.get(model.dtype, _TRUST_HALF)
    return all(
        _close(together[path].float(), states.float(), tolerance)
        for path, states in zip(trie.paths, plain, strict=True)
    )


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether states (t, d) agree, token by token."""
    return bool(((found - expected).norm(dim=-1) <= tolerance * expected.norm(dim=-1)).all())
