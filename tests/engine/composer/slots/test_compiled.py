"""A compiled model: patches come and go, and nothing is compiled anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model  # type: ignore[import-untyped]
from accelerate.hooks import remove_hook_from_submodules  # type: ignore[import-untyped]
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from patchhub.composer.composer import Composer
from patchhub.composer.slots.room import Room
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from tests.engine.composer.slots.support import (
    MLP_OUT,
    PROMPTS,
    batch,
    blocks_on,
    change_on,
    neurons_on,
    values_on,
)
from tests.engine.composer.support import loaded
from tests.engine.stacks import patch_on

HIGH = MLP_OUT["gpt2"].format(1)
ROOM = Room(ranks=8, keys=8, deltas=1, neurons=4, sets=4)


@pytest.fixture
def base(tmp_path: Path) -> LoadedBase:
    torch.set_num_threads(1)
    return loaded(tmp_path)


def read_and_go_on(model: Any, base: LoadedBase) -> Tensor:
    """Logits of a batch of prompts and of one more token of each."""
    inputs = batch(base, PROMPTS, "right")
    more = torch.cat([inputs["attention_mask"], torch.ones(4, 1, dtype=torch.long)], dim=1)
    with torch.no_grad():
        first = model(**inputs, use_cache=True)
        # One token for all: what is compared does not hang on the choice between two equals.
        second = model(
            input_ids=torch.full((4, 1), 7),
            attention_mask=more,
            past_key_values=first.past_key_values,
            use_cache=True,
        )
    return torch.cat([first.logits, second.logits], dim=1)


def every_kind(base: LoadedBase) -> list[Patch]:
    return [
        values_on(base, HIGH, PROMPTS[:2], position="all"),
        values_on(base, HIGH, PROMPTS[1:3], seed=1),
        neurons_on(base, HIGH, 1),
        neurons_on(base, HIGH, 2, gated=True),
        blocks_on(base, HIGH, [HIGH], PROMPTS[1:3]),
        change_on(base, HIGH, PROMPTS),
        patch_on(base, [HIGH], seed=3),
    ]


@pytest.mark.slow
def test_a_hundred_loads_compile_nothing(base: LoadedBase) -> None:
    patches = every_kind(base)
    composer = Composer.over(base)
    composer.reserve([HIGH], ROOM)
    bare = read_and_go_on(base.model, base)
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(base.model, backend=counter, fullgraph=True)
    assert torch.equal(read_and_go_on(compiled, base), bare)
    with composer.rows(*[[]] * 4):
        assert torch.equal(read_and_go_on(compiled, base), bare)
    graphs = counter.frame_count
    assert graphs == 4  # prompt and next token, without and with patches of single requests
    seen = set()
    for load in range(100):
        some = [patches[load % 7], patches[(load + 1 + load // 7 % 6) % 7]]
        if load % 4:
            composer.set_stack(some)
            found = read_and_go_on(compiled, base)
            wanted = found if load % 10 else read_and_go_on(base.model, base)
        else:
            composer.set_stack([])
            with composer.rows([], some[:1], some[1:], some):
                found = read_and_go_on(compiled, base)
                wanted = found if load % 8 else read_and_go_on(base.model, base)
        assert torch.allclose(found, wanted, atol=1e-6)
        seen.add(float(found.abs().sum()))
    assert counter.frame_count == graphs
    assert len(seen) > 30  # the patches do act
    composer.set_stack([])
    assert torch.equal(read_and_go_on(compiled, base), bare)
    assert counter.frame_count == graphs


@pytest.mark.parametrize("slots_first", [True, False])
def test_a_model_that_accelerate_dispatched(base: LoadedBase, slots_first: bool) -> None:
    patches = every_kind(base)
    composer = Composer.over(base)
    with composer.applied(*patches):
        wanted = read_and_go_on(base.model, base)
    bare = read_and_go_on(base.model, base)
    if slots_first:
        composer.reserve([HIGH], ROOM)
    model = dispatch_model(base.model, {"": "cpu"}, force_hooks=True)
    assert hasattr(model.get_submodule(HIGH.removesuffix(".weight")), "_hf_hook")
    if not slots_first:
        composer.reserve([HIGH], ROOM)
    assert torch.equal(read_and_go_on(model, base), bare)
    composer.set_stack(patches)
    assert torch.allclose(read_and_go_on(model, base), wanted, atol=1e-5)
    composer.set_stack([])
    assert torch.equal(read_and_go_on(model, base), bare)
    remove_hook_from_submodules(model)
    assert torch.equal(read_and_go_on(model, base), bare)
