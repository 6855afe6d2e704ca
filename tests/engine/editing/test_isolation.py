"""The guard around every editor: what it puts back, and what it refuses."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from patchhub.editing.isolation import isolated, weights_digests
from patchhub.errors import IntegrityError
from tests.pico import pico_model


def numpy_state() -> bytes:
    state: tuple[Any, ...] = np.random.get_state(legacy=True)  # type: ignore[assignment]
    return bytes(state[1].tobytes())


def _misbehave(model: nn.Module) -> None:
    head = model.get_submodule("lm_head")
    down = model.get_submodule("transformer.h.0.mlp.c_proj")
    own = down.get_parameter("weight")
    with isolated(model):
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
        random.random()
        np.random.rand()
        torch.rand(1)
        head.register_forward_hook(lambda *_: None)
        head.register_forward_pre_hook(lambda *_: None)
        down.weight = nn.Parameter(torch.zeros_like(own))
        down.__dict__["forward"] = lambda x: x
        own.requires_grad_(True)
        own.grad = torch.ones_like(own)
        raise RuntimeError("half-way")


def test_everything_but_bytes_is_put_back_also_when_the_body_raises() -> None:
    model = pico_model("gpt2")
    model.train()
    model.requires_grad_(True)
    head = model.get_submodule("lm_head")
    kept = head.register_forward_hook(lambda *_: None)
    down = model.get_submodule("transformer.h.0.mlp.c_proj")
    own = down.weight
    states = random.getstate(), torch.get_rng_state(), numpy_state()
    with pytest.raises(RuntimeError, match="half-way"):
        _misbehave(model)
    assert model.training
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert list(head._forward_hooks) == [kept.id]
    assert not head._forward_pre_hooks
    assert down.weight is own
    assert "forward" not in down.__dict__
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert numpy_state() == states[2]


def _write(model: nn.Module, weight: nn.Parameter, fails: bool) -> None:
    with isolated(model):
        weight.data[3, 4] += 0.5
        if fails:
            raise RuntimeError("half-way")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_changed_bytes_are_named(fails: bool, dtype: torch.dtype) -> None:
    model = pico_model("llama", dtype=dtype)
    name = "model.layers.1.mlp.up_proj.weight"
    weight = model.get_parameter(name)
    with pytest.raises(IntegrityError) as error:
        _write(model, weight, fails)
    assert error.value.code == "E149"
    assert error.value.found == name


def test_the_smallest_change_shows() -> None:
    model = pico_model("gpt2")
    before = weights_digests(model)
    bias = model.get_parameter("transformer.h.1.mlp.c_proj.bias")
    bias.data[5] = torch.nextafter(bias.data[5], torch.tensor(9.0))
    after = weights_digests(model)
    assert [n for n in before if before[n] != after[n]] == ["transformer.h.1.mlp.c_proj.bias"]


def test_changes_that_cancel_show() -> None:
    """Two values exchanged, and a sum kept; sums over the tensor stay what they were."""
    model = pico_model("llama", dtype=torch.bfloat16)
    name = "model.layers.0.mlp.up_proj.weight"
    weight, before = model.get_parameter(name).data, weights_digests(model)
    weight[0, 0], weight[0, 1] = weight[0, 1].clone(), weight[0, 0].clone()
    exchanged = weights_digests(model)
    assert {n for n in before if before[n] != exchanged[n]} == {name}
    words = weight.view(torch.int16)
    words[1, 0] += 1
    words[1, 1] -= 1
    assert weights_digests(model)[name] not in (before[name], exchanged[name])
