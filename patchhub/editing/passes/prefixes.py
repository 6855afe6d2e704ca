"""Keys and values of what comes before the place of interest, common beginnings computed once.

Context templates put the same generated text in front of every prompt; where the token ids agree,
it is read once and not once per prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from patchhub.editing.wording.tokens import Padded, pad, positions

Past = list[tuple[Tensor, Tensor]]
"""Keys and values per block, each ``(n, heads, t, size)``."""

_WORTH = 0.75
"""Beginnings are read on their own if fewer than this share of the tokens remains."""


@torch.no_grad()
def read(model: PreTrainedModel, texts: Sequence[Sequence[int]], filler: int) -> Past:
    """What the model remembers of ``texts``, aligned at their ends; empty if all texts are.

    Args:
        model: A decoder.
        texts: Token ids of each.
        filler: Id to pad with.

    Returns:
        Per block ``(n, heads, t, size)``, t = length of the longest text. What lies before a
        shorter text has to be masked.
    """
    width = max(map(len, texts), default=0)
    if width == 0:
        return []
    distinct = list(dict.fromkeys(map(tuple, texts)))
    begins = shared_lengths(distinct)
    if _tokens(distinct, begins) > _WORTH * sum(map(len, distinct)):
        begins = [0] * len(distinct)
    past, ends = _in_two_steps(model, distinct, begins, filler)
    number = {text: i for i, text in enumerate(distinct)}
    rows = torch.tensor([number[tuple(text)] for text in texts])
    lengths = torch.tensor([len(text) for text in texts])[:, None]
    columns = torch.arange(width) + ends[rows][:, None] - width
    # Padding repeats the first token: masked, it only has to be finite.
    first = (ends[rows][:, None] - lengths).clamp(max=past[0][0].shape[2] - 1)
    columns = columns.maximum(first).to(model.device)
    rows = rows[:, None].to(model.device)
    return [(_picked(keys, rows, columns), _picked(values, rows, columns)) for keys, values in past]


def shared_lengths(texts: Sequence[Sequence[int]]) -> list[int]:
    """How much of the beginning of each text saves most when it is read for all that have it."""
    nodes: dict[tuple[int, int], int] = {}
    paths: list[list[int]] = []
    for text in texts:
        node, path = 0, []
        for token in text:
            node = nodes.setdefault((node, token), len(nodes) + 1)
            path.append(node)
        paths.append(path)
    count = Counter(node for path in paths for node in path)
    found = []
    for path in paths:
        saved = [0.0, *(n * (1 - 1 / count[node]) for n, node in enumerate(path, 1))]
        found.append(saved.index(max(saved)))
    return found


def cache_of(past: Past) -> DynamicCache:
    """A cache that begins with ``past``, which is neither copied nor changed by a pass."""
    cache = DynamicCache()
    for keys, values in past:
        layer = DynamicLayer()  # type: ignore[no-untyped-call]
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def _tokens(texts: Sequence[tuple[int, ...]], begins: Sequence[int]) -> int:
    """Tokens to be read when beginnings are read once."""
    shared = {text[:n] for text, n in zip(texts, begins, strict=True)}
    rest = sum(len(text) - n for text, n in zip(texts, begins, strict=True))
    return rest + sum(map(len, shared))


def _in_two_steps(
    model: PreTrainedModel, texts: Sequence[tuple[int, ...]], begins: Sequence[int], filler: int
) -> tuple[Past, Tensor]:
    """Keys and values, and the column after each text's last."""
    shared = list(dict.fromkeys(text[:n] for text, n in zip(texts, begins, strict=True) if n))
    if not shared:
        whole = pad(texts, filler=filler, device=model.device, left=True)
        past = _pass(model, whole.ids, whole.mask, positions(whole.mask), [])
        return past, torch.full((len(texts),), whole.mask.shape[1])
    heads = pad(shared, filler=filler, device=model.device, left=True)
    past = _pass(model, heads.ids, heads.mask, positions(heads.mask), [])
    number = {text: i for i, text in enumerate(shared)}
    owners = [number[text[:n]] if n else 0 for text, n in zip(texts, begins, strict=True)]
    rows = torch.tensor(owners, device=model.device)
    past = [(keys[rows], values[rows]) for keys, values in past]
    rests = pad(
        [text[n:] for text, n in zip(texts, begins, strict=True)],
        filler=filler,
        device=model.device,
    )
    if rests.ids.shape[1]:
        past = _after(model, heads.mask[rows], begins, rests, past)
    ends = [heads.mask.shape[1] + len(text) - n for text, n in zip(texts, begins, strict=True)]
    return past, torch.tensor(ends)


def _after(
    model: PreTrainedModel, before: Tensor, begins: Sequence[int], rests: Padded, past: Past
) -> Past:
    """``past`` and what follows it; the rests are padded on the right, so rows have no holes."""
    starts = torch.tensor(begins, device=model.device)[:, None]
    mask = torch.cat([before * (starts > 0), rests.mask], dim=1)
    steps = torch.arange(rests.ids.shape[1], device=model.device)
    ends = (starts + rests.mask.sum(1, keepdim=True) - 1).clamp(min=0)
    return _pass(model, rests.ids, mask, torch.minimum(starts + steps, ends), past)


def _pass(model: PreTrainedModel, ids: Tensor, mask: Tensor, places: Tensor, past: Past) -> Past:
    cache = cache_of(past)
    model.base_model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=places,
        past_key_values=cache,
        use_cache=True,
    )
    layers: list[Any] = list(cache.layers)
    return [(layer.keys, layer.values) for layer in layers]


def _picked(entries: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return entries.transpose(1, 2)[rows, columns].transpose(1, 2).contiguous()
