"""One pass for all blocks against a full pass per block, α and token, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchhub.editing.neurons import attribution
from patchhub.editing.neurons.attribution import attributions
from patchhub.editing.passes.recall import Answers, Tokens, answers, greedy, places
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.sites import module_of
from tests.engine.editing.support import pico_base
from tests.reference import kn_reference

PROMPT, OLD, NEW = "Mira Tolven was born in", "Oslo in Norway", "Rome"
GRID = [0.0, 0.25, 0.5, 0.75, 1.0]
FAMILIES = ("gpt2", "gptj", "llama", "t5", "phi3", "opt")
"""Conv1D, parallel, gated, encoder-decoder, gate and up in one, positions laid out as rows."""
NEURONS = {"gpt2": 128, "gptj": 128}


def said(base: LoadedBase, ids: tuple[int, ...], decoder: tuple[int, ...] = ()) -> Tensor:
    """A full pass: logits ``(positions, v)``."""
    more: dict[str, Any] = {"decoder_input_ids": torch.tensor([decoder])} if decoder else {}
    found: Tensor = base.model(input_ids=torch.tensor([ids]), **more).logits[0]
    return found


def firsts(base: LoadedBase) -> list[nn.Module]:
    paths = [base.arch.paths("mlp_in", layer, base.model)[0] for layer in (0, 1)]
    return [module_of(base.model, path) for path in paths]


def wanted(
    base: LoadedBase,
    family: str,
    ask: Callable[[], Tensor],
    questions: list[list[tuple[int, int]]],
    positions: list[int],
    grid: list[float],
) -> Tensor:
    neurons = NEURONS.get(family, 64)
    return kn_reference.attribution(ask, firsts(base), neurons, questions, grid, positions)


def near(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-9 * expected.abs().max())


def decoder_input(asked: Answers, tokens: Tokens) -> tuple[int, ...]:
    return asked.old if tokens == "reference" else (0, *asked.old[:-1])


@pytest.mark.parametrize(
    ("family", "tokens"),
    [*((family, "natural") for family in FAMILIES), ("gpt2", "reference"), ("t5", "reference")],
)
def test_equal_to_full_passes_and_so_is_the_choice(family: str, tokens: Tokens) -> None:
    base = pico_base(family, torch.float64)
    asked = answers(base, PROMPT, OLD, NEW, tokens)
    (place,) = places(base, asked, tokens, continued=False)
    positions, question = [-1], [(-1, label) for label in asked.old]
    ask = partial(said, base, asked.prompt)
    if family == "t5":
        ask = partial(said, base, asked.prompt, decoder_input(asked, tokens))
        positions, question = list(range(len(asked.old))), list(enumerate(asked.old))
    expected = wanted(base, family, ask, [question], positions, GRID)
    found = attributions(base, place, GRID)
    assert found.shape == (2, len(positions), NEURONS.get(family, 64))
    assert near(found, expected)
    assert near(attributions(base, place, GRID, memory=1), expected)
    assert near(
        attributions(base, place, [0.0]), wanted(base, family, ask, [question], positions, [0.0])
    )


def test_tokens_at_one_place_are_the_mean_of_each() -> None:
    base = pico_base("gpt2", torch.float64)
    asked = answers(base, PROMPT, OLD, NEW, "natural")
    (place,) = places(base, asked, "natural", continued=False)
    assert len(asked.old) > 2
    questions = [[(-1, label)] for label in asked.old]
    expected = wanted(base, "gpt2", partial(said, base, asked.prompt), questions, [-1], GRID)
    assert near(attributions(base, place, GRID), expected)


@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_continued_answers_follow_the_models_own_words(family: str) -> None:
    base = pico_base(family, torch.float64)
    asked = answers(base, PROMPT, OLD, NEW, "natural")
    own = kn_reference.greedy(lambda ids: said(base, tuple(ids)), asked.prompt, len(asked.old))
    assert list(greedy(base, asked, len(asked.old), "natural")) == own
    here = places(base, asked, "natural", continued=True)
    for number, (place, label) in enumerate(zip(here, asked.old, strict=True)):
        ask = partial(said, base, (*asked.prompt, *own[:number]))
        expected = wanted(base, family, ask, [[(-1, label)]], [-1], GRID)
        assert near(attributions(base, place, GRID), expected)


def test_what_an_encoder_decoder_says() -> None:
    base = pico_base("t5", torch.float64)
    asked = answers(base, PROMPT, OLD, "Rome and Paris", "natural")
    assert 1 not in asked.old  # the end token; only the prompt is ended
    assert asked.prompt[-1] == 1
    own = kn_reference.greedy(lambda ids: said(base, asked.prompt, tuple(ids)), [0], 3)
    assert list(greedy(base, asked, 3, "natural")) == own
    closed = answers(base, PROMPT, OLD, "Rome and Paris", "reference")
    copied = said(base, closed.prompt, closed.new).argmax(-1).tolist()
    assert list(greedy(base, closed, len(closed.new), "reference")) == copied


def test_answers_follow_with_a_space_but_not_in_the_reference() -> None:
    base = pico_base("gpt2")
    natural, bare = (answers(base, PROMPT, OLD, NEW, tokens) for tokens in ("natural", "reference"))
    assert natural.prompt == bare.prompt
    said_, bare_ = (
        [base.tokenizer.decode(list(ids)) for ids in (a.old, a.new)] for a in (natural, bare)
    )
    assert (said_, bare_) == ([f" {OLD}", f" {NEW}"], [OLD, NEW])
    with pytest.raises(InvalidInputError, match="E150"):
        answers(base, PROMPT * 20, OLD, NEW, "natural")


def test_a_prompt_of_one_token_has_nothing_before_it() -> None:
    base = pico_base("gpt2", torch.float64)
    asked = Answers((40,), (7, 8), (9,))
    (place,) = places(base, asked, "natural", continued=False)
    question = [(-1, 7), (-1, 8)]
    expected = wanted(base, "gpt2", partial(said, base, (40,)), [question], [-1], GRID)
    assert near(attributions(base, place, GRID), expected)
    assert greedy(base, asked, 1, "natural") == (int(said(base, (40,))[-1].argmax()),)


def test_memory_splits_passes_and_many_rows_are_split_without_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = pico_base("gpt2", torch.float64)
    (place,) = places(base, answers(base, PROMPT, OLD, NEW, "natural"), "natural", continued=False)
    sizes: list[int] = []
    held: dict[int, int] = {}
    honest = attribution._pass
    own = {parameter.untyped_storage().data_ptr() for parameter in base.model.parameters()}

    def kept(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()).data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    def counted(base: LoadedBase, place: Any, part: list[Any]) -> Any:
        sizes.append(len(part))
        held.clear()
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            found = honest(base, place, part)
        assert limit is None or sum(held.values()) <= max(limit, 40_000)
        return found

    monkeypatch.setattr(attribution, "_pass", counted)
    for limit, most, fewest in ((None, 10, 1), (1, 1, 10), (100_000, 4, 3), (200_000, 9, 2)):
        sizes.clear()
        attributions(base, place, GRID, memory=limit)
        assert sum(sizes) == 10
        assert max(sizes) <= most
        assert len(sizes) >= fewest
    sizes.clear()
    limit = None
    attributions(base, place, [0.5] * 200)
    assert sizes == [256, 144]
