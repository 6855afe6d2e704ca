"""From texts to rows of tokens, and from rows to batches that waste little on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from patchhub.errors import InvalidInputError

TOKENS = 8192
"""Most tokens of a batch, padding included: what bounds the memory of keys and values."""


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenised text.

    Attributes:
        ids: Token ids, with the tokenizer's own start token when it adds one.
        ends: For each token the index of the character after it; 0 for an added token.
    """

    ids: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Tokens that a model reads and the tokens that are to follow.

    Attributes:
        given: Ids of the prompt, special tokens included.
        wanted: Ids of the answer.
    """

    given: tuple[int, ...]
    wanted: tuple[int, ...]


def tokenise(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, closed: bool = False
) -> list[Row]:
    """Tokenise each text as a whole.

    A text without tokens becomes the start (or end-of-text) token, from which a model begins anew.

    Args:
        tokenizer: A fast tokenizer.
        texts: The texts.
        closed: Whether end tokens that the tokenizer appends stay: an encoder reads them, a decoder
            that is to go on from the text must not.

    Raises:
        InvalidInputError: E143, the tokenizer has no character offsets or no token for empty text.
    """
    if not texts:
        return []
    if not tokenizer.is_fast:
        raise InvalidInputError(
            "E143",
            "the tokenizer gives no character offsets",
            expected="a fast tokenizer (tokenizer.json)",
            found=type(tokenizer).__name__,
        )
    batch = tokenizer(
        list(texts),
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        verbose=False,
    )
    fields = zip(
        batch["input_ids"], batch["offset_mapping"], batch["special_tokens_mask"], strict=True
    )
    return [_row(tokenizer, closed, *parts) for parts in fields]


def start_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token from which a model begins anew.

    Raises:
        InvalidInputError: E143, the tokenizer has none.
    """
    start = tokenizer.bos_token_id
    start = tokenizer.eos_token_id if start is None else start
    if start is None:
        raise InvalidInputError(
            "E143",
            "an empty text has no token to start from",
            expected="a tokenizer with a start or end-of-text token",
        )
    return int(start)


def check_length(
    limit: int | None, lengths: Sequence[int], texts: Sequence[str], more: int = 0
) -> None:
    """Refuse rows that, with ``more`` tokens behind them, exceed a context of ``limit`` tokens.

    Raises:
        InvalidInputError: E150, naming the longest text.
    """
    longest = max(range(len(lengths)), key=lambda i: lengths[i], default=None)
    if limit is None or longest is None or lengths[longest] + more <= limit:
        return
    raise InvalidInputError(
        "E150",
        "a prompt does not fit the model's context",
        expected=f"at most {limit - more} tokens, so that {more} more fit into {limit}",
        found=f"{lengths[longest]} tokens: {texts[longest][:60]!r}…",
    )


def by_length(lengths: Sequence[int], size: int, more: int = 0) -> Iterator[list[int]]:
    """Indices in batches of similar length, the longest first (memory is at its peak at once).

    Args:
        lengths: Tokens of each row.
        size: Most rows in a batch.
        more: Tokens that will follow each row.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return limited(order, lengths, size, more)


def limited(
    order: Sequence[int], lengths: Sequence[int], size: int, more: int = 0
) -> Iterator[list[int]]:
    """Cut an order of rows into batches of at most ``size`` rows and `TOKENS` padded tokens."""
    batch: list[int] = []
    longest = 0
    for i in order:
        longest = max(longest, lengths[i] + more)
        if batch and (len(batch) == size or longest * (len(batch) + 1) > TOKENS):
            yield batch
            batch, longest = [], lengths[i] + more
        batch.append(i)
    if batch:
        yield batch


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout inside; every module's mode is as before afterwards."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        # Not inference mode: what a model computes once and keeps could not be trained on later.
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _row(
    tokenizer: PreTrainedTokenizerBase,
    closed: bool,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    special: Sequence[int],
) -> Row:
    end = len(ids)
    while not closed and end and special[end - 1] and any(not s for s in special[:end]):
        end -= 1
    if not end:
        return Row((start_token(tokenizer),), (0,))
    return Row(tuple(ids[:end]), tuple(stop for _, stop in offsets[:end]))
