"""Decoder-only models: prompt and answer are one text.

Rows are packed without padding where the model allows it (`packed`), else padded on the left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from patchhub.composer.slots.passes import prompts, select
from patchhub.composer.slots.plane import state_of
from patchhub.editing.wording.tokens import context_length, joined, pad, positions
from patchhub.scoring import packed
from patchhub.scoring.batching import (
    Pair,
    Row,
    by_length,
    check_length,
    limited,
    start_token,
    tokenise,
)
from patchhub.scoring.packable import accepted, longest


class DecoderOnly:
    """See `asking.Asking`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def prompts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
        """Prompts without an end token, so that they can be continued."""
        return tokenise(tokenizer, texts)

    def check_room(self, rows: Sequence[Row], texts: Sequence[str], more: int) -> None:
        """Prompt and answer share the context."""
        check_length(context_length(self._model), [len(row.ids) for row in rows], texts, more)

    def pairs(
        self, tokenizer: PreTrainedTokenizerBase, asked: Sequence[tuple[str, str]]
    ) -> list[Pair]:
        """One tokenisation of both; a token that reaches over the prompt's end is the answer's.

        So no answer is without tokens and none is shifted; where the first token of all is the
        answer's, the start (or end-of-text) token goes before it.
        """
        texts = [joined(prompt, answer) for prompt, answer in asked]
        rows = tokenise(tokenizer, texts)
        pairs = [
            _cut(tokenizer, row, len(prompt)) for row, (prompt, _) in zip(rows, asked, strict=True)
        ]
        lengths = [len(pair.given) + len(pair.wanted) for pair in pairs]
        check_length(context_length(self._model), lengths, texts)
        return pairs

    def texts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Pair]:
        """Everything after the first token is predicted."""
        limit = context_length(self._model)
        rows = [row.ids[:limit] for row in tokenise(tokenizer, texts)]
        return [Pair(ids[:1], ids[1:]) for ids in rows]

    def batches(
        self, rows: Sequence[Sequence[int]], size: int, more: int = 0
    ) -> Iterator[list[int]]:
        """Rows that begin alike together where that saves work, else rows of like length."""
        if not self._packs(rows, more):
            return by_length([len(row) for row in rows], size, more)
        order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))
        return limited(order, [len(row) for row in rows], size, more)

    def predict(self, pairs: Sequence[Pair]) -> Iterator[Tensor]:
        """Logits of the wanted columns only, where the model can leave out the others."""
        rows = [(*pair.given, *pair.wanted) for pair in pairs]
        counts = [len(pair.wanted) for pair in pairs]
        if not self._packs(rows):
            yield from self._padded(rows, counts)
            return
        for row, count, logits in zip(
            rows, counts, packed.predict(self._model, pairs), strict=True
        ):
            # A row whose numbers broke breaks all that were read with it.
            yield from self._padded([row], [count]) if logits.isnan().any() else [logits]

    def begin(
        self, rows: Sequence[Sequence[int]], more: int
    ) -> packed.SpreadContinuation | packed.TreeContinuation | _Continuation:
        """Prompts as a tree, or padded on the left, so that all go on in the last column."""
        if self._packs(rows, more):
            return packed.begin(self._model, rows, more)
        return _Continuation(self._model, rows)

    def apart(self, rows: Sequence[Sequence[int]]) -> _Continuation:
        """Prompts are padded on the left and share nothing."""
        return _Continuation(self._model, rows)

    def _packs(self, rows: Sequence[Sequence[int]], more: int = 0) -> bool:
        return max(map(len, rows), default=0) + more <= longest(self._model)

    def _padded(self, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> Iterator[Tensor]:
        padded = pad(rows, filler=0, device=self._model.device, left=True)
        asked = [len(row) - count for row, count in zip(rows, counts, strict=True)]
        with prompts(state_of(self._model), asked):
            output = _forward(
                self._model,
                1 + max(counts),
                input_ids=padded.ids,
                attention_mask=padded.mask,
                position_ids=positions(padded.mask),
                use_cache=False,
            )
        for row, count in zip(output.logits, counts, strict=True):
            yield row[-1 - count : -1]


class _Continuation:
    """Prompts being continued, with a key-value cache and explicit positions."""

    mixes = False

    def __init__(self, model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> None:
        self._model = model
        padded = pad(rows, filler=0, device=model.device, left=True)
        self._ids, self._mask = padded.ids, padded.mask
        self._cache: Cache | None = None

    def logits(self) -> Tensor:
        output = _forward(
            self._model,
            1,
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=positions(self._mask)[:, -self._ids.shape[1] :],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits

    def push(self, chosen: Sequence[int]) -> None:
        self._ids = torch.tensor(chosen, device=self._ids.device)[:, None]
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(chosen), 1)], 1)

    def keep(self, places: Sequence[int]) -> bool:
        if not isinstance(self._cache, DynamicCache):
            return False
        index = torch.tensor(places, device=self._ids.device)
        self._cache.batch_select_indices(index)
        select(self._cache, index)
        self._ids, self._mask = self._ids[index], self._mask[index]
        return True


def _forward(model: PreTrainedModel, keep: int, **inputs: Any) -> Any:
    """Run the model, with logits of the last ``keep`` columns only where it can."""
    known = accepted(model)
    if "position_ids" not in known:
        inputs.pop("position_ids", None)
    if "logits_to_keep" in known:
        inputs["logits_to_keep"] = keep
    return model(**inputs)


def _cut(tokenizer: PreTrainedTokenizerBase, row: Row, length: int) -> Pair:
    inside = (i for i, end in enumerate(row.ends) if end > length)
    start = next(inside, len(row.ids) - 1)
    return Pair(row.ids[:start] or (start_token(tokenizer),), row.ids[start:])
