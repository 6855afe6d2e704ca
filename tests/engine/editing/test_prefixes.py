from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from patchhub.editing.passes.prefixes import Past, read, shared_lengths
from tests.engine.editing.support import pico_base
from tests.pico import FAMILIES

LONG = tuple(range(3, 15))
TEXTS = [
    (*LONG, 20, 21),
    (*LONG, 22),
    (*LONG, 23, 24, 25),
    LONG,
    (40, 41),
    (),
    (*LONG, 22),
]
"""A beginning in common, one with nothing after it, one twice, one of its own, and no text."""


def test_what_is_shared_is_what_saves_most() -> None:
    many = [(1, 2, 3, 4, n) for n in range(9)]
    assert shared_lengths([*many, (1, 2, 3, 4, 0, 9, 9), (7,), ()]) == [*[4] * 10, 0, 0]
    assert shared_lengths([(1, 2, 3), (1, 2, 4), (5, 6), (5, 7)]) == [2, 2, 1, 1]


def alone(family: str, text: tuple[int, ...]) -> Past:
    model, cache = pico_base(family, torch.float64).model, DynamicCache()
    model.base_model(input_ids=torch.tensor([text]), past_key_values=cache, use_cache=True)
    layers: list[Any] = list(cache.layers)
    return [(layer.keys, layer.values) for layer in layers]


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3_text"])
def test_together_they_are_what_each_is_alone(family: str) -> None:
    model = pico_base(family, torch.float64).model
    close = 1e-5 if family == "gemma3_text" else 1e-9  # its norms pass through float32
    read_ids: list[int] = []

    def see(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        read_ids.append(args[0].numel())

    handle = model.get_input_embeddings().register_forward_pre_hook(see)
    found = read(model, TEXTS, 0)
    handle.remove()
    assert len(read_ids) == 2
    assert sum(read_ids) < sum(map(len, dict.fromkeys(TEXTS)))
    for row, text in enumerate(TEXTS):
        if not text:
            continue
        for (keys, values), (k, v) in zip(found, alone(family, text), strict=True):
            assert keys.shape[2] == len(LONG) + 3
            assert torch.allclose(keys[row, :, -len(text) :], k[0], rtol=close, atol=close)
            assert torch.allclose(values[row, :, -len(text) :], v[0], rtol=close, atol=close)
    assert all(bool(keys.isfinite().all() and values.isfinite().all()) for keys, values in found)


def test_nothing_is_read_of_nothing() -> None:
    assert read(pico_base("gpt2").model, [(), ()], 0) == []


def test_what_shares_little_is_read_at_once() -> None:
    model = pico_base("gpt2").model
    passes: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda *_: passes.append(1))
    read(model, [(1, 2, 3, 4, 5), (1, 7, 8, 9, 10)], 0)
    handle.remove()
    assert passes == [1]
