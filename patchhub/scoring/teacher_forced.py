"""Token accuracy under teacher forcing: the literature's usual measure.

Score of (prompt, answer): over the tokens of the answer, the share that is the most likely token
given the prompt and the true answer tokens before (``rewrite_acc`` of EasyEdit, arXiv:2308.07269).
It knows the answer's length and forgives its own mistakes, so it lies above free generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub.scoring.batching import (
    check_length,
    evaluating,
    forward,
    left_pad,
    positions,
    tokenise,
)


@dataclass(frozen=True, slots=True)
class Forced:
    """Tokens of one answer.

    Attributes:
        wanted: The answer's ids.
        predicted: The most likely id at each of these positions.
    """

    wanted: tuple[int, ...]
    predicted: tuple[int, ...]


def teacher_force(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
) -> list[Forced]:
    """Most likely tokens along the answers of one batch of (prompt, answer).

    Raises:
        InvalidInputError: E143, no character offsets; E150, too long for the model.
    """
    return [
        Forced(wanted, tuple(logits.argmax(-1).tolist()))
        for wanted, logits in answer_logits(model, tokenizer, pairs)
    ]


def answer_logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
) -> list[tuple[tuple[int, ...], Tensor]]:
    """For each (prompt, answer) of one batch the answer's ids and the logits that predict them.

    Prompt and answer are tokenised as one text with one space between; a token that reaches over
    the end of the prompt belongs to the answer, so no answer is without tokens and none is shifted.

    Returns:
        Ids (t,) and logits (t, v) in the model's dtype, on its device.

    Raises:
        InvalidInputError: E143, no character offsets; E150, too long for the model.
    """
    if not pairs:
        return []
    texts = [_joined(prompt, answer) for prompt, answer in pairs]
    rows = tokenise(tokenizer, texts)
    check_length(model, rows, texts, 0)
    starts = [
        max(1, next((i for i, end in enumerate(row.ends) if end > len(prompt)), len(row.ids) - 1))
        for row, (prompt, _) in zip(rows, pairs, strict=True)
    ]
    ids, mask = left_pad([row.ids for row in rows], model.device)
    longest = max(len(row.ids) - start for row, start in zip(rows, starts, strict=True))
    with evaluating(model):
        output = forward(
            model,
            longest + 1,
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=False,
        )
    return [
        (row.ids[start:], logits[start - len(row.ids) - 1 : -1])
        for row, start, logits in zip(rows, starts, output.logits, strict=True)
    ]


def _joined(prompt: str, answer: str) -> str:
    gap = "" if not prompt or prompt[-1].isspace() else " "
    return f"{prompt}{gap}{answer.lstrip()}"
