"""A language model whose next-token probabilities a test writes down, over whole words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import cast

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.engine.scoring.scripted import ScriptedLM

Table = Mapping[str, Mapping[str, str]]
"""What follows a text, as fractions: ``{"Mira lives in": {" Oslo": "1/2"}}``."""


def word_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """Each word with the space before it is one token; the first one ends texts."""
    ids = {word: i for i, word in enumerate(vocabulary)}
    backend = Tokenizer(models.WordLevel(ids, unk_token=vocabulary[0]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(" ?[^ ]+"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        eos_token=vocabulary[0],
        unk_token=vocabulary[0],
        clean_up_tokenization_spaces=False,
    )


class TableLM(ScriptedLM):
    """What the table leaves over goes evenly to all other words."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, table: Table) -> None:
        super().__init__(tokenizer, {})
        words = tokenizer.get_vocab()
        self.rows = {}
        for prefix, known in table.items():
            rest = (1 - sum(map(Fraction, known.values()))) / max(1, len(words) - len(known))
            row = torch.full((len(words),), float(rest))
            for word, share in known.items():
                row[words[word]] = float(Fraction(share))
            ids = tuple(tokenizer(prefix)["input_ids"])
            if self.end in ids:
                raise ValueError(f"{prefix!r} holds a word that the vocabulary lacks")
            self.rows[ids] = row.log()

    def after(self, prefix: tuple[int, ...]) -> Tensor:
        return self.rows.get(prefix, torch.zeros(self.config.vocab_size))


def table_model(
    vocabulary: Sequence[str], table: Table
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model and its tokenizer."""
    tokenizer = word_tokenizer(vocabulary)
    return cast(PreTrainedModel, TableLM(tokenizer, table)), tokenizer
