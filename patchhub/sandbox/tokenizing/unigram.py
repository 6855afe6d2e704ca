"""A unigram tokenizer of SentencePiece's kind, as T5's: `▁` for spaces, `</s>` ends each text.

The likeliest segmentation under a unigram model (Kudo 2018, arXiv:1804.10959). Candidates are the
merges of a BPE, one of the seeds that the paper names, and their probabilities are fitted by hard
expectation-maximisation: on so small a text the usual trainer keeps too few pieces, and its sums
depend on threads.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from tokenizers import AddedToken, Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.tokenizing.corpus import corpus
from patchhub.sandbox.tokenizing.metaspace import BYTES, byte_fallback_decoder, learn_bpe, words

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
_SPECIALS = (PAD, END, UNKNOWN)
_ROUNDS = 4
_SMOOTHING = 0.1


def build(vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer; needs no world, since names are not part of its text."""
    count = vocab_size - len(BYTES)
    pieces = learn_bpe(count, _SPECIALS).get_vocab().keys() - set(_SPECIALS)
    core = _model(_fitted(sorted(pieces)))
    core.add_special_tokens([AddedToken(token, special=True) for token in _SPECIALS])
    core.decoder = byte_fallback_decoder()
    core.post_processor = processors.TemplateProcessing(
        single=f"$A {END}",
        pair=f"$A {END} $B {END}",
        special_tokens=[(END, _SPECIALS.index(END))],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def _fitted(pieces: Iterable[str]) -> dict[str, float]:
    """Log-probabilities of pieces, from how often they are used in segmenting the corpus."""
    splitter = words()
    seen = Counter(
        word for line in corpus() for word, _ in splitter.pre_tokenize_str(line.replace("\n", " "))
    )
    scores = dict.fromkeys(pieces, -1.0)
    for _ in range(_ROUNDS):
        model = _model(scores).model
        used: Counter[str] = Counter()
        for word, times in seen.items():
            for token in model.tokenize(word):
                used[token.value] += times
        total = sum(used.values()) + _SMOOTHING * len(scores)
        scores = {piece: round(math.log((used[piece] + _SMOOTHING) / total), 4) for piece in scores}
    return scores


def _model(scores: Mapping[str, float]) -> Tokenizer:
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    fixed = [(piece, 0.0) for piece in (*_SPECIALS, *BYTES)]
    core = Tokenizer(
        models.Unigram([*fixed, *ordered], unk_id=_SPECIALS.index(UNKNOWN), byte_fallback=True)
    )
    core.pre_tokenizer = words()
    return core
