from __future__ import annotations

import numpy as np
import pytest
import torch

from patchhub.scoring.divergence import TextScore, kl_per_text, perplexity, score_texts
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
    assert [score.tokens for score in before] == [n for _, n, _ in old]
    losses = [score.loss for score in before]
    assert losses == pytest.approx([loss for loss, _, _ in old], rel=1e-5, abs=1e-6)
    expected = np.exp(sum(loss for loss, _, _ in old) / sum(n for _, n, _ in old))
    assert perplexity(before) == pytest.approx(expected, rel=1e-5)
    kl = [
        float((np.exp(p) * (p - q)).sum(1).mean()) if n else 0.0
        for (_, n, p), (_, _, q) in zip(old, new, strict=True)
    ]
    assert kl_per_text(before, after) == pytest.approx(kl, rel=1e-4)
    assert min(kl[:-1]) > 0.01


def test_a_model_does_not_differ_from_itself() -> None:
    scores = score_texts(pico_model("gpt2"), pico_tokenizer(), TEXTS)
    assert kl_per_text(scores, scores) == [0.0] * 4


def test_little_memory_keeps_evenly_spaced_positions() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    full = score_texts(model, tokenizer, TEXTS)
    few = score_texts(model, tokenizer, TEXTS, memory=4 * VOCABULARY * 3)
    assert [len(s.log_probs) for s in few] == [min(3, s.tokens) for s in full]
    longest = max(range(len(TEXTS)), key=lambda i: full[i].tokens)
    last = full[longest].tokens - 1
    kept = full[longest].log_probs[[0, round(last / 2), last]]
    assert torch.equal(few[longest].log_probs, kept)
    assert [s.loss for s in few] == [s.loss for s in full]


def test_a_broken_model_is_nan_away_and_not_zero() -> None:
    model, broken, tokenizer = pico_model("gpt2"), pico_model("gpt2"), pico_tokenizer()
    broken.get_parameter("transformer.ln_f.weight").fill_(float("nan"))
    before, after = score_texts(model, tokenizer, TEXTS), score_texts(broken, tokenizer, TEXTS)
    assert all(np.isnan(kl) for kl in kl_per_text(before, after)[:-1])
    assert np.isnan(perplexity(after))


def test_impossible_tokens() -> None:
    never = torch.tensor([[0.0, -torch.inf]])
    half = torch.log(torch.tensor([[0.5, 0.5]]))
    old, new = TextScore(0.0, 1, never), TextScore(0.0, 1, half)
    assert kl_per_text([old, old], [old, new]) == [0.0, pytest.approx(np.log(2))]
    assert kl_per_text([new], [old]) == [np.inf]


def test_texts_are_cut_at_the_context() -> None:
    (score,) = score_texts(pico_model("gpt2"), pico_tokenizer(), ["x y " * 100])
    assert score.tokens == POSITIONS - 1


def test_no_texts() -> None:
    assert score_texts(pico_model("gpt2"), pico_tokenizer(), []) == []
    assert perplexity([]) == 1.0
