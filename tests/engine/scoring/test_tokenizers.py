"""Where a prompt ends and its answer begins: four kinds of tokenizers, against a slow reading."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from patchhub import sandbox
from patchhub.scoring.asking import asking
from patchhub.scoring.likelihood import prefer
from patchhub.scoring.teacher_forced import teacher_force
from tests.reference.likelihood_reference import (
    Decoder,
    decoder_rows,
    mean_log_probability,
    split,
)

SHIPPED = Path(__file__).parents[2] / "models"
STORIES = Path(__file__).parents[3].parent / "shared" / "data" / "models" / "TinyStories-656K"
DIRECTORIES = {
    "byte_bpe": sandbox.model_path("sandbox-gpt2"),
    "sentencepiece_bpe": SHIPPED / "sandbox-llama",
    "unigram": SHIPPED / "sandbox-t5",
    "cross_word": STORIES,
}
KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(not path.is_dir(), reason=f"{path} is not here"))
    for kind, path in DIRECTORIES.items()
]
WORDS = (
    "Once upon a",
    "time",
    "Mira Tolven",
    "Oslo",
    "was",
    "in",
    "a little girl",
    "named",
    "Lily",
)
TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
ODD = st.text("aOs .,'-3日é\n", min_size=1, max_size=6).filter(lambda text: text.strip())
EDGES = (
    ("Once upon a", "time"),
    ("There was a little girl", "named Lily"),
    ("Mira Tolven was born in", "Oslo"),
    ("Mira Tolven was born in", " Oslo"),
    ("Mira Tolven was born in ", "Oslo"),
    ("The answer is:", "42"),
    ("She said", "'no'"),
    ("It ends here.", "The end."),
    ("", "Oslo"),
    ("x", "日本"),
)


@cache
def _tokenizer(kind: str) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(DIRECTORIES[kind])
    return found


@cache
def _model(kind: str) -> PreTrainedModel:
    """A small decoder over the tokenizer's vocabulary, whatever its own model is like."""
    settings_ = {
        "vocab_size": len(_tokenizer(kind)),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = _causal(AutoConfig.for_model("llama", **settings_))
        for parameter in model.parameters():
            parameter.data += torch.randn(parameter.shape) * 0.2
    return model.requires_grad_(False)


def _causal(config: PretrainedConfig) -> PreTrainedModel:
    build: Any = AutoModelForCausalLM
    model: PreTrainedModel = build.from_config(config).eval()
    return model


@cache
def _slow(kind: str) -> Decoder:
    model = _doubled(kind)

    def next_logits(ids: Sequence[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([list(ids)])).logits[0, -1].numpy()

    return next_logits


@cache
def _doubled(kind: str) -> PreTrainedModel:
    model = _causal(_model(kind).config).double()
    model.load_state_dict(_model(kind).state_dict())
    return model


def _check(kind: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Tokens, most likely tokens and likelihoods of a batch are those of the slow reading."""
    model, tokenizer = _model(kind), _tokenizer(kind)
    forced = teacher_force(model, tokenizer, pairs)
    compared = prefer(model, tokenizer, [(prompt, answer, "x") for prompt, answer in pairs])
    for (prompt, answer), found, (preference, along) in zip(pairs, forced, compared, strict=True):
        before, wanted = split(tokenizer, prompt, answer)
        rows = decoder_rows(_slow(kind), before, wanted)
        assert found == along
        assert found.wanted == tuple(wanted)
        assert found.predicted == tuple(rows.argmax(1).tolist())
        assert preference.answer == pytest.approx(mean_log_probability(rows, wanted), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_single_steps(kind: str) -> None:
    _check(kind, [pair for pair in EDGES if pair[0]])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(prompts=st.lists(TEXT | ODD, min_size=2, max_size=3), answer=TEXT | ODD)
def test_no_token_is_lost_or_shifted(kind: str, prompts: list[str], answer: str) -> None:
    """Prompt and answer together are the tokens of the whole text, cut where the answer begins."""
    # This one's vocabulary has no bytes to fall back to, so that it cannot say what it read.
    assume(kind != "cross_word" or "".join([*prompts, answer]).isascii())
    tokenizer = _tokenizer(kind)
    pairs = [(prompt, answer) for prompt in prompts]
    for (prompt, _), pair in zip(pairs, asking(_model(kind)).pairs(tokenizer, pairs), strict=True):
        assert (list(pair.given), list(pair.wanted)) == split(tokenizer, prompt, answer)
        assert pair.given
        assert pair.wanted
        said = str(tokenizer.decode(list(pair.wanted), skip_special_tokens=True))
        # The answer's tokens say the whole answer; a token over the boundary adds to its front.
        assert _plain(said).endswith(_plain(answer))


def _plain(text: str) -> str:
    return "".join(text.split())


def _crosses(kind: str, prompt: str, answer: str) -> bool:
    """Whether one token holds signs of both."""
    spans = _tokenizer(kind)(f"{prompt} {answer}", return_offsets_mapping=True)["offset_mapping"]
    return any(start < len(prompt) and end > len(prompt) + 1 for start, end in spans)


def test_three_kinds_end_a_token_where_a_word_ends() -> None:
    for kind in ("byte_bpe", "sentencepiece_bpe", "unigram"):
        assert not any(_crosses(kind, *pair) for pair in EDGES[:3])


@pytest.mark.skipif(not STORIES.is_dir(), reason="TinyStories-656K is not here")
def test_a_token_over_the_boundary_is_the_answers() -> None:
    tokenizer = _tokenizer("cross_word")
    crossing = [pair for pair in EDGES if pair[0] and _crosses("cross_word", *pair)]
    assert ("Once upon a", "time") in crossing
    for found, (prompt, answer) in zip(
        teacher_force(_model("cross_word"), tokenizer, crossing), crossing, strict=True
    ):
        whole = tokenizer(f"{prompt} {answer}")["input_ids"]
        alone = tokenizer(prompt)["input_ids"]
        # The prompt's own tokens are no beginning of the whole: who counts them, counts wrongly.
        assert whole[: len(alone)] != alone
        first = str(tokenizer.decode([found.wanted[0]]))
        assert len(_plain(first)) > 1
        assert not _plain(answer).startswith(_plain(first))


@pytest.mark.skipif(not STORIES.is_dir(), reason="TinyStories-656K is not here")
def test_a_third_party_model_scores_as_single_steps_do() -> None:
    tokenizer = _tokenizer("cross_word")
    load: Any = AutoModelForCausalLM
    model, double = (
        load.from_pretrained(STORIES, dtype=dtype).eval()
        for dtype in (torch.float32, torch.float64)
    )

    def slow(ids: Sequence[int]) -> Any:
        with torch.no_grad():
            return double(torch.tensor([list(ids)])).logits[0, -1].numpy()

    pairs = [pair for pair in EDGES if pair[0]]
    for (prompt, answer), (found, _) in zip(
        pairs, prefer(model, tokenizer, [(p, a, "Lily") for p, a in pairs]), strict=True
    ):
        before, wanted = split(tokenizer, prompt, answer)
        rows = decoder_rows(slow, before, wanted)
        assert found.answer == pytest.approx(mean_log_probability(rows, wanted), abs=2e-4)
    assert np.isfinite(found.rival)


@pytest.mark.parametrize("kind", KINDS)
def test_one_space_however_it_is_written(kind: str) -> None:
    model, tokenizer = _model(kind), _tokenizer(kind)
    asked = [(prompt, answer, "Rome") for prompt, answer in EDGES[2:4]]
    plain, spaced = prefer(model, tokenizer, asked)
    assert plain == spaced


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_prompt_starts_anew(kind: str) -> None:
    answers = ["Oslo is", "is"]
    for answer, found in zip(
        answers,
        teacher_force(_model(kind), _tokenizer(kind), [("", a) for a in answers]),
        strict=True,
    ):
        assert str(_tokenizer(kind).decode(list(found.wanted))).strip() == answer
        assert len(found.predicted) == len(found.wanted)
