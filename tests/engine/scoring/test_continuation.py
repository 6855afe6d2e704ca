from __future__ import annotations

import pytest
import torch

from patchhub.errors import InvalidInputError
from patchhub.scoring.continuation import TOP, continue_texts
from tests.pico import POSITIONS, pico_model, pico_tokenizer

OPENINGS = ("Mira was born in", "Jon", "The capital of Norway, as all know, is")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_batch_and_neighbours_change_nothing(family: str) -> None:
    model, tokenizer = pico_model(family, seed=2), pico_tokenizer()
    before = torch.get_rng_state()
    together = continue_texts(model, tokenizer, OPENINGS)
    assert continue_texts(model, tokenizer, OPENINGS, batch_size=1) == together
    assert continue_texts(model, tokenizer, OPENINGS[::-1]) == together[::-1]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(len(set(texts)) == len(texts) == 4 for texts in together)
    pairs = zip(OPENINGS, together, strict=True)
    assert all(text.startswith(opening) for opening, texts in pairs for text in texts)
    assert continue_texts(model, tokenizer, OPENINGS, seed=1) != together


def test_only_the_most_likely_tokens_in_their_proportion() -> None:
    model, tokenizer = pico_model("gpt2", seed=2), pico_tokenizer()
    ids = tokenizer("Mira was")["input_ids"]
    with torch.no_grad():
        likely = model(torch.tensor([ids])).logits[0, -1].double()
    best = likely.topk(TOP)
    weights = best.values.softmax(-1).tolist()
    samples = 200
    (texts,) = continue_texts(model, tokenizer, ["Mira was"], samples=samples, batch_size=samples)
    firsts = [str(tokenizer.decode([i])) for i in best.indices.tolist()]
    assert len(set(firsts)) == TOP
    tails = [text.removeprefix("Mira was") for text in texts]
    assert all(any(tail.startswith(first) for first in firsts) for tail in tails)
    share = sum(tail.startswith(firsts[0]) for tail in tails) / samples
    others = sum(w for w, f in zip(weights, firsts, strict=True) if f.startswith(firsts[0]))
    assert abs(share - others) < 4 * 0.5 / samples**0.5


def test_texts_fill_the_context_and_no_more() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    (texts,) = continue_texts(model, tokenizer, ["x y"], samples=1)
    # An end token in the middle is left out of the text; nothing else is.
    assert len(tokenizer(texts[0])["input_ids"]) >= POSITIONS // 2
    with pytest.raises(InvalidInputError) as caught:
        continue_texts(model, tokenizer, ["x y " * POSITIONS])
    assert caught.value.code == "E150"
    assert continue_texts(model, tokenizer, []) == []
