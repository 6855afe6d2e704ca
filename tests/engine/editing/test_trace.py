from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from patchhub.editing.passes.trace import (
    changed_output,
    computed_at,
    first_input,
    picked_for,
    replayed,
    rewrap,
    seen_inputs,
    seen_outputs,
    stopped_after,
    swapped,
    unwrap,
)
from tests.engine.editing.support import pico_base
from tests.pico import FAMILIES


class Pair(nn.Module):
    """Called by keyword, returns a tuple, as some families' blocks do."""

    def forward(self, *, hidden_states: Tensor, scale: float = 2.0) -> tuple[Tensor, str]:
        return hidden_states * scale, "attention"


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_inputs_and_outputs_of_a_down_projection_fit_its_weight(family: str) -> None:
    base = pico_base(family, torch.float64)
    path = base.arch.path("mlp_out", 1, base.model)
    module = base.model.get_submodule(path)
    before = hooks(base.model)
    with torch.no_grad(), seen_inputs({"k": module}) as keys, seen_outputs({"v": module}) as values:
        base.model(input_ids=torch.tensor([[5, 6, 7]]))
    assert hooks(base.model) == before
    assert torch.equal(module(keys["k"]), unwrap(values["v"]))


def test_keyword_inputs_and_tuples_are_understood() -> None:
    module = Pair()
    one = torch.ones(1, 2, 3)
    with (
        seen_inputs({"m": module}) as into,
        seen_outputs({"m": module}) as out,
        changed_output(module, lambda hidden: hidden + 1),
    ):
        result = module(hidden_states=one)
    assert torch.equal(into["m"], one)
    assert torch.equal(unwrap(out["m"]), 2 * one)
    assert torch.equal(result[0], 3 * one)
    assert result[1] == "attention"


def test_what_is_not_hidden_states_is_refused() -> None:
    with pytest.raises(TypeError):
        unwrap({"hidden": 1})
    with pytest.raises(TypeError):
        first_input((), {"scale": 2.0})
    assert rewrap((1, 2), torch.ones(1))[1] == 2


def test_nothing_stays_behind_when_the_body_raises() -> None:
    model = pico_base("gpt2").model
    block, head = model.get_submodule("transformer.h.0"), model.get_submodule("lm_head")
    down = model.get_submodule("transformer.h.0.mlp.c_proj")
    weight, before = down.weight, hooks(model)
    zero = torch.tensor([0])
    for manager in (
        seen_inputs({"x": block}),
        seen_outputs({"x": block}),
        changed_output(block, lambda h: h),
        stopped_after(block),
        replayed([block], torch.ones(1)),
        picked_for(head, zero, zero),
        swapped(down, "weight", torch.zeros(1)),
    ):
        with pytest.raises(RuntimeError, match="half-way"), manager:
            raise RuntimeError("half-way")
        assert hooks(model) == before
        assert "forward" not in block.__dict__
        assert down.weight is weight


def test_stopped_after_runs_nothing_above() -> None:
    model = pico_base("llama").model
    above: list[int] = []
    handle = model.get_submodule("model.layers.1").register_forward_pre_hook(
        lambda *_: above.append(1)
    )
    with stopped_after(model.get_submodule("model.layers.0")):
        model(input_ids=torch.tensor([[1, 2]]))
    handle.remove()
    assert above == []


def test_picked_positions_are_the_full_logits_there() -> None:
    model = pico_base("gptj", torch.float64).model
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    rows, positions = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1])
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        with picked_for(model.get_submodule("lm_head"), rows, positions):
            picked = model(input_ids=ids).logits[0]
    assert torch.allclose(picked, whole[rows, positions], rtol=1e-12)


def test_swapped_leaves_the_own_tensor_untouched() -> None:
    module = nn.Linear(2, 2)
    own, copy = module.weight, module.weight.detach().clone()
    with swapped(module, "weight", torch.zeros(2, 2)) as substitute:
        substitute.data.add_(1)
        assert module(torch.ones(2)).sum() == 4 + module.bias.sum()
    assert module.weight is own
    assert torch.equal(own, copy)
    assert own.requires_grad


def test_a_module_computes_only_where_it_is_told_and_all_in_other_shapes() -> None:
    module, hidden = nn.Linear(3, 2), torch.randn(2, 4, 3, generator=torch.manual_seed(0))
    hidden.requires_grad_()
    rows, positions = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 3])
    whole = module(hidden)
    with computed_at([module], rows, positions):
        some, flat = module(hidden), module(hidden.flatten(0, 1))
    assert torch.equal(some[rows, positions], whole[rows, positions])
    assert int((some != 0).any(-1).sum()) == 3
    assert torch.equal(flat.reshape(whole.shape), whole)
    (gradient,) = torch.autograd.grad(some.sum(), hidden)
    (expected,) = torch.autograd.grad(whole[rows, positions].sum(), hidden)
    assert torch.allclose(gradient, expected)
    assert "forward" not in module.__dict__
