"""From texts to rows of tokens, and from rows to batches that waste little on padding."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenised text.

    Attributes:
        ids: Token ids, with the tokenizer's own start token when it adds one.
        ends: For each token the index of the character after it; 0 for an added start token.
    """

    ids: tuple[int, ...]
    ends: tuple[int, ...]


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
    """Tokenise each text as a whole; end tokens that a tokenizer appends are left out.

    A text without tokens becomes the start (or end-of-text) token, from which a model begins anew.

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
    return [_row(tokenizer, *parts) for parts in fields]


def context_length(model: nn.Module) -> int | None:
    """Most tokens the model can read, or None when it sets no limit."""
    found = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def check_length(model: nn.Module, rows: Sequence[Row], texts: Sequence[str], more: int) -> None:
    """Refuse rows that, with ``more`` tokens behind them, exceed the model's context.

    Raises:
        InvalidInputError: E150, naming the longest text.
    """
    limit = context_length(model)
    longest = max(range(len(rows)), key=lambda i: len(rows[i].ids), default=None)
    if limit is None or longest is None or len(rows[longest].ids) + more <= limit:
        return
    raise InvalidInputError(
        "E150",
        "a prompt does not fit the model's context",
        expected=f"at most {limit - more} tokens, so that {more} more fit into {limit}",
        found=f"{len(rows[longest].ids)} tokens: {texts[longest][:60]!r}…",
    )


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, the longest first (memory is at its peak at once)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def left_pad(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (rows, longest), texts ending in the last column."""
    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    return ids.to(device), mask.to(device)


def positions(mask: Tensor) -> Tensor:
    """Position of each token counted from its text's first token; 0 on padding."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def forward(model: PreTrainedModel, keep: int, **inputs: Any) -> Any:
    """Run the model, with logits of the last ``keep`` columns only (0: all) where it can."""
    # An adapter's wrapper hands everything on, so its own signature says nothing.
    unwrap: Any = getattr(model, "get_base_model", None)
    inner = model if unwrap is None else unwrap()
    accepted = inspect.signature(inner.forward).parameters
    if "position_ids" not in accepted:
        inputs.pop("position_ids", None)
    if keep and "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = keep
    return model(**inputs)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout inside; every module's mode is as before afterwards."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def _row(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    special: Sequence[int],
) -> Row:
    end = len(ids)
    while end and special[end - 1] and any(not s for s in special[:end]):
        end -= 1
    if not end:
        start = tokenizer.bos_token_id
        start = tokenizer.eos_token_id if start is None else start
        if start is None:
            raise InvalidInputError(
                "E143",
                "an empty text has no token to start from",
                expected="a tokenizer with a start or end-of-text token",
            )
        return Row((start,), (0,))
    return Row(tuple(ids[:end]), tuple(stop for _, stop in offsets[:end]))
