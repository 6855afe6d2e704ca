"""Is the answer more likely than its rival: the comparison of ROME and CounterFact.

With l(o) the mean of -log P(token | prompt, earlier tokens of o) over the tokens of a candidate o,
a probe is a success if l(rival) > l(answer), and its magnitude is exp(-l(answer)) - exp(-l(rival))
(Meng et al. 2022, arXiv:2202.05262, section 3.4: ES, EM and, with the old answer as the answer and
the new one as its rival, NS, NM). An edit "succeeds" here while the model still prefers a third
answer, and two random likelihoods give 50 %: fifty is failure, not half success.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub.scoring.asking import asking
from patchhub.scoring.batching import evaluating
from patchhub.scoring.teacher_forced import Forced, forced

Compared = tuple[str, str, str]
"""Prompt, answer, rival."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Log-probabilities per token (nats) of two candidates behind one prompt.

    Attributes:
        answer: Of the answer, the mean over its tokens.
        rival: Of its rival.
    """

    answer: float
    rival: float

    @property
    def success(self) -> bool:
        """Whether the answer is strictly more likely; NaN is no success."""
        return self.answer > self.rival

    @property
    def share(self) -> float:
        """Probability per token of the answer: the geometric mean over its tokens."""
        return math.exp(self.answer)

    @property
    def rival_share(self) -> float:
        """The same of the rival."""
        return math.exp(self.rival)

    @property
    def magnitude(self) -> float:
        """Difference of the probabilities per token, in [-1, 1]."""
        return self.share - self.rival_share


def prefer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, compared: Sequence[Compared]
) -> list[tuple[Preference, Forced]]:
    """Both candidates of every question; what they share with each other is computed once.

    The same pass tells the most likely tokens along the answer, as teacher forcing wants them.

    Candidates are tokenised behind their prompt as `asking.Asking.pairs` says.

    Raises:
        InvalidInputError: E143, no character offsets; E150, too long for the model.
    """
    pairs = [(prompt, text) for prompt, *both in compared for text in both]
    if not pairs:
        return []
    asked = asking(model)
    rows = asked.pairs(tokenizer, pairs)
    means: list[float] = []
    along: list[Forced] = []
    with evaluating(model):
        for place, (row, logits) in enumerate(zip(rows, asked.predict(rows), strict=True)):
            means.append(_mean(row.wanted, logits))
            if place % 2 == 0:
                along.append(forced(row.wanted, logits))
    preferences = [Preference(*both) for both in zip(means[::2], means[1::2], strict=True)]
    return list(zip(preferences, along, strict=True))


def _mean(wanted: Sequence[int], logits: Tensor) -> float:
    """Mean log-probability of the wanted ids (t,) under logits (t, v)."""
    log_probs = logits.float().log_softmax(-1)
    places = torch.tensor(wanted, device=logits.device)[:, None]
    return float(log_probs.gather(1, places).double().mean())
