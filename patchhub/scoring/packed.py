"""Decoder-only models asked many rows at once: nothing is padded, shared beginnings are shared.

The rows' tree (`trie`) is laid out as one row of the model; the attention mask lets each token see
what precedes it in its own rows, and its position is that in its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from patchhub.scoring.batching import Pair
from patchhub.scoring.packable import LONGEST, blind
from patchhub.scoring.reserved import spread
from patchhub.scoring.trie import Trie, in_runs

_SHARED = 4  # times as many tokens in rows of their own as in the tree

NODES = LONGEST
"""Tokens per forward pass: enough to fill matrix products, few enough for a quadratic mask."""


def predict(model: PreTrainedModel, pairs: Sequence[Pair]) -> Iterator[Tensor]:
    """Per pair, in order, the logits (t, v) of its wanted tokens."""
    rows = [(*pair.given, *pair.wanted[:-1]) for pair in pairs]
    for run in in_runs(rows, NODES):
        trie = Trie([rows[i] for i in run])
        # What predicts the first wanted token is the last given one.
        paths = zip(trie.paths, (len(pairs[i].given) for i in run), strict=True)
        places = [path[start - 1 :] for path, start in paths]
        needed = sorted({node for nodes in places for node in nodes})
        logits = _run(model, trie, needed, None)
        at = {node: i for i, node in enumerate(needed)}
        for i, nodes in zip(run, places, strict=True):
            chosen = logits[torch.tensor([at[node] for node in nodes], device=logits.device)]
            yield chosen[: len(pairs[i].wanted)]


def begin(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], more: int
) -> SpreadContinuation | TreeContinuation:
    """Read prompts as one tree and go on, by rows, or in the tree where much of it is shared.

    Rows of their own read every shared token again at each step; in the tree every row is held
    against every other's tokens, which only pays while these are few.
    """
    trie = Trie(rows)
    apart = len(rows) * (max(map(len, rows)) + more)
    if apart > _SHARED * (len(trie) + len(rows) * more):
        return TreeContinuation(model, trie)
    return SpreadContinuation(model, trie, more)


class TreeContinuation:
    """Prompts being continued as branches of one tree; nothing is copied or padded.

    Args:
        model: A model that packs.
        trie: The prompts.
    """

    mixes = True

    def __init__(self, model: PreTrainedModel, trie: Trie) -> None:
        self._model = model
        self._trie = trie
        self._cache = DynamicCache()
        lasts = [path[-1] for path in trie.paths]
        self._mask = blind(trie.hidden()[lasts], model.dtype).to(model.device)
        depths = [[trie.depths[node] for node in lasts]]
        self._positions = torch.tensor(depths, device=model.device)
        self._ids = torch.empty(0)

    def logits(self) -> Tensor:
        """Logits (rows, v) of the next token."""
        if not self._cache.get_seq_length():
            return _read(self._model, self._trie, self._cache)
        count = self._ids.shape[1]
        own = blind(~np.eye(count, dtype=np.bool_), self._mask.dtype).to(self._mask.device)
        self._mask = torch.cat([self._mask, own], 3)
        output = self._model(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = output.logits[0]
        return logits

    def push(self, chosen: Sequence[int]) -> None:
        """Append one token to each row."""
        self._ids = torch.tensor([list(chosen)], device=self._positions.device)
        self._positions = self._positions + 1

    def keep(self, places: Sequence[int]) -> bool:
        """Forget all rows but these; their tokens stay, unseen."""
        index = torch.tensor(places, device=self._positions.device)
        self._mask = self._mask[:, :, index]
        self._ids, self._positions = self._ids[:, index], self._positions[:, index]
        return True


class SpreadContinuation:
    """Prompts being continued: read as one tree, then each with its own keys and values.

    Args:
        model: A model that packs.
        trie: The prompts.
        more: Most tokens that follow each.
    """

    mixes = True

    def __init__(self, model: PreTrainedModel, trie: Trie, more: int) -> None:
        self._model = model
        self._more = more
        rows = trie.paths
        self._ids = torch.empty(0)
        self._positions = torch.tensor([[len(row) - 1] for row in rows], device=model.device)
        width = max(map(len, rows))
        self._mask = torch.zeros(len(rows), 1, 1, width + more, dtype=model.dtype)
        for line, row in zip(self._mask, rows, strict=True):
            line[..., : width - len(row)] = torch.finfo(model.dtype).min
        self._mask = self._mask.to(model.device)
        self._trie = trie
        self._width = width
        self._cache: DynamicCache | None = None

    def logits(self) -> Tensor:
        """Logits (rows, v) of the next token."""
        if self._cache is None:
            return self._read()
        output = self._model(
            input_ids=self._ids,
            attention_mask=self._mask[..., : self._width],
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def push(self, chosen: Sequence[int]) -> None:
        """Append one token to each row."""
        self._ids = torch.tensor(chosen, device=self._positions.device)[:, None]
        self._positions = self._positions + 1
        self._width += 1

    def keep(self, places: Sequence[int]) -> bool:
        """Forget all rows but these."""
        index = torch.tensor(places, device=self._positions.device)
        if self._cache is not None:
            self._cache.batch_select_indices(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        self._ids = self._ids[index]
        return True

    def _read(self) -> Tensor:
        read = DynamicCache()
        logits = _read(self._model, self._trie, read)
        # Left of a shorter row lies another's token, which the mask hides.
        padded = [[0] * (self._width - len(path)) + path for path in self._trie.paths]
        self._cache = spread(read, torch.tensor(padded, device=logits.device), self._more)
        return logits


def _read(model: PreTrainedModel, trie: Trie, cache: DynamicCache) -> Tensor:
    """Logits (rows, v) behind each row of a tree."""
    lasts = [path[-1] for path in trie.paths]
    needed = sorted(set(lasts))
    logits = _run(model, trie, needed, cache)
    at = {node: i for i, node in enumerate(needed)}
    return logits[torch.tensor([at[node] for node in lasts], device=logits.device)]


def _run(
    model: PreTrainedModel, trie: Trie, needed: Sequence[int], cache: DynamicCache | None
) -> Tensor:
    """Logits (len(needed), v) of some nodes, given in order.

    Args:
        model: The model.
        trie: What it reads; more than `NODES` tokens in slices.
        needed: Nodes.
        cache: Where keys and values go; needed where there are several slices.
    """
    device = model.device
    ids = torch.tensor(trie.ids, device=device)
    positions = torch.tensor(trie.depths, device=device)
    hidden = trie.hidden()
    cache = DynamicCache() if cache is None and len(trie) > NODES else cache
    found = []
    for start in range(0, len(trie), NODES):
        end = min(start + NODES, len(trie))
        mask = blind(hidden[start:end, :end], model.dtype)
        here = torch.tensor([n - start for n in needed if start <= n < end], dtype=torch.long)
        output = model(
            input_ids=ids[None, start:end],
            attention_mask=mask.to(device),
            position_ids=positions[None, start:end],
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=here.to(device),
        )
        found.append(output.logits[0])
    return torch.cat(found) if len(found) > 1 else found[0]
