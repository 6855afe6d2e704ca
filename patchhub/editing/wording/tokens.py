"""Token positions from character offsets of one tokenisation of the full string.

Nothing here encodes a part of a sentence and hopes that the parts add up: subject positions, target
labels and prompt lengths all come from the offsets of the whole text, so tokenizers that merge
across a boundary are noticed and not guessed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text, its token ids and the character span of each token (empty for special tokens)."""

    text: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    def covering(self, start: int, end: int) -> tuple[int, ...]:
        """Indices of the tokens that share a character with ``text[start:end]``.

        Raises:
            InvalidInputError: E143, no token does.
        """
        hits = tuple(i for i, (a, b) in enumerate(self.spans) if a < min(b, end) and b > start)
        if not hits:
            raise InvalidInputError(
                "E143",
                f"no token covers {self.text[start:end]!r}",
                found=self.text,
                hint="is the text within the characters that the tokenizer knows?",
            )
        return hits


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a batch.

    Attributes:
        ids: Ids read by the stack that reads the subject: a prompt and, where one stack reads all,
            the target without its last token (nothing is predicted from it).
        lookup: Index of the subject's last token, or of the last prompt token without subject.
        slots: Positions whose logits predict the target; empty for rows without target.
        labels: The target's token ids, one per slot.
        said: Ids read by a decoder behind an encoder, which the slots then are positions of; empty
            where there is none.
    """

    ids: tuple[int, ...]
    lookup: int
    slots: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    said: tuple[int, ...] = ()

    @property
    def seen(self) -> tuple[int, ...]:
        """The ids that decide what is at the lookup: an encoder looks ahead, others do not."""
        return self.ids if self.said else self.ids[: self.lookup + 1]


@dataclass(frozen=True, eq=False)
class Padded:
    """Rows as tensors ``(n, t)``; the mask is 0 at padding."""

    ids: Tensor
    mask: Tensor


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> Encoded:
    """Tokenise ``text`` as the model is asked it: with the tokenizer's own special tokens."""
    found = tokenizer(text, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
    spans = tuple((int(a), int(b)) for a, b in found["offset_mapping"])
    return Encoded(text, tuple(int(i) for i in found["input_ids"]), spans)


def joined(prompt: str, answer: str) -> str:
    """Prompt and answer as one text, with one space between them.

    Behind white space, such as the line break at which a chat template leaves off, there is none.
    """
    gap = "" if not prompt or prompt[-1].isspace() else " "
    return f"{prompt}{gap}{answer.lstrip()}"


def target_row(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    target: str,
    subject: tuple[int, int] | None = None,
) -> Row:
    """The row that teaches ``target`` after ``prompt``.

    A token that reaches over the prompt's end is the target's, as in scoring: some tokenizers merge
    across words.

    Args:
        tokenizer: A fast tokenizer.
        prompt: Text before the answer.
        target: The answer, with or without leading space.
        subject: Character span of the subject inside ``prompt``.

    Raises:
        InvalidInputError: E143, nothing is left of the prompt, or its subject ends in that token.
    """
    boundary = len(prompt)
    encoded = encode(tokenizer, joined(prompt, target))
    indices = encoded.covering(boundary, len(encoded.text))
    first = indices[0]
    lookup = encoded.covering(*subject)[-1] if subject else first - 1
    if first == 0 or lookup >= first:
        a, b = encoded.spans[first]
        raise InvalidInputError(
            "E143",
            "one token belongs to the prompt's subject (or all of it) and to the target",
            expected=f"a token boundary after {prompt[-20:]!r}",
            found=encoded.text[a:b],
            hint="word the prompt so that a few words follow the subject",
        )
    return Row(
        ids=encoded.ids[: indices[-1]],
        lookup=lookup,
        slots=tuple(i - 1 for i in indices),
        labels=tuple(encoded.ids[i] for i in indices),
    )


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> tuple[int, ...]:
    """What a decoder behind an encoder says; with the end token if the tokenizer appends one."""
    return encode(tokenizer, answer.strip()).ids


def answered_row(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    target: str | None,
    subject: tuple[int, int],
    start: int,
) -> Row:
    """The row of an encoder-decoder that teaches ``target``, shifted by one, after ``prompt``.

    Args:
        tokenizer: A fast tokenizer.
        prompt: What the encoder reads.
        target: What the decoder is to say; ``None`` for a row without target.
        subject: Character span of the subject inside ``prompt``.
        start: The token that the decoder begins with.

    Raises:
        InvalidInputError: E143, no token covers the subject.
    """
    encoded = encode(tokenizer, prompt)
    labels = () if target is None else answer_ids(tokenizer, target)
    return Row(
        ids=encoded.ids,
        lookup=encoded.covering(*subject)[-1],
        slots=tuple(range(len(labels))),
        labels=labels,
        said=(start, *labels[:-1]),
    )


def subject_row(tokenizer: PreTrainedTokenizerBase, text: str, subject: tuple[int, int]) -> Row:
    """A row without target that ends at the subject's last token (what follows cannot matter)."""
    encoded = encode(tokenizer, text)
    lookup = encoded.covering(*subject)[-1]
    return Row(ids=encoded.ids[: lookup + 1], lookup=lookup)


def pad(
    rows: Sequence[Sequence[int]],
    *,
    filler: int,
    device: torch.device | str = "cpu",
    left: bool = False,
) -> Padded:
    """Stack rows of ids, padded with ``filler`` on the right, or on the left."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = 1
    return Padded(ids.to(device), mask.to(device))


def positions(mask: Tensor) -> Tensor:
    """Position of each token counted from its row's first token; 0 on padding before it."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def text_config(model: nn.Module) -> Any:
    """The configuration of the language model, also where it is part of a larger one."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def context_length(model: nn.Module) -> int | None:
    """Most tokens the model can read, or None when it sets no limit."""
    found = getattr(text_config(model), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def check_room(model: nn.Module, length: int) -> None:
    """Refuse a row of ``length`` tokens if the model cannot read as many (E150)."""
    limit = context_length(model)
    if limit is not None and length > limit:
        raise InvalidInputError(
            "E150",
            "prompt and target are longer than the model's context",
            expected=f"at most {limit} tokens, context templates included",
            found=length,
            field="prompt",
        )


def filler_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id to pad with; masked out everywhere, so any valid one will do."""
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        value = getattr(tokenizer, name, None)
        if isinstance(value, int):
            return value
    return 0
