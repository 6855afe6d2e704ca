"""Other tasks: of several texts behind one prompt, does the model find the right one likeliest?

The survey of model editing asks PIQA so, by the lower loss (Yao et al. 2023, arXiv:2305.13172,
"other task"): a model that an edit damaged forgets what nobody asked it to. The reported choice is
by loss *per token*, the mean that libraries give as a text's loss and the likelihood protocol
compares too; the total, which favours short texts, stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub.scoring.asking import asking
from patchhub.scoring.batching import Pair, by_length, evaluating
from patchhub.scoring.tasks import ChoiceItem


@dataclass(frozen=True, slots=True)
class Choice:
    """What a model makes of an item.

    Attributes:
        losses: Of each choice the summed negative log-likelihood (nats) of its tokens behind the
            prompt.
        tokens: Their numbers.
        answer: Place of the right choice.
    """

    losses: tuple[float, ...]
    tokens: tuple[int, ...]
    answer: int

    @property
    def per_token(self) -> int | None:
        """The choice of lowest loss per token; None if there is not one lowest (NaN, a tie)."""
        return _lowest([loss / n for loss, n in zip(self.losses, self.tokens, strict=True)])

    @property
    def total(self) -> int | None:
        """The choice of lowest loss: the most probable text."""
        return _lowest(self.losses)

    @property
    def right(self) -> bool:
        """Whether the reported choice, that by loss per token, is the right one."""
        return self.per_token == self.answer


def choose(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[ChoiceItem],
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[Choice]:
    """All choices of an item in one forward pass, one space behind the prompt.

    Args:
        model: A language model.
        tokenizer: Its fast tokenizer.
        items: What to ask.
        batch_size: Items per forward pass.
        progress: Told items done and in all.

    Raises:
        InvalidInputError: E143, no character offsets; E150, too long for the model.
    """
    asked = asking(model)
    flat = asked.pairs(tokenizer, [(item.prompt, text) for item in items for text in item.choices])
    rest = iter(flat)
    pairs = [[next(rest) for _ in item.choices] for item in items]
    found: dict[int, Choice] = {}
    with evaluating(model):
        for batch in by_length([max(map(_length, rows)) for rows in pairs], batch_size):
            logits = iter(asked.predict([pair for i in batch for pair in pairs[i]]))
            for i in batch:
                losses = tuple(_loss(next(logits), pair.wanted) for pair in pairs[i])
                counts = tuple(len(pair.wanted) for pair in pairs[i])
                found[i] = Choice(losses, counts, items[i].answer)
            if progress is not None:
                progress(len(found), len(items))
    return [found[i] for i in range(len(items))]


def _length(pair: Pair) -> int:
    return len(pair.given) + len(pair.wanted)


def _loss(logits: Tensor, wanted: Sequence[int]) -> float:
    """Summed negative log-likelihood of ids (t,) under logits (t, v)."""
    places = torch.tensor(wanted, device=logits.device)[:, None]
    return -float(logits.float().log_softmax(-1).gather(1, places).double().sum())


def _lowest(losses: Sequence[float]) -> int | None:
    if any(math.isnan(loss) for loss in losses):
        return None
    best = min(losses)
    return losses.index(best) if losses.count(best) == 1 else None
