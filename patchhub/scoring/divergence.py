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

from patchhub.scoring.batching import (
    by_length,
    context_length,
    evaluating,
    forward,
    left_pad,
    positions,
    tokenise,
)

MEMORY = 64 * 2**20
"""Bytes of log-probabilities kept for the divergence, by default."""

_CHUNK = 512  # positions compared at a time in float64


@dataclass(frozen=True, slots=True, eq=False)
class TextScores:
    """What a model makes of some texts.

    Attributes:
        losses: Per text the summed negative log-likelihood of its tokens in nats; the first token
            has no prediction and does not count.
        tokens: Per text the number of predicted tokens.
        log_probs: Per text the log-probabilities (kept positions, v) in float32, on the CPU.
    """

    losses: tuple[float, ...]
    tokens: tuple[int, ...]
    log_probs: tuple[Tensor, ...]

    @property
    def perplexity(self) -> float:
        """Exponential of the mean loss per token; 1.0 without tokens."""
        total = sum(self.tokens)
        return math.exp(math.fsum(self.losses) / total) if total else 1.0


def score_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch_size: int = 16,
    memory: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> TextScores:
    """Losses and next-token distributions of texts, each cut at the model's context length.

    Args:
        model: A decoder-only language model.
        tokenizer: Its fast tokenizer.
        texts: Plain texts; those of fewer than two tokens predict nothing.
        batch_size: Texts per forward pass.
        memory: Bytes for kept distributions. Where they do not suffice for every position, each
            text keeps evenly spaced ones (at least one), the same for every model with this
            vocabulary.
        progress: Told texts done and in all.

    Raises:
        InvalidInputError: E143, the tokenizer gives no offsets.
    """
    limit = context_length(model)
    rows = [row.ids[:limit] for row in tokenise(tokenizer, texts)]
    quota = max(1, memory // (4 * model.config.vocab_size * max(1, len(rows))))
    losses, kept = [0.0] * len(rows), [torch.empty(0, 0)] * len(rows)
    done = 0
    with evaluating(model):
        for batch in by_length([len(row) for row in rows], batch_size):
            ids, mask = left_pad([rows[i] for i in batch], model.device)
            output = forward(
                model,
                0,
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions(mask),
                use_cache=False,
            )
            for place, i in enumerate(batch):
                losses[i], kept[i] = _one_text(output.logits[place], ids[place], rows[i], quota)
            done += len(batch)
            if progress is not None:
                progress(done, len(rows))
    return TextScores(tuple(losses), tuple(len(row) - 1 for row in rows), tuple(kept))


def kl_per_text(before: TextScores, after: TextScores) -> list[float]:
    """Mean KL(before ‖ after) in nats over each text's kept positions.

    Texts without any are left out. Both must come from the same texts, tokenizer and settings.
    """
    result = []
    for p, q in zip(before.log_probs, after.log_probs, strict=True):
        if not len(p):
            continue
        total = 0.0
        for start in range(0, len(p), _CHUNK):
            old, new = p[start : start + _CHUNK].double(), q[start : start + _CHUNK].double()
            total += float((old.exp() * (old - new)).sum())
        # The sum is never negative but for rounding.
        result.append(max(0.0, total / len(p)))
    return result


def _one_text(logits: Tensor, ids: Tensor, row: Sequence[int], quota: int) -> tuple[float, Tensor]:
    count = len(row) - 1
    if count < 1:
        return 0.0, torch.empty(0, logits.shape[-1])
    log_probs = logits[-count - 1 : -1].float().log_softmax(-1)
    truth = log_probs.gather(1, ids[-count:, None])
    loss = -float(truth.double().sum())
    if count > quota:
        spaced = torch.linspace(0, count - 1, quota, dtype=torch.float64).round().long()
        log_probs = log_probs[spaced.to(log_probs.device)]
    return loss, log_probs.cpu()
