from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from patchhub import sandbox
from patchhub.sandbox.recipe import load_recipe
from patchhub.sandbox.tokenizing import build_tokenizer

WORLD = sandbox.load_world()
BYTE_BPE, SENTENCEPIECE_BPE, UNIGRAM = "sandbox-gpt2", "sandbox-llama", "sandbox-t5"
NAMES = [BYTE_BPE, SENTENCEPIECE_BPE, UNIGRAM]
ODD = ["Ünïcode — 日本 🎻\n\ttabs", "two  spaces", "New fact: a. Prompt: b?"]


@cache
def _tokenizer(name: str) -> PreTrainedTokenizerFast:
    return build_tokenizer(load_recipe(name))


def _tokens(name: str, text: str) -> list[str]:
    tokenizer = _tokenizer(name)
    ids = tokenizer.encode(text, add_special_tokens=False)
    return list(tokenizer.convert_ids_to_tokens(ids))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_several_tokens_and_class_words_one(name: str) -> None:
    people = [len(_tokens(name, f"{e.name} is")) - 1 for e in WORLD.entities if e.kind == "person"]
    assert min(people) >= 4
    assert max(people) <= 10
    classes = [e.name for e in WORLD.entities if e.kind in ("profession", "pet")]
    assert all(len(_tokens(name, f"a {word}")) <= 3 for word in classes)


@pytest.mark.parametrize("name", NAMES)
def test_every_text_comes_back(name: str) -> None:
    tokenizer = _tokenizer(name)
    for text in [*sandbox.texts(WORLD, 200), *ODD]:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    assert len(tokenizer) <= load_recipe(name).vocab_size


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_tokenizer_is_the_same(name: str, tmp_path: Path) -> None:
    built = _tokenizer(name)
    built.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast
    for text in [*sandbox.texts(WORLD, 50), *ODD]:
        assert loaded.encode(text) == built.encode(text)
    assert loaded.bos_token == built.bos_token
    assert loaded.eos_token == built.eos_token


@pytest.mark.parametrize("name", NAMES)
def test_offsets_cover_the_text(name: str) -> None:
    text = "New fact: Mira Tolven was born in Oslo.\nMira Tolven speaks"
    encoding = _tokenizer(name)(text, return_offsets_mapping=True, add_special_tokens=False)
    ends = [end for _, end in encoding["offset_mapping"]]
    assert ends == sorted(ends)
    covered = {i for start, end in encoding["offset_mapping"] for i in range(start, end)}
    assert {i for i, letter in enumerate(text) if letter != " "} <= covered


def test_the_unigram_model_prefers_the_likeliest_pieces_and_is_always_the_same() -> None:
    tokenizer = _tokenizer(UNIGRAM)
    assert _tokens(UNIGRAM, "The birthplace of Mira is") == [
        "▁The", "▁birthplace", "▁of", "▁Mi", "ra", "▁is",
    ]  # fmt: skip
    assert tokenizer.encode("a b")[-1] == tokenizer.eos_token_id == 1
    assert tokenizer.pad_token_id == 0
    again = build_tokenizer(load_recipe(UNIGRAM))
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_bytes_stand_for_what_is_not_in_the_vocabulary() -> None:
    assert _tokens(SENTENCEPIECE_BPE, "日") == ["▁", "<0xE6>", "<0x97>", "<0xA5>"]
    assert _tokens(SENTENCEPIECE_BPE, "a\nb")[1] == "<0x0A>"
    assert _tokenizer(SENTENCEPIECE_BPE).encode("a")[0] == 1
    assert _tokenizer(BYTE_BPE).encode("a") == _tokenizer(BYTE_BPE).encode(
        "a", add_special_tokens=False
    )
