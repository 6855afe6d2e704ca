"""P(answer | prompt) token by token, and what EasyEdit reads from an encoder-decoder model.

Nothing here knows the program: one text is tokenised as a whole, a token that reaches over the
prompt's end is the answer's, and the model is run on every prefix by itself, in float64, with
neither padding nor cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Decoder = Callable[[Sequence[int]], Floats]
"""From all tokens so far to the logits (v,) of the next."""
Seq2Seq = Callable[[Sequence[int], Sequence[int]], Floats]
"""From the encoder's and the decoder's tokens to logits (t, v) at the decoder's."""


def split(tokenizer: Any, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Tokens of the prompt and of the answer behind one space."""
    gap = "" if not prompt or prompt.endswith((" ", "\n")) else " "
    text = prompt + gap + answer.lstrip()
    found = tokenizer(text, return_offsets_mapping=True)
    ids, spans = list(found["input_ids"]), list(found["offset_mapping"])
    while ids and ids[-1] in tokenizer.all_special_ids and spans[-1][1] == 0:
        ids, spans = ids[:-1], spans[:-1]  # an end token that the tokenizer appends
    for i, (_, end) in enumerate(spans):
        if end > len(prompt) and i:
            return ids[:i], ids[i:]
    return ids[:-1], ids[-1:]


def log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def decoder_rows(next_logits: Decoder, given: Sequence[int], wanted: Sequence[int]) -> Floats:
    """Log-probabilities (t, v) before each wanted token."""
    before = [[*given, *wanted[:i]] for i in range(len(wanted))]
    return log_softmax(np.stack([next_logits(ids) for ids in before]))


def mean_log_probability(rows: Floats, wanted: Sequence[int]) -> float:
    return float(np.mean([row[token] for row, token in zip(rows, wanted, strict=True)]))


def shifted(logits: Seq2Seq, read: Sequence[int], said: Sequence[int], start: int) -> list[int]:
    """Likeliest tokens by the standard reading: behind the start token and the true tokens."""
    return [int(logits(read, [start, *said[:i]])[-1].argmax()) for i in range(len(said))]


def unshifted(logits: Seq2Seq, read: Sequence[int], said: Sequence[int]) -> list[int]:
    """Likeliest tokens by EasyEdit's: each position is fed the very token it is to predict."""
    return [int(token) for token in logits(read, said).argmax(-1)]
