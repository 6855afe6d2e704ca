"""Texts that a model writes when it is given nothing to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from patchhub.editing.passes.encoder import read_prompts, start_token
from patchhub.editing.wording.tokens import encode, filler_id

SEED_WORDS = ("The", "Therefore", "Because", "I", "You")
"""What texts begin with where the tokenizer has no start token (EasyEdit's choice)."""


@torch.no_grad()
def sample_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    generator: torch.Generator,
    *,
    count: int,
    length: int,
    top_k: int | None = None,
) -> list[str]:
    """Draw ``count`` texts of ``length`` tokens from the model, start token included.

    Of an encoder-decoder they are what the decoder says when the encoder has read nothing, and when
    it has said all, once more.

    Args:
        model: Any language model.
        tokenizer: Its tokenizer.
        generator: A CPU generator.
        count: Number of texts; one batch.
        length: Total length in tokens.
        top_k: Keep only the most probable tokens before drawing; ``None`` keeps all.

    Raises:
        InvalidInputError: E140, an encoder-decoder does not say how its decoder begins.
    """
    if model.config.is_encoder_decoder:
        return _said(model, tokenizer, generator, [length - 1] * count, top_k)
    ids = _starts(tokenizer, count)
    cache: Any = DynamicCache()
    step = ids
    while ids.shape[1] < length:
        output = model(
            input_ids=step.to(model.device),
            attention_mask=torch.ones_like(ids).to(model.device),
            past_key_values=cache,
            use_cache=True,
        )
        step = _draw(output.logits[:, -1], generator, top_k)
        ids = torch.cat([ids, step], dim=1)
    return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in ids.tolist()]


def _said(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    generator: torch.Generator,
    left: Sequence[int],
    top_k: int | None,
) -> list[str]:
    """Texts of so many tokens each, end tokens included."""
    texts, left = [""] * len(left), list(left)
    while short := [i for i, more in enumerate(left) if more > 0]:
        most = max(left[i] for i in short)
        for i, ids in zip(
            short, _answers(model, tokenizer, generator, len(short), most, top_k), strict=True
        ):
            some = ids[: left[i]]
            left[i] -= len(some)
            more = str(tokenizer.decode(some, skip_special_tokens=True))
            texts[i] = f"{texts[i]} {more}".strip()
    return texts


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    generator: torch.Generator,
    count: int,
    most: int,
    top_k: int | None,
) -> list[list[int]]:
    """What the decoder says after nothing, up to the end token and with it."""
    nothing = encode(tokenizer, "").ids or (filler_id(tokenizer),)
    read, mask = read_prompts(model, [nothing])
    step = torch.full((count, 1), start_token(model))
    end = -1 if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    said, cache = step[:, :0], None
    while said.shape[1] < most and not bool((said == end).any(1).all()):
        output = model(
            encoder_outputs=BaseModelOutput(read.expand(count, -1, -1)),
            attention_mask=mask.expand(count, -1),
            decoder_input_ids=step.to(model.device),
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        step = _draw(output.logits[:, -1], generator, top_k)
        said = torch.cat([said, step], dim=1)
    rows: list[list[int]] = said.tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def _draw(logits: Tensor, generator: torch.Generator, top_k: int | None) -> Tensor:
    """One token per row, ``(b, 1)``."""
    probabilities = logits.float().softmax(-1).cpu()
    if top_k is None:
        return torch.multinomial(probabilities, 1, generator=generator)
    best, ids = probabilities.topk(min(top_k, probabilities.shape[-1]), dim=-1)
    return ids.gather(1, torch.multinomial(best, 1, generator=generator))


def _starts(tokenizer: PreTrainedTokenizerBase, count: int) -> Tensor:
    for name in ("bos_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if isinstance(value, int):
            return torch.full((count, 1), value, dtype=torch.long)
    first = [encode(tokenizer, word).ids[0] for word in SEED_WORDS]
    return torch.tensor([[first[i % len(first)]] for i in range(count)], dtype=torch.long)
