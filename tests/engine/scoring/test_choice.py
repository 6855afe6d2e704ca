from __future__ import annotations

import math

import pytest
import torch
from transformers import PreTrainedModel

from patchhub.errors import InvalidInputError
from patchhub.scoring.choice import Choice, choose
from patchhub.scoring.tasks import ChoiceItem
from tests.engine.scoring.scripted import scripted
from tests.pico import FAMILIES, pico_model, pico_tokenizer

ITEMS = (
    ChoiceItem("To dry a wet book,", ("bake it", "press it between sheets of paper"), 1),
    ChoiceItem("Mira Tolven was born in", ("Oslo", "Rome", "Paris", "Bergen"), 3),
    ChoiceItem("x", ("The capital of Norway is Oslo. The capital of France", "no"), 0),
)


def _slow(model: PreTrainedModel, ids: list[int], start: int) -> float:
    """Loss of ``ids[start:]``, one token at a time in float64."""
    total = 0.0
    for i in range(start, len(ids)):
        with torch.no_grad():
            logits = model(torch.tensor([ids[:i]])).logits[0, -1].double()
        total -= float(logits.log_softmax(-1)[ids[i]])
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_single_steps(family: str) -> None:
    model, tokenizer = pico_model(family, seed=4), pico_tokenizer()
    for item, found in zip(ITEMS, choose(model, tokenizer, ITEMS), strict=True):
        start = len(tokenizer(item.prompt)["input_ids"])
        rows = [tokenizer(f"{item.prompt} {text}")["input_ids"] for text in item.choices]
        assert found.tokens == tuple(len(row) - start for row in rows)
        slow = [_slow(model, row, start) for row in rows]
        assert found.losses == pytest.approx(slow, rel=1e-5)
        assert found.total == slow.index(min(slow))


@pytest.mark.parametrize("family", [*FAMILIES, "t5"])
def test_batches_order_and_neighbours_change_nothing(family: str) -> None:
    model, tokenizer = pico_model(family, seed=4), pico_tokenizer(family)
    alone = [choose(model, tokenizer, [item])[0] for item in ITEMS]
    for size in (1, 2, 32):
        found = choose(model, tokenizer, ITEMS[::-1], batch_size=size)[::-1]
        for one, other in zip(alone, found, strict=True):
            assert one.losses == pytest.approx(other.losses, rel=1e-5)
            assert (one.tokens, one.per_token) == (other.tokens, other.per_token)


def test_an_oracle_is_right_and_a_liar_is_wrong() -> None:
    right = {item.prompt: f" {item.choices[item.answer]}" for item in ITEMS}
    model, tokenizer = scripted(right)
    assert all(one.right for one in choose(model, tokenizer, ITEMS))
    model, tokenizer = scripted({i.prompt: f" {i.choices[not i.answer]}" for i in ITEMS})
    assert not any(one.right for one in choose(model, tokenizer, ITEMS))


def test_one_pass_per_batch() -> None:
    model, calls = pico_model("gpt2"), []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    seen: list[tuple[int, int]] = []
    choose(model, pico_tokenizer(), ITEMS, batch_size=2, progress=lambda *p: seen.append(p))
    hook.remove()
    assert len(calls) == 2
    assert seen == [(2, 3), (3, 3)]


def test_length_decides_the_total_only() -> None:
    # The right text costs 3 nats over three tokens, the short one 2 nats over one.
    found = Choice((3.0, 2.0), (3, 1), 0)
    assert (found.per_token, found.total) == (0, 1)
    assert found.right


@pytest.mark.parametrize("losses", [(1.0, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_ties_and_nan_choose_nothing(losses: tuple[float, float]) -> None:
    for answer in (0, 1):
        found = Choice(losses, (1, 1), answer)
        assert (found.per_token, found.total, found.right) == (None, None, False)


def test_an_impossible_choice_is_the_worst() -> None:
    assert Choice((math.inf, 1.0), (1, 1), 1).right


def test_too_long_and_nothing() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    assert choose(model, tokenizer, []) == []
    with pytest.raises(InvalidInputError) as caught:
        choose(model, tokenizer, [ChoiceItem("x y " * 60, ("a", "b"), 0)])
    assert caught.value.code == "E150"
