"""A BPE tokenizer of SentencePiece's kind, as Llama's: `▁` for spaces, byte fallback, BOS added."""

from __future__ import annotations

import json

from tokenizers import AddedToken, Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.tokenizing.metaspace import BYTES, byte_fallback_decoder, learn_bpe, words

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


def build(vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer; needs no world, since names are not part of its text."""
    specials = [UNKNOWN, BEGIN, END]
    learner = learn_bpe(vocab_size - len(BYTES), specials)
    trained = json.loads(learner.to_str())["model"]
    pieces = sorted(trained["vocab"], key=trained["vocab"].__getitem__)
    ordered = [*specials, *BYTES, *pieces[len(specials) :]]
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
    core.pre_tokenizer = words()
    core.decoder = byte_fallback_decoder()
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
