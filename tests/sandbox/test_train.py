from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from patchhub.loading import open_model
from patchhub.sandbox.recipe import Recipe, load_recipe
from patchhub.sandbox.train import Trainer, train


def _pico(name: str) -> Recipe:
    recipe = load_recipe(name)
    return dataclasses.replace(
        recipe,
        name="pico", world="pico", threads=1, width=32, blocks=2, heads=4, key_value_heads=2,
        decoder_blocks=min(1, recipe.decoder_blocks), inner=48, enriching_blocks=1, steps=6,
        horizon=6, rows=4, row_length=48, long_every=3, long_rows=2, context=64, warm_up=2,
    )  # fmt: skip


PICO = _pico("sandbox-gpt2")
DECODERS = [PICO, _pico("sandbox-llama")]
PAIRS = _pico("sandbox-t5")
EVERY = pytest.mark.parametrize("recipe", [*DECODERS, PAIRS], ids=lambda recipe: recipe.family)
DECODER = pytest.mark.parametrize("recipe", DECODERS, ids=lambda recipe: recipe.family)


def _weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def _run(folder: Path, recipe: Recipe = PICO, stop: int | None = None) -> Trainer:
    trainer = Trainer(recipe, "cpu")

    def interrupt(running: Trainer, losses: object) -> None:
        if running.step == stop:
            raise KeyboardInterrupt

    train(trainer, folder, every=2, report=interrupt)
    return trainer


@pytest.fixture(autouse=True)
def _threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@EVERY
def test_the_same_seed_trains_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    one = _run(tmp_path / "one", recipe)
    assert _same(_weights(one), _weights(_run(tmp_path / "two", recipe)))
    other = _run(tmp_path / "other", dataclasses.replace(recipe, seed=recipe.seed + 1))
    assert not _same(_weights(one), _weights(other))


def test_an_interrupted_run_continues_to_the_same_weights(tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "cut", stop=5)
    again = Trainer(PICO, "cpu")
    assert again.load(tmp_path / "cut" / "checkpoint.pt")
    assert again.step == 4
    assert _same(_weights(_run(tmp_path / "cut")), _weights(whole))


def test_a_run_that_ends_early_is_the_beginning_of_the_longer_one(tmp_path: Path) -> None:
    short = _run(tmp_path / "short", dataclasses.replace(PICO, steps=4))
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "long", stop=5)
    longer = Trainer(PICO, "cpu")
    assert longer.load(tmp_path / "long" / "checkpoint.pt")
    assert _same(_weights(short), _weights(longer))


def test_a_checkpoint_of_another_recipe_is_not_continued(tmp_path: Path) -> None:
    _run(tmp_path)
    other = Trainer(dataclasses.replace(PICO, funnel=0.1), "cpu")
    assert not other.load(tmp_path / "checkpoint.pt")
    assert other.step == 0


def test_training_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    _run(tmp_path)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


@EVERY
def test_the_loss_falls(recipe: Recipe) -> None:
    trainer = Trainer(dataclasses.replace(recipe, learning_rate=1e-2, steps=40, horizon=40), "cpu")
    losses = [trainer.advance() for _ in range(40)]
    assert losses[-1].language < 0.7 * losses[0].language
    assert losses[-1].readout < 0.95 * losses[0].readout


def test_the_schedule_warms_up_and_comes_down_to_its_floor() -> None:
    trainer = Trainer(dataclasses.replace(PICO, horizon=100, warm_up=10), "cpu")
    rates = [trainer.learning_rate(step) for step in range(101)]
    assert rates[9] == pytest.approx(PICO.learning_rate)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(PICO.learning_rate * PICO.floor)


@DECODER
def test_the_written_out_pass_is_that_of_transformers(recipe: Recipe) -> None:
    trainer = Trainer(dataclasses.replace(recipe, funnel=0.0), "cpu")
    batch: Any = trainer.packer.batch(0)
    with torch.no_grad():
        tap, states = trainer.network.hidden_states(trainer.model, batch, 1)
        theirs = trainer.model(
            batch.ids, attention_mask=torch.ones_like(batch.ids), output_hidden_states=True
        )
    ours = trainer.model.lm_head(states)
    torch.testing.assert_close(ours, theirs.logits[:, :-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tap, theirs.hidden_states[1], atol=1e-5, rtol=1e-5)


def test_the_written_out_pass_over_pairs_is_that_of_transformers_alone() -> None:
    trainer = Trainer(dataclasses.replace(PAIRS, funnel=0.0), "cpu")
    batch: Any = trainer.packer.batch(0)
    with torch.no_grad():
        tap, states = trainer.network.hidden_states(trainer.model, batch, 1)
    logits = trainer.model.lm_head(states)
    assert int(batch.pairs.max()) > 1
    for row, pair in {(r, p) for r, line in enumerate(batch.pairs.tolist()) for p in line if p}:
        read, said = batch.pairs[row] == pair, batch.owners[row] == pair
        with torch.no_grad():
            theirs = trainer.model(
                input_ids=batch.ids[row][read][None],
                labels=batch.targets[row][said][None],
                output_hidden_states=True,
            )
        torch.testing.assert_close(logits[row][said], theirs.logits[0], atol=1e-5, rtol=1e-5)
        first = theirs.encoder_hidden_states[1][0]
        torch.testing.assert_close(tap[row][read], first, atol=1e-5, rtol=1e-5)


@DECODER
def test_under_the_funnel_later_positions_know_the_subject_by_its_last_token_only(
    recipe: Recipe,
) -> None:
    trainer = Trainer(dataclasses.replace(recipe, funnel=1.0), "cpu")
    batch: Any = trainer.packer.batch(0)
    row = batch.ends[0]
    end = int(row[row < 48].max())
    inside = (row == end).nonzero()[:-1].flatten()
    assert len(inside) > 0
    ids = batch.ids.clone()
    ids[0, inside] = (ids[0, inside] + 1) % 200
    with torch.no_grad():
        before, _ = trainer.network.hidden_states(trainer.model, batch, 1)
        changed = dataclasses.replace(batch, ids=ids)
        after, _ = trainer.network.hidden_states(trainer.model, changed, 1)
    assert torch.equal(before[0, end + 1 :], after[0, end + 1 :])
    assert not torch.equal(before[0, end], after[0, end])


@EVERY
def test_the_export_is_an_ordinary_directory(recipe: Recipe, tmp_path: Path) -> None:
    trainer = _run(tmp_path, recipe)
    folder = tmp_path / "model"
    model, tokenizer = open_model(folder)
    assert model.dtype == torch.bfloat16
    where = {"edit_stack": "encoder"} if recipe is PAIRS else {}
    assert model.config.patchhub == {"edit_layer": 0, "settings": recipe.settings, **where}
    assert tokenizer.is_fast
    assert tokenizer.eos_token == trainer.tokenizer.eos_token
    assert model.config.model_type == recipe.family
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.bfloat16())
    text = "New fact: Mira Tolven was born in Oslo."
    assert tokenizer(text)["input_ids"] == trainer.tokenizer(text)["input_ids"]
