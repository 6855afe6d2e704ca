"""What a batch of targets is estimated to take, beside what it takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from patchhub.editing.passes.budget import USUAL, Budget, Size
from patchhub.editing.targets import TargetSettings, Wanted, find_targets, wanted_for
from patchhub.editing.targets.batch import size_of
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, TEMPLATES, pico_base
from tests.pico import DECODER_ONLY


def problems(family: str) -> list[Wanted]:
    tokenizer = pico_base(family).tokenizer
    return [wanted_for(tokenizer, TEMPLATES, [one]) for one in (REQUEST, MIDDLE, AT_END)]


def held(family: str, wanted: Sequence[Wanted]) -> int:
    """Bytes that autograd holds between a step's forward and backward pass, weights apart."""
    base = pico_base(family)
    own = {p.untyped_storage().data_ptr() for p in base.model.parameters()}
    steps: list[dict[int, int]] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            steps[-1][storage.data_ptr()] = storage.nbytes()
        return tensor

    handle = base.model.register_forward_pre_hook(lambda *_: steps.append({}))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        steps.append({})
        settings = TargetSettings(steps=3, stop_loss=0.0)
        find_targets(base.model, base.arch, wanted, settings, layer=0, filler=0)
    handle.remove()
    return max(sum(step.values()) for step in steps)


@pytest.mark.parametrize("family", DECODER_ONLY)
def test_the_estimate_is_above_what_is_held_and_not_far(family: str) -> None:
    base, wanted = pico_base(family), problems(family)
    budget = Budget(base.model, base.arch, 0)
    estimate = budget.bytes([size_of(one) for one in wanted])
    taken = held(family, wanted)
    assert taken <= estimate <= 9 * taken  # two blocks count, most families run one


def test_a_budget_splits_into_groups_that_keep_it() -> None:
    base = pico_base("llama")
    budget = Budget(base.model, base.arch, 0)
    sizes = [Size(rows=5, before=4 + i % 7, tail=3 + i % 5, slots=9) for i in range(40)]
    memory = 4 * budget.bytes(sizes[:1])
    groups = budget.groups(sizes, memory)
    assert sorted(i for group in groups for i in group) == list(range(40))
    assert 1 < len(groups) < 40
    for group in groups:
        together = [sizes[i] for i in group]
        assert budget.bytes(together) <= memory or len(group) == 1
    assert budget.groups(sizes, 1) == [[i] for group in budget.groups(sizes, 1) for i in group]
    assert len(budget.groups([sizes[0]] * 40, None)) == 1
    assert 40 * budget.bytes(sizes[:1]) < USUAL


def test_long_and_short_rows_do_not_go_together() -> None:
    base = pico_base("llama")
    budget = Budget(base.model, base.arch, 0)
    short, long = (Size(rows=80, before=5, tail=tail, slots=3) for tail in (3, 30))
    assert budget.groups([long, short, long, short], None) == [[1, 3], [0, 2]]
