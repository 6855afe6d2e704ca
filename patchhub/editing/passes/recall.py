"""What a model says after a prompt, and passes that begin where its answer does.

Everything before the last token of the prompt is read once; of an encoder-decoder, all that the
encoder reads. What is left of a pass is one position (or, in a decoder behind an encoder, those of
the answer), and any number of rows can go on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from patchhub.editing.passes.encoder import read_prompts, start_token
from patchhub.editing.passes.prefixes import Past, cache_of, read
from patchhub.editing.wording.tokens import Encoded, check_room, encode, filler_id, target_row
from patchhub.loading import LoadedBase

Tokens: TypeAlias = Literal["natural", "reference"]
"""``natural``: answers as they follow the prompt, with its space; what a decoder behind an encoder
says is shifted by one. ``reference``: as EasyEdit has it, answers tokenised on their own, with
whatever special tokens that adds and no space; without the shift."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Token ids of a prompt, of its old answer and of the new one."""

    prompt: tuple[int, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a model is to say ``labels``, with what does not change from pass to pass.

    Attributes:
        inputs: Of the model, for one row.
        past: Keys and values of one row per block: of the tokens before, or of the encoder's.
        slots: Position of each label among those that are run.
        labels: Token ids.
        positions: How many are run.
        encoded: Whether ``past`` is the encoder's.
    """

    inputs: Mapping[str, Any]
    past: Past
    slots: tuple[int, ...]
    labels: tuple[int, ...]
    positions: int
    encoded: bool

    def logits(self, base: LoadedBase, rows: Sequence[int]) -> Tensor:
        """One pass, ``(n, positions, v)``.

        Args:
            base: The model.
            rows: How many rows there are in each block's attention.
        """
        past = [
            (keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1))
            for (keys, values), count in zip(self.past, rows, strict=False)
        ]
        cache: Any = cache_of(past)
        if self.encoded:
            cache = EncoderDecoderCache(DynamicCache(), cache)
        output = base.model(**self.inputs, past_key_values=cache, use_cache=True)
        found: Tensor = output.logits
        return found


def answers(base: LoadedBase, prompt: str, old: str, new: str, tokens: Tokens) -> Answers:
    """Tokenise a prompt and two answers to it.

    Raises:
        InvalidInputError: E143, the old answer's first token reaches into all of the prompt; E150,
            longer than the model's context.
    """
    tokenizer = base.tokenizer
    if tokens == "reference":
        ids = [encode(tokenizer, text).ids for text in (prompt, old, new)]
    elif base.model.config.is_encoder_decoder:
        ids = [
            encode(tokenizer, prompt).ids,
            *(_spelled(encode(tokenizer, text.strip())) for text in (old, new)),
        ]
    else:
        row = target_row(tokenizer, prompt, old)
        ids = [row.ids[: row.slots[0] + 1], row.labels, target_row(tokenizer, prompt, new).labels]
    check_room(base.model, len(ids[0]) + max(map(len, ids[1:])))
    return Answers(*ids)


def places(base: LoadedBase, asked: Answers, tokens: Tokens, *, continued: bool) -> list[Place]:
    """Where the model is to say the old answer.

    Args:
        base: The model.
        asked: From `answers`.
        tokens: As there.
        continued: Each token of the answer at a place of its own, after the prompt and as many
            tokens as the model itself goes on with; otherwise all of them right after the prompt.
            An encoder-decoder's have their own positions in one pass.
    """
    if base.model.config.is_encoder_decoder:
        said = asked.old
        decoder = said if tokens == "reference" else (start_token(base.model), *said[:-1])
        return [_behind_encoder(base, asked.prompt, decoder, said)]
    if not continued:
        return [_after(base, asked.prompt, asked.old)]
    own = greedy(base, asked, len(asked.old) - 1, "natural")
    return [_after(base, (*asked.prompt, *own[:i]), (label,)) for i, label in enumerate(asked.old)]


@torch.no_grad()
def greedy(base: LoadedBase, asked: Answers, count: int, tokens: Tokens) -> tuple[int, ...]:
    """The tokens that the model itself finds likeliest after the prompt, one after the other.

    The ``reference`` asks an encoder-decoder at the positions of the new answer, without a shift.
    """
    model, device = base.model, base.model.device
    if not model.config.is_encoder_decoder:
        return _continuation(base, _after(base, asked.prompt, ()), len(asked.prompt), count)
    if tokens == "reference":
        logits = _behind_encoder(base, asked.prompt, asked.new[:count], ()).logits(base, ())
        return tuple(logits[0].argmax(-1).tolist())
    read_, mask = read_prompts(model, [asked.prompt])
    said: list[int] = [start_token(model)]
    for _ in range(count):
        output = model(
            encoder_outputs=BaseModelOutput(read_),
            attention_mask=mask,
            decoder_input_ids=torch.tensor([said], device=device),
        )
        said.append(int(output.logits[0, -1].argmax()))
    return tuple(said[1:])


def _continuation(base: LoadedBase, place: Place, length: int, count: int) -> tuple[int, ...]:
    cache, inputs = cache_of(place.past), dict(place.inputs)
    said: list[int] = []
    while len(said) < count:
        output = base.model(**inputs, past_key_values=cache, use_cache=True)
        said.append(int(output.logits[0, -1].argmax()))
        inputs = _tail(base, said[-1:], length + len(said))
    return tuple(said)


def _tail(base: LoadedBase, ids: Sequence[int], length: int) -> dict[str, Any]:
    """Inputs of a pass over the last tokens of a text of some length."""
    device = base.model.device
    return {
        "input_ids": torch.tensor([list(ids)], device=device),
        "attention_mask": torch.ones(1, length, dtype=torch.long, device=device),
        "position_ids": torch.arange(length - len(ids), length, device=device)[None],
    }


def _after(base: LoadedBase, ids: tuple[int, ...], labels: tuple[int, ...]) -> Place:
    past = read(base.model, [ids[:-1]], filler_id(base.tokenizer))
    inputs = _tail(base, ids[-1:], len(ids))
    return Place(inputs, past, (0,) * len(labels), labels, 1, encoded=False)


@torch.no_grad()
def _behind_encoder(
    base: LoadedBase, prompt: tuple[int, ...], decoder: Iterable[int], labels: tuple[int, ...]
) -> Place:
    read_, mask = read_prompts(base.model, [prompt])
    ids = torch.tensor([list(decoder)], device=mask.device)
    inputs = {
        "encoder_outputs": BaseModelOutput(read_),
        "attention_mask": mask,
        "decoder_input_ids": ids,
    }
    cache = base.model(**inputs, use_cache=True).past_key_values.cross_attention_cache
    past = [(layer.keys, layer.values) for layer in cache.layers]
    return Place(inputs, past, tuple(range(len(labels))), labels, ids.shape[1], encoded=True)


def _spelled(text: Encoded) -> tuple[int, ...]:
    """The tokens that stand for characters."""
    return tuple(i for i, (start, end) in zip(text.ids, text.spans, strict=True) if end > start)
