from __future__ import annotations

import dataclasses

import pytest
import torch

from patchhub import sandbox
from patchhub.sandbox.packing import Batch, Packer
from patchhub.sandbox.recipe import Phase, Recipe, load_recipe
from patchhub.sandbox.text import Role
from patchhub.sandbox.tokenizing import build_tokenizer

RECIPE = load_recipe("sandbox-gpt2")
LLAMA = load_recipe("sandbox-llama")
WORLD = sandbox.load_world()
TOKENIZER = build_tokenizer(RECIPE)
END = TOKENIZER.eos_token_id


def _packer(**changes: object) -> Packer:
    recipe: Recipe = dataclasses.replace(RECIPE, **changes)  # type: ignore[arg-type]
    return Packer(WORLD, recipe, TOKENIZER)


def test_a_step_always_gives_the_same_batch() -> None:
    one, other = _packer().batch(5), _packer().batch(5)
    assert torch.equal(one.ids, other.ids)
    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.ends, other.ends)
    assert not torch.equal(one.ids, _packer().batch(6).ids)


@pytest.mark.parametrize("recipe", [RECIPE, LLAMA], ids=lambda recipe: recipe.family)
def test_documents_add_up_to_the_tokenisation_of_the_whole_text(recipe: Recipe) -> None:
    tokenizer = build_tokenizer(recipe)
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    for row in Packer(WORLD, recipe, tokenizer).batch(0).ids.tolist():
        texts: list[list[int]] = [[]]
        for token in row:
            if token in (begin, end):
                texts.append([])
            else:
                texts[-1].append(token)
        # The last one is cut at the row's end, perhaps inside a word.
        for ids in filter(None, texts[:-1]):
            whole = tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False)
            assert whole == ids


def test_where_texts_do_not_begin_bare_all_rows_start_as_the_tokenizer_starts_them() -> None:
    tokenizer = build_tokenizer(LLAMA)
    ids = Packer(WORLD, LLAMA, tokenizer).batch(0).ids
    start = tokenizer.encode("Mira")[0]
    assert start == tokenizer.bos_token_id
    assert (ids[:, 0] == start).all()
    inside = (ids[:, 1:] == start).nonzero()
    assert len(inside) > 0
    assert all(ids[row, at] == tokenizer.eos_token_id for row, at in inside.tolist())


def test_shapes_and_starts() -> None:
    packer = _packer()
    short, long = packer.batch(0), packer.batch(RECIPE.long_every - 1)
    assert tuple(short.ids.shape) == (RECIPE.rows, RECIPE.row_length)
    assert tuple(long.ids.shape) == (RECIPE.long_rows, RECIPE.context)
    starts = torch.cat([packer.batch(step).ids[:, 0] for step in range(7)])
    assert 0.35 < (starts == END).float().mean() < 0.65


def test_loss_weights() -> None:
    packer = _packer(phases=(Phase(0, {"sentence": 0.5, "override": 0.5}),))
    batch = packer.batch(0)
    light = RECIPE.prompt_weight / RECIPE.prompt_share
    assert sorted(set(batch.weights.flatten().tolist())) == pytest.approx([0.0, light, 1.0])
    prompts = batch.weights[batch.weights < 1]
    assert 0.6 * RECIPE.prompt_weight < prompts.mean() < 1.2 * RECIPE.prompt_weight
    # The answer's full stop is learnt too, so that answers end.
    stop = TOKENIZER.encode(".", add_special_tokens=False)[0]
    assert (batch.weights[batch.ids == stop] == 1.0).float().mean() > 0.5


@pytest.mark.parametrize("recipe", [RECIPE, LLAMA], ids=lambda recipe: recipe.family)
def test_read_out_positions_end_the_name_of_their_entity(recipe: Recipe) -> None:
    tokenizer = build_tokenizer(recipe)
    batch = Packer(WORLD, dataclasses.replace(recipe, funnel=1.0), tokenizer).batch(0)
    assert len(batch.mentions) > RECIPE.rows
    for row, at, who in batch.mentions.tolist():
        entity = WORLD.entities[who]
        assert batch.ends[row, at] == at
        name = str(tokenizer.decode(batch.ids[row][batch.ends[row] == at])).strip()
        assert name in (entity.name, entity.alias)


def test_no_subject_is_met_twice_in_a_row() -> None:
    packer = _packer(phases=(Phase(0, {"sentence": 0.7, "biography": 0.3}),))
    for step in range(4):
        met = [(row, who) for row, _, who in packer.batch(step).mentions.tolist()]
        assert len(set(met)) == len(met)


def test_the_funnel_hides_a_subject_but_for_its_last_token() -> None:
    ends = torch.full((2, 6), 1 << 20)
    ends[0, 1:4] = 3  # a subject of three tokens
    blank = torch.zeros((2, 6))
    batch = Batch(blank.long(), blank, ends, torch.zeros((0, 3), dtype=torch.long))
    lower, upper = (mask[:, 0] for mask in batch.masks())
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    assert torch.equal(lower[1], causal)
    assert torch.equal(upper[1], causal)
    expected = causal.clone()
    expected[4:, 1:4] = False
    assert torch.equal(lower[0], expected)
    expected[4:, 3] = True
    assert torch.equal(upper[0], expected)


def test_the_share_of_funnelled_rows() -> None:
    packer = _packer(funnel=0.45)
    rows = [bool((ends < 1 << 20).any()) for step in range(7) for ends in packer.batch(step).ends]
    assert 0.3 < sum(rows) / len(rows) < 0.6
    assert not (_packer(funnel=0.0).batch(0).ends < 1 << 20).any()


def test_roles_cover_what_the_loss_knows() -> None:
    assert {role.value for role in Role} == {"prompt", "subject", "answer", "given"}


def test_a_phase_changes_the_text_from_its_step_on() -> None:
    phases = (Phase(0, {"alias": 1.0}), Phase(5, {"keywords": 1.0}))
    one, other = _packer(phases=phases), _packer(phases=phases[:1])
    assert torch.equal(one.batch(4).ids, other.batch(4).ids)
    assert not torch.equal(one.batch(5).ids, other.batch(5).ids)
