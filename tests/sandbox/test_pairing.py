from __future__ import annotations

import dataclasses

import torch

from patchhub import sandbox
from patchhub.sandbox.pairing import Batch, Pairer
from patchhub.sandbox.recipe import Phase, Recipe, load_recipe
from patchhub.sandbox.templates import TEMPLATES
from patchhub.sandbox.tokenizing import build_tokenizer

RECIPE = load_recipe("sandbox-t5")
WORLD = sandbox.load_world()
TOKENIZER = build_tokenizer(RECIPE)
END, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id


def _pairer(**changes: object) -> Pairer:
    recipe: Recipe = dataclasses.replace(RECIPE, **changes)  # type: ignore[arg-type]
    return Pairer(WORLD, recipe, TOKENIZER)


def _spoken(batch: Batch) -> list[tuple[str, str]]:
    """What each pair's encoder reads and its decoder says."""
    pairs = []
    for row in range(len(batch.ids)):
        for number in range(1, int(batch.pairs[row].max()) + 1):
            read = batch.ids[row][batch.pairs[row] == number]
            said = batch.targets[row][batch.owners[row] == number]
            assert read[-1] == said[-1] == END
            pairs.append((str(TOKENIZER.decode(read[:-1])), str(TOKENIZER.decode(said[:-1]))))
    return pairs


def _only(kind: str) -> tuple[Phase, ...]:
    return (Phase(0, {kind: 1.0}),)


def test_a_step_always_gives_the_same_batch() -> None:
    one, other = _pairer().batch(5), _pairer().batch(5)
    for field in dataclasses.fields(Batch):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name))
    assert not torch.equal(one.ids[:, :40], _pairer().batch(6).ids[:, :40])


def test_rows_are_full_of_pairs() -> None:
    short, long = _pairer().batch(0), _pairer().batch(RECIPE.long_every - 1)
    assert len(short.ids) == RECIPE.rows
    assert short.ids.shape[1] <= RECIPE.row_length
    assert (short.pairs > 0).float().mean() > 0.75
    assert len(long.ids) == RECIPE.long_rows
    assert long.ids.shape[1] > 2 * RECIPE.row_length
    assert len(_spoken(short)) > 3 * RECIPE.rows


def test_the_encoder_reads_a_question_and_the_decoder_says_the_answer() -> None:
    asked = {
        f"{template.format(fact.subject.name)}": f"{fact.object.name}."
        for fact in WORLD.facts
        for template in TEMPLATES[fact.relation]
    }
    pairs = _spoken(_pairer(phases=_only("sentence"), prefix=0.0).batch(0))
    known = [(read, said) for read, said in pairs if read in asked]
    assert len(known) > 0.6 * len(pairs)
    assert all(asked[read] == said for read, said in known)


def test_the_decoder_is_fed_its_targets_shifted_by_one() -> None:
    batch = _pairer().batch(1)
    for row in range(len(batch.ids)):
        for number in range(1, int(batch.owners[row].max()) + 1):
            here = batch.owners[row] == number
            assert batch.before[row][here].tolist() == [
                PAD,
                *batch.targets[row][here][:-1].tolist(),
            ]
    assert not batch.weights[batch.owners == 0].any()


def test_invented_statements_are_read_and_never_said() -> None:
    pairs = _spoken(_pairer(phases=_only("echo"), prefix=0.0).batch(0))
    assert all("New fact:" in read and "New fact:" not in said for read, said in pairs)
    named = [said.split(".")[0] in read for read, said in pairs]
    assert all(named)


def test_a_keyword_line_is_said_after_the_name_alone() -> None:
    pairs = _spoken(_pairer(phases=_only("keywords"), prefix=0.0).batch(0))
    names = {e.name for e in WORLD.entities} | {e.alias for e in WORLD.entities if e.alias}
    bare = [said for read, said in pairs if read in names]
    assert len(bare) > 0.3 * len(pairs)
    assert sum(len(said.split()) > 3 for said in bare) > 0.5 * len(bare)


def test_texts_cut_anywhere_are_learnt_lightly() -> None:
    batch = _pairer(prefix=1.0, phases=_only("sentence")).batch(0)
    assert any(read == "" for read, _ in _spoken(batch))
    assert float(batch.weights.max()) < 1.0
    assert len(batch.mentions) == 0
    assert (batch.ends == -1).all()


def test_read_out_positions_end_the_name_of_their_entity() -> None:
    batch = _pairer(funnel=1.0).batch(0)
    assert len(batch.mentions) > RECIPE.rows
    for row, at, who in batch.mentions.tolist():
        entity = WORLD.entities[who]
        assert batch.ends[row, at] == at
        name = str(TOKENIZER.decode(batch.ids[row][batch.ends[row] == at])).strip()
        assert name in (entity.name, entity.alias)


def test_the_funnel_hides_a_subject_but_for_its_last_token() -> None:
    pairs = torch.tensor([[1, 1, 1, 1, 1, 2, 0]])
    ends = torch.tensor([[-1, 3, 3, 3, -1, -1, -1]])  # a subject of three tokens
    owners = torch.tensor([[1, 1, 2, 0]])
    blank = torch.zeros((1, 4))
    batch = Batch(
        pairs, pairs, ends, owners, owners, blank, owners, torch.zeros((0, 3), dtype=torch.long)
    )
    masks = batch.masks()
    lower = [[1, 0, 0, 0, 1], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 1]]
    upper = [[1, 0, 0, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 0, 1, 1]]
    for mask, wanted in ((masks.lower, lower), (masks.upper, upper)):
        assert mask[0, 0, :5, :5].int().tolist() == wanted
        assert not mask[0, 0, 5:, :5].any()
        assert not mask[0, 0, :5, 5:].any()
        assert mask[0, 0].any(1).all()
    assert masks.causal[0, 0].int().tolist() == [
        [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1],
    ]  # fmt: skip
    assert masks.cross[0, 0].int().tolist() == [
        [1, 0, 0, 1, 1, 0, 0], [1, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1],
    ]  # fmt: skip


def test_the_share_of_funnelled_pairs() -> None:
    batches = [_pairer(prefix=0.0).batch(step) for step in range(3)]
    held = [
        bool((batch.ends[row][batch.pairs[row] == number] >= 0).any())
        for batch in batches
        for row in range(len(batch.ids))
        for number in range(1, int(batch.pairs[row].max()) + 1)
    ]
    assert 0.35 < sum(held) / len(held) < 0.55
