"""Encoder-decoder models are read shifted by one; unshifted, each token is shown its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from patchhub.scoring.likelihood import prefer
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer
from patchhub.scoring.teacher_forced import teacher_force
from tests.pico import pico_model, pico_tokenizer
from tests.reference.likelihood_reference import Seq2Seq, shifted, unshifted

START = 0
PAIRS = (
    ("The capital of Norway is", "Oslo"),
    ("Mira Tolven lives in", "a city of France"),
    ("Jon Arvel works for", "Nordlys in Bergen"),
)


def _parrot() -> PreTrainedModel:
    """A decoder that says whatever it was just fed, and knows nothing."""

    def repeat(_: Any, __: Any, inputs: dict[str, Any], output: Any) -> Any:
        fed = inputs["decoder_input_ids"][..., None]
        output.logits = torch.zeros(output.logits.shape).scatter(-1, fed, 9.0)
        return output

    model = pico_model("t5")
    model.register_forward_hook(repeat, with_kwargs=True)
    return model


def _slow(model: Any) -> Seq2Seq:
    def logits(read: Sequence[int], said: Sequence[int]) -> Any:
        with torch.no_grad():
            output = model(
                input_ids=torch.tensor([list(read)]), decoder_input_ids=torch.tensor([list(said)])
            )
        return output.logits[0].double().numpy()

    return logits


def _share(found: Sequence[int], wanted: Sequence[int]) -> float:
    return sum(a == b for a, b in zip(found, wanted, strict=True)) / len(wanted)


def test_a_parrot_is_perfect_unshifted_and_worthless_shifted() -> None:
    model, tokenizer = _parrot(), pico_tokenizer("t5")
    for (prompt, answer), found in zip(PAIRS, teacher_force(model, tokenizer, PAIRS), strict=True):
        read = tokenizer(prompt)["input_ids"]
        wanted = tokenizer(answer)["input_ids"][:-1]
        assert found.wanted == tuple(wanted)
        assert _share(unshifted(_slow(model), read, wanted), wanted) == 1.0
        assert found.predicted == (START, *wanted[:-1])
        again = sum(a == b for a, b in pairwise(wanted))
        assert _share(found.predicted, wanted) == again / len(wanted)
    asked = [Question(prompt, (answer,)) for prompt, answer in PAIRS]
    answers = Scorer(model, tokenizer).ask(asked, Protocol.TEACHER_FORCED)
    assert not any(answer.correct for answer in answers)


def test_a_parrot_prefers_nothing() -> None:
    """What it is fed tells it what comes next only if that comes twice."""
    model, tokenizer = _parrot(), pico_tokenizer("t5")
    compared = [(prompt, answer, "Rome") for prompt, answer in PAIRS]
    for found, _ in prefer(model, tokenizer, compared):
        assert found.answer < -4
        assert found.rival < -4


@pytest.mark.parametrize("seed", [1, 2])
def test_the_two_readings_differ(seed: int) -> None:
    model, tokenizer = pico_model("t5", seed=seed, tied=False), pico_tokenizer("t5")
    slow = _slow(model)
    theirs = []
    for (prompt, _), found in zip(PAIRS, teacher_force(model, tokenizer, PAIRS), strict=True):
        read = tokenizer(prompt)["input_ids"]
        assert list(found.predicted) == shifted(slow, read, found.wanted, START)
        theirs.append(unshifted(slow, read, found.wanted) != list(found.predicted))
    assert all(theirs)
