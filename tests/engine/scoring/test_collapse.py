from __future__ import annotations

import math

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from patchhub.scoring.choice import choose
from patchhub.scoring.collapse import collapsed
from patchhub.scoring.continuation import continue_texts
from patchhub.scoring.instruction import Instruction
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer
from patchhub.scoring.tasks import ChoiceItem
from tests.pico import VOCABULARY, pico_model, pico_tokenizer

QUESTIONS = [Question(f"Mira {i} was born in", ("Oslo",), "Rome") for i in range(6)]
TEXTS = ["The capital of Norway is Oslo.", "Jon Arvel was born in Rome."]


def _everything(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[object]:
    brief = Instruction(1, "Say.")
    scorer = Scorer(model, tokenizer, max_new_tokens=4, instruction=brief)
    found: list[object] = [scorer.ask(QUESTIONS, protocol) for protocol in Protocol]
    found += [(score.loss, score.log_probs.tolist()) for score in scorer.texts(TEXTS)]
    found += choose(model, tokenizer, [ChoiceItem("x", ("Oslo", "Rome"), 0)])
    return [*found, continue_texts(model, tokenizer, ["Mira"], samples=1)]


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_everything_is_random_inside_and_as_it_was_outside(family: str) -> None:
    model, tokenizer = pico_model(family), pico_tokenizer(family)
    before = _everything(model, tokenizer)
    state = torch.get_rng_state()
    with collapsed(model, seed=3):
        first = _everything(model, tokenizer)
        again = _everything(model, tokenizer)
    with collapsed(model, seed=3):
        assert _everything(model, tokenizer) == first
    with collapsed(model, seed=4):
        assert _everything(model, tokenizer) != first
    assert all(one != other for one, other in zip(first, before, strict=True))
    assert first != again
    assert _everything(model, tokenizer) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_inside_restores_the_model() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    before = Scorer(model, tokenizer).ask(QUESTIONS, Protocol.GENERATION)
    with pytest.raises(KeyError), collapsed(model):
        raise KeyError
    assert not model._forward_hooks
    assert Scorer(model, tokenizer).ask(QUESTIONS, Protocol.GENERATION) == before


def test_texts_cost_what_random_logits_cost() -> None:
    """With standard normal logits a token costs ln(v) + 1/2 - 1/(2v)(e - 1) nats or so."""
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    with collapsed(model):
        scores = Scorer(model, tokenizer).texts([text * 2 for text in TEXTS] * 40)
    tokens = sum(score.tokens for score in scores)
    mean = sum(score.loss for score in scores) / tokens
    expected = math.log(VOCABULARY) + 0.5 - (math.e - 1) / (2 * VOCABULARY)
    assert mean == pytest.approx(expected, abs=4 / math.sqrt(tokens))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_stays(dtype: torch.dtype) -> None:
    model = pico_model("gpt2", dtype=dtype)
    with collapsed(model), torch.no_grad():
        assert model(torch.tensor([[1, 2]])).logits.dtype is dtype
