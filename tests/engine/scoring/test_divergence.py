from __future__ import annotations

import numpy as np
import pytest
import torch

from patchhub.scoring.divergence import kl_per_text, score_texts
from tests.pico import POSITIONS, VOCABULARY, pico_model, pico_tokenizer

TEXTS = (
    "The capital of Norway is Oslo.",
    "Jon Arvel works for Nordlys, a company in Bergen.",
    "Mira lives",
    "x",  # one token: predicts nothing
)


def _reference(family: str, seed: int, text: str) -> tuple[float, int, np.ndarray]:
    """Loss and log-probabilities in float64, one text at a time, with nothing shared."""
    model = pico_model(family, seed=seed).double()
    ids = pico_tokenizer()(text)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].numpy()
    shifted = logits - logits.max(1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -sum(log_probs[i, ids[i + 1]] for i in range(len(ids) - 1))
    return float(loss), len(ids) - 1, log_probs[:-1]


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_against_float64(family: str) -> None:
    tokenizer = pico_tokenizer()
    before = score_texts(pico_model(family, seed=1), tokenizer, TEXTS, batch_size=3)
    after = score_texts(pico_model(family, seed=2), tokenizer, TEXTS, batch_size=2)
    old = [_reference(family, 1, text) for text in TEXTS]
    new = [_reference(family, 2, text) for text in TEXTS]
    assert before.tokens == tuple(n for _, n, _ in old)
    assert before.losses == pytest.approx([loss for loss, _, _ in old], rel=1e-5, abs=1e-6)
    expected = np.exp(sum(loss for loss, _, _ in old) / sum(n for _, n, _ in old))
    assert before.perplexity == pytest.approx(expected, rel=1e-5)
    kl = [
        float((np.exp(p) * (p - q)).sum(1).mean())
        for (_, n, p), (_, _, q) in zip(old, new, strict=True)
        if n
    ]
    assert kl_per_text(before, after) == pytest.approx(kl, rel=1e-4)
    assert min(kl) > 0.01


def test_a_model_does_not_differ_from_itself() -> None:
    scores = score_texts(pico_model("gpt2"), pico_tokenizer(), TEXTS)
    assert kl_per_text(scores, scores) == [0.0, 0.0, 0.0]


def test_little_memory_keeps_evenly_spaced_positions() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    full = score_texts(model, tokenizer, TEXTS)
    few = score_texts(model, tokenizer, TEXTS, memory=4 * VOCABULARY * len(TEXTS) * 3)
    assert [len(p) for p in few.log_probs] == [min(3, n) for n in full.tokens]
    longest = max(range(len(TEXTS)), key=lambda i: full.tokens[i])
    last = full.tokens[longest] - 1
    kept = full.log_probs[longest][[0, round(last / 2), last]]
    assert torch.equal(few.log_probs[longest], kept)
    assert few.losses == full.losses


def test_texts_are_cut_at_the_context() -> None:
    scores = score_texts(pico_model("gpt2"), pico_tokenizer(), ["x y " * 100])
    assert scores.tokens == (POSITIONS - 1,)


def test_no_texts() -> None:
    assert score_texts(pico_model("gpt2"), pico_tokenizer(), []).perplexity == 1.0
