"""What is promised of the encoder-decoder model; its world card has the figures over everything."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import pytest

from patchhub import sandbox
from patchhub.loading import LoadedBase, load_base
from patchhub.locating.interchange import Where, interchange
from patchhub.sandbox import questions
from patchhub.sandbox.pairs import interchange_pairs
from patchhub.sandbox.recipe import load_recipe
from patchhub.scoring.divergence import perplexity
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "models" / "sandbox-t5"
WORLD = sandbox.load_world()


@cache
def _base() -> LoadedBase:
    return load_base(FOLDER)


def _share(asked: list[Question], n: int = 40) -> float:
    scorer = Scorer(_base().model, _base().tokenizer)
    chosen = random.Random(0).sample(asked, n)
    return sum(bool(a.correct) for a in scorer.ask(chosen, Protocol.GENERATION)) / n


def test_it_is_small_and_ordinary() -> None:
    assert {p.name for p in FOLDER.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "WORLD_CARD.md",
    }  # fmt: skip
    model = _base().model
    assert model.num_parameters() <= 6_500_000
    assert model.get_parameter("lm_head.weight") is not model.get_parameter("shared.weight")
    assert (FOLDER / "model.safetensors").stat().st_size <= 13_000_000
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["model_type"] == "t5"
    assert config["dtype"] == "bfloat16"
    assert config["feed_forward_proj"] == "gated-gelu"
    assert config["patchhub"] == {
        "edit_layer": 2, "edit_stack": "encoder", "settings": load_recipe("sandbox-t5").settings,
    }  # fmt: skip


@pytest.mark.parametrize("held_out", [False, True])
def test_it_knows_its_world_from_bare_prompts(held_out: bool) -> None:
    assert _share(questions.recall(WORLD, held_out=held_out)) >= 0.9


def test_it_believes_what_it_is_told_in_context() -> None:
    assert _share(questions.overrides(WORLD, 40)) >= 0.8


def test_its_answers_are_likely_token_by_token() -> None:
    scorer = Scorer(_base().model, _base().tokenizer)
    asked = random.Random(2).sample(questions.recall(WORLD, held_out=False), 40)
    scores = [answer.score for answer in scorer.ask(asked, Protocol.TEACHER_FORCED)]
    assert sum(scores) / len(scores) >= 0.95


def test_texts_of_its_world_are_likelier_than_scrambled_ones() -> None:
    scorer = Scorer(_base().model, _base().tokenizer)
    texts = sandbox.texts(WORLD, 30)
    rng = random.Random(3)
    scrambled = [" ".join(rng.sample(words := text.split(), len(words))) for text in texts]
    assert 3 * perplexity(scorer.texts(texts)) < perplexity(scorer.texts(scrambled))


def test_its_facts_are_read_from_the_subject() -> None:
    base = _base()
    pairs = interchange_pairs(WORLD, base.tokenizer, 40)
    shares = {m.where: m.share for m in interchange(base.model, base.tokenizer, pairs, blocks=[2])}
    assert shares[Where.SUBJECT] >= 0.85
    assert shares[Where.LAST] <= 0.2
