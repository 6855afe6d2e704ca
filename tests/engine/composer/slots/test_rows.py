"""Requests of one batch with patches of their own: each row is its separately patched model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.composer.composer import Composer
from patchhub.composer.slots.room import Room
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from tests.engine.composer.slots.support import MLP_OUT, PROMPTS, batch, neurons_on, values_on
from tests.engine.composer.support import loaded
from tests.engine.stacks import patch_on

TEXTS = (*PROMPTS, *(f"{text} the" for text in PROMPTS))
NEW = 4


@pytest.fixture(params=["gpt2", "llama", "t5"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedBase:
    torch.set_num_threads(1)
    return loaded(tmp_path, request.param)


def eight(base: LoadedBase) -> list[list[Patch]]:
    """Eight different sets: of nothing, of one kind, of several; some patches occur twice."""
    family = base.model.config.model_type
    low, high = (MLP_OUT[family].format(i) for i in (0, 1))
    more: dict[str, Any] = {}
    if family == "t5":
        high = MLP_OUT["t5 decoder"].format(1)
        more = {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)}
    ranks = [patch_on(base, [low, high], seed=i, rank=1 + i, scale=0.2) for i in range(3)]
    neurons = [neurons_on(base, high, seed) for seed in (2, 3)]
    first = values_on(base, low, TEXTS[:5], position="all", **more)
    second = values_on(base, low, TEXTS[3:7], seed=1, radius=2.0, **more)
    return [
        [],
        [ranks[0]],
        [ranks[1], neurons[0]],
        [first],
        [first, second],
        [second, ranks[2], neurons[1]],
        [second, ranks[0]],
        [first, second, *neurons, *ranks],
    ]


def alone(base: LoadedBase, patches: list[Patch], text: str, **how: Any) -> Any:
    """A separately patched model's answer to one prompt; weights are folded."""
    with Composer.over(base).applied(*patches) as composed:
        model: Any = composed
        return model.generate(**batch(base, [text], "left"), **how)


@pytest.mark.parametrize("beams", [1, 3])
def test_eight_requests_are_eight_models(base: LoadedBase, beams: int) -> None:
    how: dict[str, Any] = {
        "max_new_tokens": NEW,
        "min_new_tokens": NEW,
        "do_sample": False,
        "num_beams": beams,
        "num_return_sequences": beams,
        "output_logits": True,
        "output_scores": True,
        "return_dict_in_generate": True,
    }
    sets = eight(base)
    wanted = [alone(base, own, text, **how) for own, text in zip(sets, TEXTS, strict=True)]
    with Composer.over(base).rows(*sets) as composed:
        model: Any = composed
        found = model.generate(**batch(base, TEXTS, "left"), **how)
    answers = found.sequences.reshape(8, beams, -1)[:, :, -NEW:]
    differ = set()
    for row, one in enumerate(wanted):
        assert torch.equal(answers[row], one.sequences[:, -NEW:])
        differ.add(tuple(one.sequences[0, -NEW:].tolist()))
        if beams > 1:
            scores = found.sequences_scores.reshape(8, beams)[row]
            assert torch.allclose(scores, one.sequences_scores, atol=1e-5, rtol=1e-5)
        else:
            mine = torch.stack([step[row] for step in found.logits])
            theirs = torch.stack([step[0] for step in one.logits])
            assert close(mine, theirs)
    assert len(differ) > 4


def close(one: Tensor, other: Tensor) -> bool:
    """To 1e-5 of the size of the logits; pico models' are around ten."""
    return bool((one - other).abs().max() <= 1e-5 * other.abs().max())


def test_a_stack_is_below_every_request_and_stays(base: LoadedBase) -> None:
    sets = eight(base)
    composer = Composer.over(base)
    stack, own = sets[5], sets[3]
    composer.set_stack(stack)
    how = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    model: Any = base.model
    inputs = batch(base, TEXTS[:2], "left")
    before = model.generate(**inputs, **how)
    with composer.rows(own, []):
        found = model.generate(**inputs, **how)
        with pytest.raises(InvalidInputError) as caught:
            model.generate(**batch(base, TEXTS[:3], "left"), **how)
        assert caught.value.code == "E162"
    assert torch.equal(found[1], before[1])
    composer.apply(*own)
    assert torch.equal(model.generate(**inputs, **how)[0], found[0])
    composer.revert(*[patch.id for patch in own])
    assert torch.equal(model.generate(**inputs, **how), before)


def test_sampled_answers_to_one_prompt_have_its_patches(base: LoadedBase) -> None:
    sets = eight(base)
    model: Any = base.model
    how = {"max_new_tokens": 3, "do_sample": True, "num_return_sequences": 2}
    logits = {"output_logits": True, "return_dict_in_generate": True}
    with Composer.over(base).rows(sets[0], sets[7]):
        torch.manual_seed(0)
        found = model.generate(**batch(base, TEXTS[6:], "left"), **how, **logits)
    for row, own, text in ((0, sets[0], TEXTS[6]), (3, sets[7], TEXTS[7])):
        first = alone(base, own, text, max_new_tokens=1, do_sample=False, **logits).logits[0]
        assert close(found.logits[0][row], first[0])


def test_reserved_slots_give_the_same(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    sets = eight(base)
    composer = Composer.over(base)
    low, high = (MLP_OUT["gpt2"].format(i) for i in (0, 1))
    inputs = batch(base, TEXTS, "left")
    with composer.rows(*sets) as model, torch.no_grad():
        wanted = model(**inputs).logits
    composer.reserve([low, high], Room(ranks=16, keys=32, neurons=8, sets=8))
    with composer.rows(*sets) as model, torch.no_grad():
        found = model(**inputs).logits
    assert close(found, wanted)
    with pytest.raises(InvalidInputError, match="E163"), composer.rows(*sets, []):
        pass
