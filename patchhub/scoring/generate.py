"""Decoding in batches, with early stop.

Greedy tokens equal those of ``model.generate(do_sample=False)`` row by row, whatever the rows
beside it (in fp32; in half precision near ties may fall either way in any implementation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub.scoring.asking import Stream, asking
from patchhub.scoring.batching import evaluating

Choose = Callable[[Tensor], Tensor]
"""From logits (rows, v) to the next token ids (rows,)."""

Stop = Callable[[Sequence[int]], bool]
"""Whether a row's generated tokens end by themselves."""

_DONE_SHARE = 0.25  # finished rows are dropped once they are this part of a batch


def end_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None
) -> frozenset[int]:
    """Ids that end a text, by the model's generation settings and the tokenizer."""
    config = getattr(model, "generation_config", None)
    found = getattr(config, "eos_token_id", None)
    ids = set(found) if isinstance(found, list | tuple) else {found}
    ids.add(None if tokenizer is None else tokenizer.eos_token_id)
    return frozenset(i for i in ids if isinstance(i, int))


def decode(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    ends: frozenset[int] = frozenset(),
    stop: Stop | None = None,
    choose: Choose | None = None,
    apart: bool = False,
) -> list[list[int]]:
    """Continue (or, by an encoder-decoder model, answer) each row of one batch.

    Args:
        model: A language model.
        rows: Token ids as `asking.Asking.prompts` gives them, at least one per row.
        max_new_tokens: Most tokens to add to a row.
        ends: Tokens that end a row; the end token itself is part of the result.
        stop: Further reason to end a row, asked after every token.
        choose: How the next token is picked; the most likely one without.
        apart: Give each row a row of the model, for who changes what a block makes of it.

    Returns:
        The new tokens of each row.
    """
    new: list[list[int]] = [[] for _ in rows]
    if rows and max_new_tokens > 0:
        with evaluating(model):
            asked = asking(model)
            stream = asked.apart(rows) if apart else asked.begin(rows, max_new_tokens)
            batch = _Batch(stream, asked.apart, rows, new)
            batch.run(max_new_tokens, ends, stop, choose or _most_likely)
    return new


def sampler(generator: torch.Generator, temperature: float = 1.0) -> Choose:
    """Draw the next token from the model's own distribution, by a passed generator only."""

    def choose(logits: Tensor) -> Tensor:
        weights = (logits.double() / temperature).softmax(-1).to(generator.device)
        return torch.multinomial(weights, 1, generator=generator)[:, 0].to(logits.device)

    return choose


class _Batch:
    """The rows still being continued, and where their tokens go."""

    def __init__(
        self,
        stream: Stream,
        apart: Callable[[Sequence[Sequence[int]]], Stream],
        rows: Sequence[Sequence[int]],
        new: list[list[int]],
    ) -> None:
        self.stream = stream
        self.apart = apart
        self.rows = rows
        self.new = new
        self.live = list(range(len(new)))

    def run(self, limit: int, ends: frozenset[int], stop: Stop | None, choose: Choose) -> None:
        open_rows = set(self.live)
        for step in range(limit):
            chosen = choose(self._logits()).tolist()
            for place, row in enumerate(self.live):
                if row not in open_rows:
                    continue
                self.new[row].append(chosen[place])
                if chosen[place] in ends or (stop is not None and stop(self.new[row])):
                    open_rows.remove(row)
            if not open_rows or step == limit - 1:
                return
            self.stream.push(chosen)
            self._drop(open_rows)

    def _logits(self) -> Tensor:
        logits = self.stream.logits()
        if self.stream.mixes and logits.isnan().any():
            # One broken row must not silence its neighbours: on from here, each by itself.
            self.stream = self.apart([[*self.rows[i], *self.new[i]] for i in self.live])
            logits = self.stream.logits()
        return logits

    def _drop(self, open_rows: set[int]) -> None:
        """Forget finished rows, when that saves more than copying the cache costs."""
        if len(open_rows) > (1 - _DONE_SHARE) * len(self.live):
            return
        keep = [place for place, row in enumerate(self.live) if row in open_rows]
        if self.stream.keep(keep):
            self.live = [self.live[place] for place in keep]


def _most_likely(logits: Tensor) -> Tensor:
    return logits.argmax(-1)
