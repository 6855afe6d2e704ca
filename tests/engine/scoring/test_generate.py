from __future__ import annotations

import pytest
import torch

from patchhub.scoring.generate import decode, end_tokens, sampler
from tests.pico import VOCABULARY, pico_model

FAMILIES = ("gpt2", "gptj", "gpt_neox", "llama")
NEW = 10


def _rows(lengths: list[int], seed: int = 3) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_generate_token_for_token(family: str) -> None:
    model = pico_model(family, seed=1)
    rows = _rows([1, 7, 3, 12, 12, 5])
    ours = decode(model, rows, max_new_tokens=NEW, ends=end_tokens(model))
    for row, found in zip(rows, ours, strict=True):
        ids = torch.tensor([row])
        theirs = model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW,
        )[0, len(row) :].tolist()
        assert found == theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_beside_it_change_nothing(family: str) -> None:
    model = pico_model(family, seed=2)
    rows = _rows([9, 2, 14, 6, 6, 1, 30])
    together = decode(model, rows, max_new_tokens=NEW)
    alone = [decode(model, [row], max_new_tokens=NEW)[0] for row in rows]
    assert together == alone
    assert all(len(row) == NEW for row in together)


@pytest.mark.parametrize("family", FAMILIES)
def test_finished_rows_leave_without_disturbing_the_others(family: str) -> None:
    model = pico_model(family, seed=2)
    rows = _rows([9, 2, 14, 6, 6, 1, 30])
    full = decode(model, rows, max_new_tokens=NEW)
    limits = {tuple(row): 1 + i for i, row in enumerate(full)}

    def stop(new: list[int]) -> bool:  # row i ends after i + 1 tokens
        return any(tuple(new) == row[:limit] for row, limit in limits.items() if limit == len(new))

    short = decode(model, rows, max_new_tokens=NEW, stop=stop)  # type: ignore[arg-type]
    assert short == [row[: len(new)] for row, new in zip(full, short, strict=True)]
    assert sum(map(len, short)) < sum(map(len, full))
    assert short[0] == full[0][:1]


def test_stops_as_soon_as_every_row_has() -> None:
    model = pico_model("gpt2")
    calls = 0
    hook = model.register_forward_pre_hook(lambda *_: _count())

    def _count() -> None:
        nonlocal calls
        calls += 1

    decode(model, _rows([4, 5]), max_new_tokens=NEW, stop=lambda new: len(new) == 2)
    hook.remove()
    assert calls == 2


def test_end_token_is_the_last_one() -> None:
    model = pico_model("gpt2", seed=4)
    row = _rows([6])[0]
    plain = decode(model, [row], max_new_tokens=NEW)[0]
    end = plain[3]
    assert decode(model, [row], max_new_tokens=NEW, ends=frozenset({end}))[0] == plain[:4]


def test_nothing_to_do() -> None:
    model = pico_model("gpt2")
    assert decode(model, [], max_new_tokens=3) == []
    assert decode(model, [[1, 2]], max_new_tokens=0) == [[]]


def test_sampling_uses_the_passed_generator_only() -> None:
    model = pico_model("llama")
    rows = _rows([3, 4])
    before = torch.get_rng_state()

    def draw(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return decode(model, rows, max_new_tokens=6, choose=sampler(generator))

    assert draw(1) == draw(1) != draw(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_modes_are_left_as_they_were() -> None:
    model = pico_model("gpt2")
    model.get_submodule("transformer.h.1").train()
    modes = [module.training for module in model.modules()]
    decode(model, [[1, 2]], max_new_tokens=2)
    assert [module.training for module in model.modules()] == modes
    assert any(modes)
    assert not all(modes)
