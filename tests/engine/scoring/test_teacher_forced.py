from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from patchhub.errors import InvalidInputError
from patchhub.scoring.teacher_forced import teacher_force
from tests.engine.scoring.scripted import scripted
from tests.pico import pico_model, pico_tokenizer


def test_by_hand() -> None:
    model, tokenizer = pico_model("gpt2", seed=5), pico_tokenizer()
    prompt, answer = "Mira Tolven was born in", "Bergen"
    ids = tokenizer(f"{prompt} {answer}")["input_ids"]
    start = len(tokenizer(prompt)["input_ids"])
    with torch.no_grad():
        best = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    (found,) = teacher_force(model, tokenizer, [(prompt, answer)])
    assert found.wanted == tuple(ids[start:])
    assert found.predicted == tuple(best[start - 1 : -1])
    assert len(found.wanted) > 1


def test_oracle_and_liar() -> None:
    model, tokenizer = scripted({"Mira was born in": " Oslo", "Jon was born in": " Ostende"})
    right, wrong = teacher_force(
        model, tokenizer, [("Mira was born in", "Oslo"), ("Jon was born in", "Rome")]
    )
    assert right.predicted == right.wanted
    assert wrong.predicted != wrong.wanted


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_padding_changes_nothing(family: str) -> None:
    model, tokenizer = pico_model(family, seed=6), pico_tokenizer()
    pairs = [
        ("The capital of Norway is", "Oslo"),
        ("x", "a rather long answer of many words"),
        ("Jon Arvel works for Nordlys, a company in", "Bergen"),
    ]
    together = teacher_force(model, tokenizer, pairs)
    assert together == [teacher_force(model, tokenizer, [pair])[0] for pair in pairs]


def _merging_tokenizer() -> PreTrainedTokenizerFast:
    """Characters, and one token that reaches over a space: "n O"."""
    signs = sorted(set("Bor inOsl"))
    vocabulary = {s: i for i, s in enumerate(["<e>", *signs, "n ", "n O"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("n", " "), ("n ", "O")]))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token="<e>"
    )


def test_token_across_the_boundary_belongs_to_the_answer() -> None:
    tokenizer = _merging_tokenizer()
    ids = tokenizer("Born in Oslo")["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert "n O" in tokens
    (found,) = teacher_force(pico_model("gpt2"), tokenizer, [("Born in", "Oslo")])
    assert tokenizer.convert_ids_to_tokens(list(found.wanted)) == ["n O", "s", "l", "o"]
    assert len(found.predicted) == 4


def test_exactly_one_space_between() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    plain, spaced, closed = teacher_force(
        model, tokenizer, [("born in", "Oslo"), ("born in", " Oslo"), ("born in ", "Oslo")]
    )
    assert plain == spaced
    assert closed.wanted == tuple(tokenizer(" Oslo")["input_ids"])


def test_too_long_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        teacher_force(pico_model("gpt2"), pico_tokenizer(), [("x y " * 60, "z")])
    assert caught.value.code == "E150"


def test_no_pairs() -> None:
    assert teacher_force(pico_model("gpt2"), pico_tokenizer(), []) == []
