"""Batches, padding and order change no score, whatever is asked of whatever kind of model."""

from __future__ import annotations

import math
import random
from functools import cache

import pytest
from transformers import PreTrainedModel

from patchhub.scoring.instruction import Instruction
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Answer, Question
from patchhub.scoring.scorer import Scorer
from tests.pico import pico_model, pico_tokenizer

FAMILIES = ("llama", "gemma2", "t5")
"""Everything seen, a window of the latest tokens seen, an encoder and a decoder."""
PROMPTS = ("Mira", "The capital of Norway is", "The capital of Norway", "Jon Arvel was born in")
ANSWERS = ("Oslo", "a company in Bergen")
QUESTIONS = [Question(p, (a,), b) for p in PROMPTS for a, b in (ANSWERS, ANSWERS[::-1])]
TEXTS = [f"{prompt} {answer}." for prompt in PROMPTS for answer in ANSWERS]


@cache
def _model(family: str) -> PreTrainedModel:
    return pico_model(family, seed=7)


def _scorer(family: str, size: int) -> Scorer:
    return Scorer(
        _model(family),
        pico_tokenizer(family),
        batch_size=size,
        max_new_tokens=4,
        instruction=Instruction(1, "Say."),
    )


def _same(one: Answer, other: Answer) -> bool:
    close = math.isclose(one.margin or 0.0, other.margin or 0.0, abs_tol=1e-6)
    return close and (one.score, one.tokens) == (other.score, other.tokens)


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("family", FAMILIES)
def test_answers(family: str, protocol: Protocol) -> None:
    alone = [_scorer(family, 1).ask([question], protocol)[0] for question in QUESTIONS]
    for size in (3, 64):
        order = random.Random(size).sample(range(len(QUESTIONS)), len(QUESTIONS))
        mixed = _scorer(family, size).ask([QUESTIONS[i] for i in order], protocol)
        assert all(_same(alone[i], found) for i, found in zip(order, mixed, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_texts(family: str) -> None:
    alone = [_scorer(family, 1).texts([text])[0] for text in TEXTS]
    for size in (12, 64):
        order = random.Random(size).sample(range(len(TEXTS)), len(TEXTS))
        mixed = _scorer(family, size).texts([TEXTS[i] for i in order])
        assert [one.tokens for one in mixed] == [alone[i].tokens for i in order]
        losses = [alone[i].loss for i in order]
        assert [one.loss for one in mixed] == pytest.approx(losses, rel=1e-5)
