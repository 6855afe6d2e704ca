from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.errors import InvalidInputError
from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.likelihood import Preference, prefer
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Question, Scorer
from tests.engine.scoring.scripted import ScriptedLM, scripted
from tests.engine.scoring.test_teacher_forced import _merging_tokenizer
from tests.pico import pico_model, pico_tokenizer

PROMPT = "Mira was born in"


def _by_hand(model: PreTrainedModel, ids: list[int], start: int) -> float:
    """Mean log-probability of ``ids[start:]``, one plain forward pass in float64."""
    with torch.no_grad():
        log_probs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(log_probs[i - 1, ids[i]]) for i in range(start, len(ids))) / (len(ids) - start)


def test_by_hand() -> None:
    model, tokenizer = pico_model("gpt2", seed=5), pico_tokenizer()
    start = len(tokenizer(PROMPT)["input_ids"])
    means = [
        _by_hand(model, tokenizer(f"{PROMPT} {city}")["input_ids"], start)
        for city in ("Bergen", "Rome")
    ]
    ((found, _),) = prefer(model, tokenizer, [(PROMPT, "Bergen", "Rome")])
    assert [found.answer, found.rival] == pytest.approx(means, abs=1e-5)
    assert found.magnitude == pytest.approx(math.exp(means[0]) - math.exp(means[1]), abs=1e-5)
    assert found.success == (means[0] > means[1])
    ((turned, _),) = prefer(model, tokenizer, [(PROMPT, "Rome", "Bergen")])
    assert turned.success is not found.success


def test_length_does_not_decide() -> None:
    # Three tokens of probability 1/2 each are as likely, per token, as one of 1/2.
    half = math.log(0.5)
    assert Preference(3 * half / 3, half).magnitude == 0.0
    assert not Preference(half, half).success  # a tie is no success
    assert not Preference(math.nan, half).success
    assert Preference(-math.inf, half).magnitude == -0.5


def test_oracle_and_liar() -> None:
    script = {PROMPT: " Oslo", "Jon was born in": " Ostende", "Ada was born in": " Rome"}
    model, tokenizer = scripted(script)
    edited = [
        Question(PROMPT, ("Oslo",), "Bergen"),
        Question("Jon was born in", ("Ostend now",), "Rome"),
    ]
    right, third = Scorer(model, tokenizer).ask(edited, Protocol.LIKELIHOOD)
    assert (right.correct, right.score) == (True, 1.0)
    assert right.margin is not None
    assert right.margin > 0.2
    # The model says a third thing; that it begins like the answer is enough to prefer it.
    assert third.correct
    (kept,) = Scorer(model, tokenizer).ask(
        [Question("Ada was born in", ("Oslo",), "Rome")], Protocol.LIKELIHOOD
    )
    assert (kept.correct, kept.score) == (False, 0.0)


class _RandomLM(ScriptedLM):
    """Logits drawn anew at every call: a collapsed model."""

    def forward(self, input_ids: Tensor, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(logits=3 * torch.randn(*input_ids.shape, self.config.vocab_size))


def test_random_logits_score_fifty() -> None:
    tokenizer = pico_tokenizer()
    model = cast(PreTrainedModel, _RandomLM(tokenizer, {}))
    questions = [Question(f"{i} was born in", ("Oslo",), "Rome") for i in range(600)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = Scorer(model, tokenizer).ask(questions, Protocol.LIKELIHOOD)
    share = sum(answer.score for answer in found) / len(found)
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(len(found))
    assert all(answer.text.startswith("Oslo 0.") for answer in found)


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_batching_and_padding_change_nothing(family: str) -> None:
    model, tokenizer = pico_model(family, seed=6), pico_tokenizer()
    cases = [
        ("The capital of Norway is", "Oslo", "a town of some size"),
        ("x", "a rather long answer of many words", "no"),
        ("Jon Arvel works for Nordlys, a company in", "Bergen", "Rome"),
    ]
    questions = [Question(p, (a,), r) for p, a, r in cases for a, r in ((a, r), (r, a))]
    together = Scorer(model, tokenizer).ask(questions, Protocol.LIKELIHOOD)
    for size in (1, 4):
        again = Scorer(model, tokenizer, batch_size=size).ask(questions, Protocol.LIKELIHOOD)
        assert [a.score for a in again] == [a.score for a in together]
        assert [a.margin for a in again] == pytest.approx([a.margin for a in together], abs=1e-6)


def test_one_space_between_and_tokens_across_the_boundary() -> None:
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    plain, spaced = prefer(model, tokenizer, [(PROMPT, "Oslo", "Rome"), (PROMPT, " Oslo", " Rome")])
    assert plain == spaced
    merging = _merging_tokenizer()
    ids = merging("Born in Oslo")["input_ids"]
    start = merging.convert_ids_to_tokens(ids).index("n O")
    ((found, _),) = prefer(model, merging, [("Born in", "Oslo", "Bo")])
    assert found.answer == pytest.approx(_by_hand(model, ids, start), abs=1e-5)


def test_a_question_without_a_rival_is_refused() -> None:
    model, tokenizer = scripted({})
    for question in (Question(PROMPT, ("Oslo",)), Question(PROMPT, (), "Oslo")):
        assert not question.fits(Protocol.LIKELIHOOD)
        with pytest.raises(InvalidInputError) as caught:
            Scorer(model, tokenizer).ask([question], Protocol.LIKELIHOOD)
        assert caught.value.code == "E131"
        assert "rival" in str(caught.value)
    assert prefer(model, tokenizer, []) == []


def test_cached_likelihoods_are_the_same_numbers(tmp_path: Path) -> None:
    model, tokenizer = pico_model("gpt2", seed=3), pico_tokenizer()
    questions = [Question(PROMPT, ("Oslo",), "Rome"), Question(PROMPT, ("Oslo",), "Bergen")]
    first = Scorer(model, tokenizer, cache=AnswerCache(tmp_path), state="a")
    other = Scorer(pico_model("gpt2", seed=4), tokenizer, cache=AnswerCache(tmp_path), state="a")
    said = first.ask(questions, Protocol.LIKELIHOOD)
    assert said[0] != said[1]
    assert other.ask(questions, Protocol.LIKELIHOOD) == said
