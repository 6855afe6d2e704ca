"""What SentencePiece's kinds of tokenizers share: `▁` for spaces, bytes for unknown characters."""

from __future__ import annotations

import string
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from patchhub.sandbox.tokenizing.corpus import corpus

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def words() -> pre_tokenizers.PreTokenizer:
    """Words with the space before them; punctuation apart, as SentencePiece splits by script."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation("isolated")]
    )


def learn_bpe(size: int, specials: Sequence[str]) -> Tokenizer:
    """Learn at most `size` pieces from the corpus, special tokens first."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = words()
    learner.train_from_iterator(
        # A line break is no part of words and comes in bytes, as in Llama's vocabulary.
        (line.replace("\n", " ") for line in corpus()),
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(specials),
            initial_alphabet=sorted(string.ascii_letters + string.digits + string.punctuation),
            show_progress=False,
        ),
    )
    return learner


def byte_fallback_decoder() -> decoders.Decoder:
    """From pieces and bytes to text, without the space that opens it."""
    return decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
