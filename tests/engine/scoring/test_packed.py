"""Rows as one tree: the same numbers as plain rows, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from patchhub.scoring import packable, packed
from patchhub.scoring.asking import asking
from patchhub.scoring.batching import Pair, evaluating
from patchhub.scoring.generate import decode, end_tokens
from patchhub.scoring.packable import LONGEST, longest
from patchhub.scoring.trie import Trie, in_runs
from tests.pico import DECODER_ONLY, VOCABULARY, pico_model

WINDOW = 16
WINDOWED = ("gemma2", "gemma3_text", "gemma3")
NEW = 6


def _pairs(longest_row: int) -> list[Pair]:
    """Two groups with a beginning of their own, two candidates each, and single rows."""
    make = torch.Generator().manual_seed(1)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, VOCABULARY, (n,), generator=make).tolist())

    pairs = [Pair(ids(1), ids(2)), Pair(ids(longest_row - 4), ids(4)), Pair(ids(2), ())]
    for start in (ids(5), ids(7)):
        for middle in (ids(1), ids(3)):
            pairs += [Pair(start + middle, ids(n)) for n in (1, 3)]
    return pairs


def _plain(model: PreTrainedModel, pair: Pair) -> Tensor:
    ids = torch.tensor([pair.given + pair.wanted])
    with torch.no_grad():
        logits: Tensor = model(ids).logits[0]
    return logits[len(pair.given) - 1 : -1]


def _generated(model: PreTrainedModel, row: list[int]) -> list[int]:
    ids = torch.tensor([row])
    generate: Any = model.generate
    found = generate(ids, attention_mask=ids * 0 + 1, do_sample=False, max_new_tokens=NEW)
    return list(found[0, len(row) :].tolist())


@pytest.mark.parametrize("family", DECODER_ONLY)
def test_logits_along_answers_are_those_of_plain_rows(family: str) -> None:
    model = pico_model(family, seed=3)
    assert longest(model) != 0
    assert (longest(model) == WINDOW) is (family in WINDOWED)
    pairs = _pairs(WINDOW)
    with evaluating(model):
        found = list(asking(model).predict(pairs))
    for pair, logits in zip(pairs, found, strict=True):
        assert logits.shape == (len(pair.wanted), VOCABULARY)
        torch.testing.assert_close(logits, _plain(model, pair), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", DECODER_ONLY)
def test_greedy_tokens_are_those_of_generate(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "NODES", 16)  # so that the tree is read in slices
    model = pico_model(family, seed=4)
    rows = [list(pair.given) for pair in _pairs(WINDOW - NEW)]
    ours = decode(model, rows, max_new_tokens=NEW, ends=end_tokens(model))
    assert ours == [_generated(model, row) for row in rows]


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama", "gemma2"])
def test_rows_that_share_most_go_on_in_the_tree(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_SHARED", 0)
    model = pico_model(family, seed=8)
    rows = [list(pair.given) for pair in _pairs(WINDOW - NEW)]
    assert isinstance(packed.begin(model, rows, NEW), packed.TreeContinuation)
    alone = [_generated(model, row) for row in rows]
    assert decode(model, rows, max_new_tokens=NEW, ends=end_tokens(model)) == alone
    # Rows end one by one, and are dropped.
    limits = {tuple(row[: 1 + i]) for i, row in enumerate(alone)}
    short = decode(model, rows, max_new_tokens=NEW, stop=lambda new: tuple(new) in limits)
    assert short == [row[: len(new)] for row, new in zip(alone, short, strict=True)]
    assert sum(map(len, short)) < sum(map(len, alone))


def test_a_long_beginning_shared_by_all_is_a_tree() -> None:
    model = pico_model("gpt2")
    start = list(range(1, 51))
    rows = [[*start, i] for i in range(60, 92)]
    assert isinstance(packed.begin(model, rows, 4), packed.TreeContinuation)
    assert isinstance(packed.begin(model, rows, 40), packed.SpreadContinuation)


@pytest.mark.parametrize("family", WINDOWED)
def test_rows_beyond_a_window_are_not_packed(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pico_model(family, seed=5)
    pairs = _pairs(3 * WINDOW)
    with evaluating(model):
        wrong = list(packed.predict(model, pairs))
        right = list(asking(model).predict(pairs))
    assert not torch.allclose(wrong[1], _plain(model, pairs[1]), atol=1e-3)
    torch.testing.assert_close(right[1], _plain(model, pairs[1]), atol=2e-5, rtol=1e-5)
    row = list(pairs[1].given)
    assert decode(model, [row], max_new_tokens=NEW, ends=end_tokens(model)) == [
        _generated(model, row)
    ]


def test_a_model_that_heeds_no_mask_of_ours_is_asked_plainly() -> None:
    model = pico_model("llama", seed=6)
    inner: Any = model
    body = inner.model
    plain = body.forward

    def forward(**inputs: Any) -> Any:
        mask = inputs.get("attention_mask")
        if mask is not None and mask.ndim == 4:  # as if it made its own
            inputs["attention_mask"] = None
        return plain(**inputs)

    body.forward = forward
    assert longest(model) == 0
    pairs = _pairs(WINDOW)
    with evaluating(model):
        found = list(asking(model).predict(pairs))
    del body.forward
    for pair, logits in zip(pairs, found, strict=True):
        torch.testing.assert_close(logits, _plain(model, pair), atol=2e-5, rtol=1e-5)


def test_a_broken_model_is_judged_when_it_is_whole() -> None:
    model = pico_model("gpt2", seed=7)
    weight = model.get_parameter("transformer.h.0.mlp.c_fc.weight")
    kept = weight.clone()
    weight.fill_(torch.nan)
    assert longest(model) == 0
    weight.copy_(kept)
    assert longest(model) == LONGEST


def test_shared_beginnings_are_computed_once() -> None:
    model = pico_model("gpt2")
    assert longest(model) == LONGEST
    seen: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    start = tuple(range(1, 21))
    with evaluating(model):
        list(asking(model).predict([Pair(start, (30, 31)), Pair(start, (40, 41, 42))]))
    decode(model, [[*start, 50], [*start, 51], list(start)], max_new_tokens=2)
    hook.remove()
    # Nothing is predicted from an answer's last token.
    assert seen == [20 + 1 + 2, 20 + 2, 3]


def test_a_tree_by_hand() -> None:
    trie = Trie([(7, 8, 9), (7, 8), (7, 5), (6,), (7, 8, 9)])
    assert trie.ids == [7, 8, 9, 5, 6]
    assert trie.depths == [0, 1, 2, 1, 0]
    assert trie.paths == [[0, 1, 2], [0, 1], [0, 3], [4], [0, 1, 2]]
    sees = [[0], [0, 1], [0, 1, 2], [0, 3], [4]]
    assert [np.flatnonzero(~line).tolist() for line in trie.hidden()] == sees


def test_runs_bound_the_tree() -> None:
    rows = [(1, 2, 3), (1, 2, 4), (1, 5), (6, 7, 8, 9, 10, 11), (6, 7)]
    assert list(in_runs(rows, 5)) == [[0, 1, 2], [3], [4]]
    assert list(in_runs(rows, 6)) == [[0, 1, 2], [3, 4]]
    assert list(in_runs(rows, 100)) == [[0, 1, 2, 3, 4]]
    assert list(in_runs([], 5)) == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("shared", [0, 4])
def test_a_row_that_breaks_leaves_the_others_as_they_are(
    family: str, shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_SHARED", shared)
    model = pico_model(family, seed=9)
    embedding: Any = model.get_input_embeddings()
    # One of its own, so that a head that is tied to it stays whole.
    embedding.weight = nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
    embedding.weight[300] = torch.nan
    good, bad = [[20, 21, 22, 23], [20, 21, 30]], [300, 41, 42]
    alone = [_generated(model, row) for row in good]
    found = decode(model, [bad, *good], max_new_tokens=NEW, ends=end_tokens(model))
    assert found[1:] == alone
    pairs = [Pair((300, 41), (42,)), *(Pair(tuple(row[:-1]), (row[-1],)) for row in good)]
    with evaluating(model):
        broken, *whole = asking(model).predict(pairs)
    assert broken.isnan().all()
    for pair, logits in zip(pairs[1:], whole, strict=True):
        torch.testing.assert_close(logits, _plain(model, pair), atol=2e-5, rtol=1e-5)


def test_rows_too_long_for_one_pass_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pico_model("llama", seed=2)
    monkeypatch.setattr(packable, "LONGEST", 16)
    monkeypatch.setattr(packed, "predict", lambda *_: pytest.fail("packed"))
    monkeypatch.setattr(packed, "begin", lambda *_: pytest.fail("packed"))
    pair = Pair(tuple(range(1, 15)), (20, 21, 22))
    with evaluating(model):
        (logits,) = asking(model).predict([pair])
    torch.testing.assert_close(logits, _plain(model, pair), atol=2e-5, rtol=1e-5)
    row = list(pair.given)
    assert decode(model, [row], max_new_tokens=NEW, ends=end_tokens(model)) == [
        _generated(model, row)
    ]


def test_layers_that_cut_by_columns_are_not_packed() -> None:
    model = pico_model("gpt2", seed=2)
    model.config.window_size = 256
    assert longest(model) == 0
