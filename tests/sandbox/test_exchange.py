from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from patchhub import sandbox
from patchhub.sandbox.exchange import Parts
from patchhub.sandbox.packing import Packer
from patchhub.sandbox.recipe import Phase, load_recipe
from patchhub.sandbox.text import Role, Writer
from patchhub.sandbox.tokenizer import build_tokenizer
from patchhub.sandbox.train import Trainer
from patchhub.sandbox.world import SLOTS

WORLD = sandbox.load_world()
RECIPE = dataclasses.replace(
    load_recipe("sandbox-gpt2"), rows=6, phases=(Phase(0, {"exchange": 0.5, "sentence": 0.5}),)
)
TOKENIZER = build_tokenizer(RECIPE.vocab_size, RECIPE.context)
WIDTH = 64


@pytest.fixture
def parts() -> Parts:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Parts(WORLD, WIDTH)


def test_only_the_named_parts_change_and_they_become_the_donors(parts: Parts) -> None:
    own, donors = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(1)).unbind(0)
    chosen = torch.full((3, len(SLOTS)), -1)
    chosen[0, 2], chosen[1, :] = 1, 2
    axes = parts.axes()
    mixed = parts.exchanged(own, donors, chosen, axes)
    before, given, after = ((x @ axes).view(3, len(SLOTS), -1) for x in (own, donors, mixed))
    torch.testing.assert_close(after[0, 2], given[1, 2])
    torch.testing.assert_close(after[1], given[2])
    kept = chosen < 0
    torch.testing.assert_close(after[kept], before[kept])
    torch.testing.assert_close(mixed[2], own[2])
    # What belongs to no relation is never exchanged.
    rest = torch.eye(WIDTH) - axes @ axes.T
    torch.testing.assert_close(mixed @ rest, own @ rest, atol=1e-5, rtol=1e-5)


def test_axes_are_orthonormal(parts: Parts) -> None:
    axes = parts.axes()
    torch.testing.assert_close(axes.T @ axes, torch.eye(axes.shape[1]), atol=1e-5, rtol=1e-5)


def test_a_mixed_sentence_has_the_donors_answer() -> None:
    writer, rng = Writer(WORLD), random.Random(0)
    people = {entity.id: entity for entity in WORLD.of_kind("person")}  # type: ignore[arg-type]
    foreign = 0
    for _ in range(300):
        document = writer.document({"exchange": 1.0}, rng)
        (subject,) = [p for p in document.pieces if p.role is Role.SUBJECT]
        answer = next(p.text for p in document.pieces if p.role is Role.ANSWER).strip()
        own = people[subject.entity or ""]
        assert own not in document.donors.values()
        truth = {
            WORLD.facts_of(document.donors.get(slot, own))[slot].object.name
            for slot in SLOTS
            if slot in WORLD.facts_of(document.donors.get(slot, own))
        }
        assert answer in truth
        foreign += answer not in {fact.object.name for fact in WORLD.facts_of(own).values()}
    assert 0.3 < foreign / 300 < 0.6


def test_mixed_subjects_keep_the_funnel_in_every_row() -> None:
    batch = Packer(WORLD, dataclasses.replace(RECIPE, funnel=0.0), TOKENIZER).batch(0)
    assert batch.swaps is not None
    assert len(batch.swaps.places) > 10
    for row, at in batch.swaps.places.tolist():
        assert batch.ends[row, at] == at
    hidden = (batch.ends < 1 << 20).sum()
    assert hidden < 12 * len(batch.swaps.places)


def test_donors_are_people_by_name() -> None:
    swaps = Packer(WORLD, RECIPE, TOKENIZER).batch(0).swaps
    assert swaps is not None
    names = {entity.name for entity in WORLD.of_kind("person")}  # type: ignore[arg-type]
    for ids, end in zip(swaps.donors.tolist(), swaps.ends.tolist(), strict=True):
        assert TOKENIZER.decode(ids[1 : end + 1]) in names
    assert swaps.parts.max() < len(swaps.donors)


def test_phases_without_mixed_sentences_cost_nothing() -> None:
    plain = dataclasses.replace(RECIPE, phases=(Phase(0, {"sentence": 1.0}),))
    assert Packer(WORLD, plain, TOKENIZER).batch(0).swaps is None


def test_the_exchange_reaches_the_answer() -> None:
    tiny = dataclasses.replace(
        RECIPE, width=64, blocks=2, heads=4, enriching_blocks=1, row_length=64, funnel=1.0
    )
    trainer = Trainer(tiny, "cpu")
    batch = trainer.packer.batch(0)
    mixed, _ = trainer.losses(batch)
    plain, _ = trainer.losses(dataclasses.replace(batch, swaps=None))
    assert float(mixed.detach()) != float(plain.detach())
    mixed.backward()  # type: ignore[no-untyped-call]
    assert trainer.parts.basis.grad is not None
    assert trainer.parts.basis.grad.abs().sum() > 0
