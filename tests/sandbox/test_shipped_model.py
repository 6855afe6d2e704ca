"""What is promised of the decoder-only models; their world cards have all the figures."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from patchhub import sandbox
from patchhub.loading import LoadedBase, load_base
from patchhub.locating.interchange import Where, interchange
from patchhub.sandbox import questions
from patchhub.sandbox.pairs import interchange_pairs
from patchhub.sandbox.recipe import load_recipe
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer

pytestmark = pytest.mark.slow

WORLD = sandbox.load_world()


GPT2 = sandbox.model_path()
LLAMA = Path(__file__).parent.parent / "models" / "sandbox-llama"
BOTH = pytest.mark.parametrize("folder", [GPT2, LLAMA], ids=lambda folder: folder.name)


@cache
def _base(folder: Path) -> LoadedBase:
    return load_base(folder)


def _share(folder: Path, asked: list[Question], n: int = 40) -> float:
    scorer = Scorer(_base(folder).model, _base(folder).tokenizer)
    chosen = random.Random(0).sample(asked, n)
    return sum(bool(a.correct) for a in scorer.ask(chosen, Protocol.GENERATION)) / n


@BOTH
def test_it_is_small_and_ordinary(folder: Path) -> None:
    recipe = load_recipe(folder.name)
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "WORLD_CARD.md",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == recipe.family
    assert config["dtype"] == "bfloat16"
    assert config["patchhub"] == {"edit_layer": 2, "settings": recipe.settings}
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() <= 6_500_000
    assert model.config.max_position_embeddings == recipe.context


def test_all_models_together_are_small() -> None:
    homes = (GPT2.parent, LLAMA.parent)
    sizes = [p.stat().st_size for home in homes for p in home.rglob("*") if p.is_file()]
    assert sum(sizes) <= 40_000_000


def test_the_llama_is_what_it_is_named_after() -> None:
    config = _base(LLAMA).model.config
    assert config.num_key_value_heads < config.num_attention_heads
    assert not config.tie_word_embeddings
    assert config.hidden_act == "silu"


@BOTH
@pytest.mark.parametrize("held_out", [False, True])
def test_it_knows_its_world_from_bare_prompts(folder: Path, held_out: bool) -> None:
    assert _share(folder, questions.recall(WORLD, held_out=held_out)) >= 0.9


@BOTH
def test_it_believes_what_it_is_told_in_context(folder: Path) -> None:
    assert _share(folder, questions.overrides(WORLD, 40)) >= 0.8


@BOTH
def test_it_can_be_asked_over_its_whole_context(folder: Path) -> None:
    filler = " ".join(sandbox.texts(WORLD, 60))
    base = _base(folder)
    asked = random.Random(1).sample(questions.recall(WORLD, held_out=False), 20)
    far = []
    for question in asked:
        ids = base.tokenizer.encode(f"{filler[:8000]} ")[:330]
        text = str(base.tokenizer.decode(ids, skip_special_tokens=True)).rsplit(". ", 1)[0]
        far.append(Question(f"{text}. {question.prompt}", question.answers))
    right = [a.correct for a in Scorer(base.model, base.tokenizer).ask(far, Protocol.GENERATION)]
    assert sum(map(bool, right)) >= 16


@BOTH
def test_its_facts_are_read_from_the_subject(folder: Path) -> None:
    base = _base(folder)
    pairs = interchange_pairs(WORLD, base.tokenizer, 40)
    moved = interchange(base.model, base.tokenizer, pairs, blocks=[2])
    shares = {m.where: m.share for m in moved}
    assert shares[Where.SUBJECT] >= 0.85
    assert shares[Where.SUBJECT_LAST] >= 0.7
    assert shares[Where.LAST] <= 0.2
