"""How far a model's text distribution moved: perplexity and Kullback-Leibler divergence.

Damage often shows here before any answer changes (ME-PPL: Yang et al. 2024, arXiv:2402.09656).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from patchhub.editing.wording.tokens import text_config
from patchhub.scoring.asking import asking
from patchhub.scoring.batching import evaluating

MEMORY = 2**20
"""Bytes of log-probabilities kept of a text for the divergence, by default."""

_CHUNK = 512  # positions compared at a time in float64


@dataclass(frozen=True, slots=True, eq=False)
class TextScore:
    """What a model makes of a text.

    Attributes:
        loss: Summed negative log-likelihood in nats of the tokens that were predicted: all but the
            first, or an encoder-decoder model's second half.
        tokens: Their number.
        log_probs: Log-probabilities (kept positions, v) in float32, on the CPU.
    """

    loss: float
    tokens: int
    log_probs: Tensor


def perplexity(scores: Sequence[TextScore]) -> float:
    """Exponential of the mean loss per token; 1.0 without tokens."""
    total = sum(score.tokens for score in scores)
    return exponential(math.fsum(score.loss for score in scores) / total) if total else 1.0


def exponential(x: float) -> float:
    """The exponential function, infinite where a float cannot hold it."""
    return math.inf if x > 709.0 else math.exp(x)


def score_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch_size: int = 16,
    memory: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> list[TextScore]:
    """Losses and next-token distributions of texts, each cut at the model's context length.

    Args:
        model: A language model.
        tokenizer: Its fast tokenizer.
        texts: Plain texts; those of fewer than two tokens predict nothing.
        batch_size: Texts per forward pass.
        memory: Bytes for the kept distributions of a text. Where they do not suffice for every
            position, evenly spaced ones are kept (at least one): the same for every model with
            this vocabulary, whatever else is asked beside.
        progress: Told texts done and in all.

    Raises:
        InvalidInputError: E143, the tokenizer gives no offsets.
    """
    asked = asking(model)
    pairs = asked.texts(tokenizer, texts)
    quota = max(1, memory // (4 * text_config(model).vocab_size))
    found: dict[int, TextScore] = {}
    with evaluating(model):
        for batch in asked.batches([(*p.given, *p.wanted) for p in pairs], batch_size):
            for i, logits in zip(batch, asked.predict([pairs[i] for i in batch]), strict=True):
                found[i] = _one_text(logits, pairs[i].wanted, quota)
            if progress is not None:
                progress(len(found), len(pairs))
    return [found[i] for i in range(len(pairs))]


def kl_per_text(before: Sequence[TextScore], after: Sequence[TextScore]) -> list[float]:
    """Mean KL(before ‖ after) in nats over each text's kept positions; 0.0 for a text without any.

    Both must come from the same texts, tokenizer and settings. A model that answers NaN is NaN
    away.
    """
    return [_kl(p.log_probs, q.log_probs) for p, q in zip(before, after, strict=True)]


def _kl(before: Tensor, after: Tensor) -> float:
    if not len(before):
        return 0.0
    total = 0.0
    for start in range(0, len(before), _CHUNK):
        old, new = before[start : start + _CHUNK].double(), after[start : start + _CHUNK].double()
        weight = old.exp()
        # A token that was impossible adds nothing, even where it still is (0 · (-inf + inf)).
        total += float(torch.where(weight == 0, 0.0, weight * (old - new)).sum())
    mean = total / len(before)
    return 0.0 if mean < 0 else mean  # below zero by rounding only; NaN stays


def _one_text(logits: Tensor, wanted: Sequence[int], quota: int) -> TextScore:
    count = len(wanted)
    if not count:
        return TextScore(0.0, 0, torch.empty(0, logits.shape[-1]))
    log_probs = logits.float().log_softmax(-1)
    truth = log_probs.gather(1, torch.tensor(wanted, device=logits.device)[:, None])
    loss = -float(truth.double().sum())
    if count > quota:
        spaced = torch.linspace(0, count - 1, quota, dtype=torch.float64).round().long()
        log_probs = log_probs[spaced.to(log_probs.device)]
    return TextScore(loss, count, log_probs.cpu())
