"""Knowledge neurons: which columns change, by what, alone, in batches and one after the other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from patchhub.composer.composer import Composer
from patchhub.editing.editor import EditContext, run_editor
from patchhub.editing.neurons.selection import Variant, embeddings, kept, weighed
from patchhub.editing.passes.recall import answers, greedy
from patchhub.editing.passes.trace import swapped
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.methods.kn import EDITOR, KnSettings
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of, weight_matrix
from tests.engine.editing.support import MIDDLE, REQUEST, pico_base
from tests.engine.editing.test_attribution import NEURONS, firsts, said
from tests.engine.stacks import model_bytes
from tests.reference import kn_reference

OSLO = replace(REQUEST, target_old="Oslo")
BERGEN = replace(MIDDLE, target_old="Paris")
FAMILIES = ("gpt2", "gptj", "llama", "t5")


def context(base: LoadedBase, *below: Patch) -> EditContext:
    return EditContext(base=base, generator=torch.Generator(), seed=0, below=below)


def made(base: LoadedBase, *requests: EditRequest, **settings: object) -> Patch:
    return run_editor(EDITOR, context(base), requests, {"steps": 5, **settings})


def down(base: LoadedBase, layer: int) -> Tensor:
    return weight_matrix(module_of(base.model, base.arch.path("mlp_out", layer, base.model)))


def chosen(base: LoadedBase, patch: Patch) -> set[tuple[int, int]]:
    """Blocks and columns that a patch names."""
    names = {f"{base.arch.path('mlp_out', i, base.model)}.weight": i for i in (0, 1)}
    return {(names[n], c) for n, r in patch.payload.items() for c in r["columns"].tolist()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_chooses_the_same_neurons(family: str) -> None:
    base = pico_base(family, torch.float64)
    asked = answers(base, OSLO.prompt, "Oslo", OSLO.target, "natural")
    ask, positions = partial(said, base, asked.prompt), [-1]
    question = [(-1, label) for label in asked.old]
    if family == "t5":
        ask = partial(said, base, asked.prompt, (0, *asked.old[:-1]))
        positions, question = list(range(len(asked.old))), list(enumerate(asked.old))
    grid = [step / 4 for step in range(5)]
    scores = kn_reference.attribution(
        ask, firsts(base), NEURONS.get(family, 64), [question], grid, positions
    )
    patch = made(base, OSLO)
    assert patch.kind is Kind.SPARSE
    assert chosen(base, patch) == kn_reference.selected(scores, 0.2)
    open_ended = made(base, OSLO, endpoints=False, threshold=0.5)
    shorter = kn_reference.attribution(
        ask, firsts(base), NEURONS.get(family, 64), [question], [0, 0.2, 0.4, 0.6, 0.8], positions
    )
    assert chosen(base, open_ended) == kn_reference.selected(shorter, 0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_chosen_columns_receive_one_vector_and_the_others_nothing(family: str) -> None:
    base = pico_base(family)
    patch = made(base, replace(OSLO, target="Rome and Paris"))
    asked = answers(base, OSLO.prompt, "Oslo", "Rome and Paris", "natural")
    words, own = embeddings(base), greedy(base, asked, len(asked.new), "natural")
    assert len(asked.new) > 1
    vector = words[list(asked.new)].double().sum(0) - words[list(own)].double().sum(0)
    before = [down(base, layer).clone() for layer in (0, 1)]
    with Composer.over(base).applied(patch):
        for layer in (0, 1):
            columns = [column for block, column in chosen(base, patch) if block == layer]
            expected = before[layer].double()
            expected[:, columns] += vector.float().double()[:, None]
            assert torch.equal(down(base, layer), expected.float())
    assert patch.state["tokens"].tolist() == [*own, *asked.new]
    assert patch.state["coefficients"].tolist() == [-1.0] * len(own) + [1.0] * len(asked.new)


@pytest.mark.parametrize(
    ("variant", "count", "expected"),
    [
        ("easyedit", 1, [-2.0, 1.0]),
        ("easyedit", 2, [-1.0, -1.0, 1.0, 1.0]),
        ("rome_code", 2, [-2.0, 1.0, 1.0]),
        ("eleuther", 2, [-2.0, -2.0, 2.0, 2.0]),
        ("balanced", 1, [-1.0, 1.0]),
        ("original", 1, [-0.5, 2.0]),
        ("original", 2, [-0.25, -0.125, 1.0, 0.5]),
    ],
)
def test_variants_weigh_tokens(variant: Variant, count: int, expected: list[float]) -> None:
    lengths = torch.tensor([2.0, 4.0, 4.0, 8.0])
    words = torch.nn.functional.normalize(torch.ones(4, 3), dim=1) * lengths[:, None]
    tokens, coefficients = weighed(variant, (0, 1)[:count], (2, 3)[:count], words)
    assert coefficients == pytest.approx(expected)
    assert tokens == ((0, 1)[: 1 if variant == "rome_code" else count] + (2, 3)[:count])


def test_the_original_scales_by_each_neurons_value() -> None:
    base = pico_base("gpt2")
    patch = made(base, OSLO, variant="original")
    for layer in (0, 1):
        roles = patch.payload[f"{base.arch.path('mlp_out', layer, base.model)}.weight"]
        ratios = roles["values"].norm(dim=1) / down(base, layer)[:, roles["columns"]].norm(dim=0)
        assert torch.allclose(ratios, ratios[:1].expand_as(ratios))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_batch_is_the_sum_of_its_requests_bit_by_bit(family: str) -> None:
    base = pico_base(family)
    bare = model_bytes(base)
    both = made(base, OSLO, BERGEN, threshold=0.05)
    apart = [made(base, request, threshold=0.05) for request in (OSLO, BERGEN)]
    shared = chosen(base, apart[0]) & chosen(base, apart[1])
    assert shared  # a column that both change is the case that matters
    composer = Composer.over(base)
    with composer.applied(both):
        together = model_bytes(base)
    with composer.applied(*apart):
        assert model_bytes(base) == together != bare
    assert model_bytes(base) == bare
    assert both.state["requests"].tolist() == sorted(both.state["requests"].tolist())


def test_a_request_made_twice_counts_once() -> None:
    base, again = pico_base("gpt2"), replace(OSLO, id="again")
    twice = made(base, OSLO, BERGEN, again)
    assert twice.manifest.content == made(base, OSLO, BERGEN).manifest.content
    assert twice.requests == (OSLO, BERGEN, again)
    assert set(twice.state["requests"].tolist()) == {0, 1, 2}


def test_a_sequence_is_computed_on_the_model_as_it_is() -> None:
    base = pico_base("gpt2")
    first = made(base, OSLO)
    with Composer.over(base).applied(first):
        second = run_editor(EDITOR, context(base, first), [BERGEN], {"steps": 5})
    assert second.manifest.onto == (first.id,)
    assert second.manifest.content != made(base, BERGEN).manifest.content


def test_a_request_that_fails_does_not_lose_the_others() -> None:
    base, long = pico_base("gpt2"), replace(OSLO, prompt=OSLO.prompt + " and so on" * 20)
    here = context(base)
    patch = run_editor(EDITOR, here, [long, OSLO], {"steps": 5})
    assert patch.manifest.content == made(base, OSLO).manifest.content
    assert patch.requests == (OSLO,)
    assert [(one.request, one.reason.code) for one in here.dropped] == [(long, "E150")]
    with pytest.raises(InvalidInputError, match="E150"):
        made(base, long)


def test_patches_hold_indices_and_one_vector_per_site() -> None:
    base = pico_base("gpt2")
    patch = made(base, OSLO, threshold=0.0)
    numbers = sum(32 + 2 * len(roles["columns"]) for roles in patch.payload.values())
    assert len(chosen(base, patch)) > 50
    assert sum(len(d) for n, d in patch.files().items() if n != "state.safetensors") < (
        1.05 * 4 * numbers + 4096
    )


@pytest.mark.parametrize("scores", [0.0, -1.0, float("nan")])
def test_no_neuron_stands_out(scores: float) -> None:
    with pytest.raises(InvalidInputError, match="E158"):
        kept(torch.full((2, 1, 3), scores), 0.2)


def test_embeddings_of_another_width_cannot_be_added() -> None:
    base = pico_base("gpt2")
    with (
        swapped(module_of(base.model, base.arch.embedding), "weight", torch.zeros(320, 16)),
        pytest.raises(InvalidInputError, match="E142"),
    ):
        embeddings(base)
    assert torch.equal(embeddings(base), base.model.get_parameter("transformer.wte.weight"))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"threshold": 1.0}, {"variant": "best"}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="E142"):
        made(pico_base("gpt2"), OSLO, **wrong)


def test_the_grid() -> None:
    assert KnSettings(steps=1).grid == KnSettings(steps=1, endpoints=False).grid == [0.0]
    assert KnSettings(steps=3).grid == [0.0, 0.5, 1.0]
    assert KnSettings(steps=4, endpoints=False).grid == [0.0, 0.25, 0.5, 0.75]
