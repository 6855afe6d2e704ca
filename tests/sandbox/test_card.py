from __future__ import annotations

from patchhub import sandbox
from patchhub.locating.interchange import Moved, Where
from patchhub.sandbox.card import render
from patchhub.sandbox.measure import Figure
from patchhub.sandbox.recipe import load_recipe


def test_the_card_holds_every_figure_and_the_caveat() -> None:
    card = render(
        load_recipe("sandbox-gpt2"),
        sandbox.load_world(),
        5_230_592,
        [Figure("recall, trained wording", 0.987, 2604)],
        [Moved(block, where, 0.25, 300) for block in range(2) for where in Where],
        [Figure("other_relation", 0.881, 700)],
        [Figure("other_relation", 0.42, 690)],
    )
    assert "| recall, trained wording | 98.7% | 2,604 |" in card
    assert "| 1 | 25.0% | 25.0% | 25.0% |" in card
    assert "| other relation | 88.1% | 700 | 42.0% | 690 |" in card
    flowing = " ".join(card.split())
    assert "5.23 M parameters" in flowing
    assert "It promises nothing about every model" in flowing
    assert "python -m patchhub.sandbox.card" in card
    assert max(map(len, card.splitlines())) <= 120


def test_a_card_without_edits_says_how_an_encoder_was_trained() -> None:
    moved = [Moved(0, where, 0.25, 300) for where in Where]
    recipe = load_recipe("sandbox-t5")
    card = render(recipe, sandbox.load_world(), 6_400_000, [], moved, [], [])
    flowing = " ".join(card.split())
    assert "T5 v1.1 type, 5 encoder and 3 decoder blocks" in flowing
    assert "output of the encoder's block 2 at the subject's last token" in flowing
    assert "Blocks are the encoder's" in flowing
    assert "Single edits" not in card
    assert max(map(len, card.splitlines())) <= 120
