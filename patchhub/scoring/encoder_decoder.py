"""Encoder-decoder models: the encoder reads the prompt, the decoder says the answer.

The decoder's input is the answer shifted right by one behind the start token (Raffel et al. 2020,
arXiv:1910.10683). Both sides are padded on the right: positions count from the first token, and no
position of the decoder sees what follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import EncoderDecoderCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from patchhub.composer.slots.passes import of_rows, select
from patchhub.composer.slots.plane import state_of
from patchhub.editing.passes.encoder import read_prompts, start_token
from patchhub.editing.wording.tokens import context_length, pad
from patchhub.scoring.batching import Pair, Row, by_length, check_length, tokenise


class EncoderDecoder:
    """See `asking.Asking`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._start = start_token(model)

    def prompts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
        """Prompts with the end token that the tokenizer appends."""
        return tokenise(tokenizer, texts, closed=True)

    def check_room(self, rows: Sequence[Row], texts: Sequence[str], more: int) -> None:
        """The encoder's context holds the prompt alone."""
        check_length(context_length(self._model), [len(row.ids) for row in rows], texts)

    def pairs(
        self, tokenizer: PreTrainedTokenizerBase, asked: Sequence[tuple[str, str]]
    ) -> list[Pair]:
        """Two tokenisations; the answer's end token is not wanted, as of a decoder-only model."""
        prompts = [prompt for prompt, _ in asked]
        answers = [answer.strip() for _, answer in asked]
        given, wanted = self.prompts(tokenizer, prompts), tokenise(tokenizer, answers)
        self.check_room(given, prompts, 0)
        self.check_room(wanted, answers, 0)
        return [Pair(one.ids, other.ids) for one, other in zip(given, wanted, strict=True)]

    def texts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Pair]:
        """The encoder reads the first half of the tokens, the second half is predicted.

        The objective of a prefix language model (Raffel et al. 2020, section 3.2.1).
        """
        limit = context_length(self._model)
        pairs = []
        for row, closed in zip(
            tokenise(tokenizer, texts), tokenise(tokenizer, texts, closed=True), strict=True
        ):
            ids, closing = row.ids[:limit], closed.ids[len(row.ids) :]
            middle = (len(ids) + 1) // 2
            pairs.append(Pair((*ids[:middle], *closing), ids[middle:]))
        return pairs

    def batches(
        self, rows: Sequence[Sequence[int]], size: int, more: int = 0
    ) -> Iterator[list[int]]:
        """Prompts of like length; what two begin with the encoder reads differently in each."""
        return by_length([len(row) for row in rows], size, more)

    def predict(self, pairs: Sequence[Pair]) -> Iterator[Tensor]:
        """Logits of the decoder, which is fed the true answers; a prompt is encoded once."""
        places = {given: i for i, given in enumerate(dict.fromkeys(p.given for p in pairs))}
        read, mask = read_prompts(self._model, list(places))
        index = torch.tensor([places[pair.given] for pair in pairs], device=mask.device)
        state = state_of(self._model)
        if state is not None:
            state.encoded = of_rows(state.encoded, index)
        before = [(self._start, *pair.wanted[:-1]) for pair in pairs]
        shifted = pad(before, filler=self._start, device=mask.device)
        output = self._model(
            encoder_outputs=BaseModelOutput(read[index]),
            attention_mask=mask[index],
            decoder_input_ids=shifted.ids,
            decoder_attention_mask=shifted.mask,
            use_cache=False,
        )
        for row, pair in zip(output.logits, pairs, strict=True):
            yield row[: len(pair.wanted)]

    def begin(self, rows: Sequence[Sequence[int]], more: int) -> _Answers:
        """The encoder runs once, before the first token."""
        return _Answers(self._model, *read_prompts(self._model, rows), self._start)

    def apart(self, rows: Sequence[Sequence[int]]) -> _Answers:
        """The encoder reads all rows at once."""
        return _Answers(self._model, *read_prompts(self._model, rows, len(rows)), self._start)


class _Answers:
    """Answers being said, with the decoder's cache and the encoder's output."""

    mixes = False

    def __init__(self, model: PreTrainedModel, read: Tensor, mask: Tensor, start: int) -> None:
        self._model = model
        self._mask = mask
        self._said = torch.full((len(mask), 1), start, device=mask.device)
        self._more: dict[str, Any] = {"encoder_outputs": BaseModelOutput(read)}

    def logits(self) -> Tensor:
        output = self._model(
            attention_mask=self._mask, decoder_input_ids=self._said, use_cache=True, **self._more
        )
        self._more = {
            "encoder_outputs": self._more["encoder_outputs"],
            "past_key_values": output.past_key_values,
        }
        logits: Tensor = output.logits[:, -1]
        return logits

    def push(self, chosen: Sequence[int]) -> None:
        self._said = torch.tensor(chosen, device=self._mask.device)[:, None]

    def keep(self, places: Sequence[int]) -> bool:
        cache = self._more["past_key_values"]
        if not isinstance(cache, EncoderDecoderCache):
            return False
        index = torch.tensor(places, device=self._mask.device)
        cache.batch_select_indices(index)
        select(cache, index)
        read = self._more["encoder_outputs"].last_hidden_state[index]
        self._more["encoder_outputs"] = BaseModelOutput(read)
        self._said, self._mask = self._said[index], self._mask[index]
        return True
