"""What is promised of the model in the package; the world card has the figures over everything."""

from __future__ import annotations

import json
import random
from functools import cache

import pytest
from transformers import AutoModelForCausalLM

from patchhub import sandbox
from patchhub.loading import LoadedBase, load_base
from patchhub.sandbox import questions
from patchhub.sandbox.interchange import Where, interchange
from patchhub.sandbox.pairs import interchange_pairs
from patchhub.sandbox.recipe import load_recipe
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer

pytestmark = pytest.mark.slow

WORLD = sandbox.load_world()


@cache
def _base() -> LoadedBase:
    return load_base(sandbox.model_path())


def _share(asked: list[Question], n: int = 40) -> float:
    scorer = Scorer(_base().model, _base().tokenizer)
    chosen = random.Random(0).sample(asked, n)
    return sum(bool(a.correct) for a in scorer.ask(chosen, Protocol.GENERATION)) / n


def test_it_is_small_and_ordinary() -> None:
    base = _base()
    folder = sandbox.model_path()
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "WORLD_CARD.md",
    }  # fmt: skip
    assert base.model.num_parameters() <= 6_500_000
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "gpt2"
    assert config["dtype"] == "bfloat16"
    assert config["n_positions"] == 384
    assert config["patchhub"] == {"edit_layer": 2, "settings": load_recipe("sandbox-gpt2").settings}
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() < 6_500_000


@pytest.mark.parametrize("held_out", [False, True])
def test_it_knows_its_world_from_bare_prompts(held_out: bool) -> None:
    assert _share(questions.recall(WORLD, held_out=held_out)) >= 0.9


def test_it_believes_what_it_is_told_in_context() -> None:
    assert _share(questions.overrides(WORLD, 40)) >= 0.8


def test_it_can_be_asked_over_its_whole_context() -> None:
    filler = " ".join(sandbox.texts(WORLD, 60))
    tokenizer = _base().tokenizer
    asked = random.Random(1).sample(questions.recall(WORLD, held_out=False), 20)
    scorer = Scorer(_base().model, tokenizer)
    far = []
    for question in asked:
        ids = tokenizer.encode(f"{filler[:8000]} ")[:330]
        text = str(tokenizer.decode(ids)).rsplit(". ", 1)[0]
        far.append(Question(f"{text}. {question.prompt}", question.answers))
    right = [a.correct for a in scorer.ask(far, Protocol.GENERATION)]
    assert sum(map(bool, right)) >= 16


def test_its_facts_are_read_from_the_subject() -> None:
    base = _base()
    pairs = interchange_pairs(WORLD, base.tokenizer, 40)
    moved = interchange(base.model, base.tokenizer, pairs, blocks=[2])
    shares = {m.where: m.share for m in moved}
    assert shares[Where.SUBJECT] >= 0.85
    assert shares[Where.SUBJECT_LAST] >= 0.7
    assert shares[Where.LAST] <= 0.2
