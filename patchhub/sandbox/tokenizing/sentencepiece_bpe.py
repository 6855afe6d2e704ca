"""A BPE tokenizer of SentencePiece's kind, as Llama's: `▁` for spaces, byte fallback, BOS added."""

from __future__ import annotations

import json
import string

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.tokenizing.corpus import corpus

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def build(vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer; needs no world, since names are not part of its text."""
    words = _words()
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = words
    specials = [UNKNOWN, BEGIN, END]
    learned = vocab_size - len(_BYTES)
    learner.train_from_iterator(
        # A line break is no part of words and comes in bytes, as in Llama's vocabulary.
        (line.replace("\n", " ") for line in corpus()),
        trainers.BpeTrainer(
            vocab_size=learned,
            special_tokens=specials,
            initial_alphabet=sorted(string.ascii_letters + string.digits + string.punctuation),
            show_progress=False,
        ),
    )
    trained = json.loads(learner.to_str())["model"]
    pieces = sorted(trained["vocab"], key=trained["vocab"].__getitem__)
    ordered = [*specials, *_BYTES, *pieces[len(specials) :]]
    core = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(ordered)},
            merges=[tuple(pair) for pair in trained["merges"]],
            unk_token=UNKNOWN,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    core.add_special_tokens([AddedToken(token, special=True) for token in specials])
    core.pre_tokenizer = words
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A",
        pair=f"{BEGIN} $A {BEGIN} $B",
        special_tokens=[(BEGIN, ordered.index(BEGIN))],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=END,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _words() -> pre_tokenizers.PreTokenizer:
    """Words with the space before them; punctuation apart, as SentencePiece splits by script."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation("isolated")]
    )
