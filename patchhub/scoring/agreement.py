"""Is an answer still the unedited model's? Torch-free.

Agreement asks nothing about truth: a model that was wrong and stays wrong agrees. It is EasyEdit's
locality (arXiv:2308.07269), 100 % by construction for an edit that changes nothing, and must not
share a column with accuracy against gold answers, which is what ROME and MEMIT call specificity.
"""

from __future__ import annotations

import math

from patchhub.scoring import answers
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Answer


def agreement(before: Answer, after: Answer) -> float:
    """How far two answers to one question, by one protocol, are the same, in [0, 1].

    Generation: 1.0 if the texts are equal once normalised. Teacher forcing: the share of answer
    positions at which both models find the same token most likely. Likelihood: 1.0 if both prefer
    the same candidate; a model whose likelihoods are NaN prefers none.
    """
    if before.protocol is not after.protocol:
        raise ValueError(f"answers by {before.protocol} and by {after.protocol}")
    if before.protocol.generates:
        return float(answers.same(before.text, after.text))
    if before.protocol is Protocol.TEACHER_FORCED:
        pairs = list(zip(before.tokens, after.tokens, strict=True))
        return sum(one == other for one, other in pairs) / len(pairs) if pairs else 1.0
    undecided = any(math.isnan(one.margin or 0.0) for one in (before, after))
    return float(before.correct is after.correct and not undecided)
