"""What a model is given and what it is to say next, alike for all kinds of language models.

A decoder-only model goes on from the prompt. Of an encoder-decoder model the encoder reads the
prompt and the decoder begins the answer. `asking` is the one place that tells them apart, by the
configuration; everything that scores or generates goes through what it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub.scoring.batching import Pair, Row
from patchhub.scoring.decoder import DecoderOnly
from patchhub.scoring.encoder_decoder import EncoderDecoder


class Stream(Protocol):
    """Rows that a model continues token by token.

    Attributes:
        mixes: Whether a row whose numbers break (NaN) breaks the others, too.
    """

    mixes: bool

    def logits(self) -> Tensor:
        """Return logits (rows, v) of the next token; ask once per token."""
        ...

    def push(self, chosen: Sequence[int]) -> None:
        """Append one token to each row."""
        ...

    def keep(self, places: Sequence[int]) -> bool:
        """Forget all rows but these; False where the model's cache does not allow it."""
        ...


class Asking(Protocol):
    """How one model is asked. Whatever runs the model is called inside `evaluating`."""

    def prompts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
        """Tokenise prompts as the model reads them."""
        ...

    def check_room(self, rows: Sequence[Row], texts: Sequence[str], more: int) -> None:
        """Pass if prompts and answers of ``more`` tokens fit the model's context.

        Raises:
            InvalidInputError: E150, naming the longest text.
        """
        ...

    def pairs(
        self, tokenizer: PreTrainedTokenizerBase, asked: Sequence[tuple[str, str]]
    ) -> list[Pair]:
        """Tokenise (prompt, answer), one space between them.

        Raises:
            InvalidInputError: E150, one does not fit the context.
        """
        ...

    def texts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Pair]:
        """Tokenise texts whose own words are to be predicted, cut at the context's length."""
        ...

    def batches(
        self, rows: Sequence[Sequence[int]], size: int, more: int = 0
    ) -> Iterator[list[int]]:
        """Places of rows that are best asked together, at most ``size``, ``more`` tokens each."""
        ...

    def predict(self, pairs: Sequence[Pair]) -> Iterator[Tensor]:
        """Per pair the logits (t, v) of its wanted tokens, the earlier ones true.

        The model runs while one takes what it yields.
        """
        ...

    def begin(self, rows: Sequence[Sequence[int]], more: int) -> Stream:
        """Begin to answer a batch of prompts of at least one token, by at most ``more`` tokens."""
        ...

    def apart(self, rows: Sequence[Sequence[int]]) -> Stream:
        """As `begin`, each prompt in a row of the model: for who reads what a block makes of it."""
        ...


def asking(model: PreTrainedModel) -> Asking:
    """How this model is asked.

    Raises:
        InvalidInputError: E140, an encoder-decoder model does not say how its decoder begins.
    """
    return EncoderDecoder(model) if model.config.is_encoder_decoder else DecoderOnly(model)
