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

from patchhub.scoring.asking import asking
from patchhub.scoring.batching import evaluating


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
    if not pairs:
        return []
    asked = asking(model)
    rows = asked.pairs(tokenizer, pairs)
    with evaluating(model):
        predicted = asked.predict(rows)
        return [forced(row.wanted, logits) for row, logits in zip(rows, predicted, strict=True)]


def forced(wanted: Sequence[int], logits: Tensor) -> Forced:
    """Most likely tokens under logits (t, v) where ``wanted`` (t,) is true."""
    return Forced(tuple(wanted), tuple(logits.argmax(-1).tolist()))
