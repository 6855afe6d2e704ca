"""What a joint solve takes of one target, against a reference that goes row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from patchhub.editing.joint import Form, Formula
from patchhub.editing.joint.entries import find_entry
from patchhub.editing.targets import wanted_for
from patchhub.request import EditRequest
from patchhub.sites import module_of
from tests.engine.editing.support import TEMPLATES, pico_context
from tests.engine.joint.support import BORN, LIVES, memit_mean
from tests.pico import FAMILIES, WIDTH
from tests.reference import joint_reference

MET = EditRequest(prompt="Today we met Mira Tolven", target="in Rome", subject="Mira Tolven")


def mean(keys: list[Tensor]) -> Tensor:
    others = torch.stack(keys[1:]).mean(0)
    return 0.5 * keys[0] + 0.5 * others


@pytest.mark.parametrize("site", ["block", "mlp_out"])
@pytest.mark.parametrize("group", [(BORN,), (BORN, LIVES, MET)])
@pytest.mark.parametrize("family", FAMILIES)
def test_keys_and_shares(family: str, group: tuple[EditRequest, ...], site: str) -> None:
    context = pico_context(family, torch.float64)
    model, arch = context.base.model, context.base.arch
    generator = torch.Generator().manual_seed(1)
    delta = torch.randn(WIDTH, generator=generator)
    form = Form(
        Formula((0, 1), lambda n, keys: keys, 1.0, lambda left: left**-0.5),
        site=site,
        mean=memit_mean,
        delta=lambda wanted: pytest.fail("the target is known"),
        settings=None,
        templates=TEMPLATES,
    )
    found = find_entry(context, form, group, delta)
    rows = wanted_for(context.base.tokenizer, TEMPLATES, group).rows
    prompts = [
        [
            joint_reference.Row(list(row.ids[: row.lookup + 1]), bare=i % len(TEMPLATES.texts) == 0)
            for i, row in enumerate(rows)
            if i // len(TEMPLATES.texts) == number
        ]
        for number in range(len(group))
    ]
    keys, shares = joint_reference.entry(
        model,
        [module_of(model, arch.path("mlp_out", n, model)) for n in (0, 1)],
        module_of(model, arch.path(site, 1, model)),
        prompts,
        delta.double(),
        [0.5**0.5, 1.0],
        mean,
    )
    for layer in (0, 1):  # stored in single precision
        assert torch.allclose(found.keys[layer].double(), keys[layer], rtol=3e-7, atol=1e-6)
        assert torch.allclose(found.shares[layer].double(), shares[layer], rtol=3e-7, atol=1e-6)
    assert torch.equal(found.residual, delta)
    # The lower block moves what is above: else the upper one would add a plain share.
    assert not torch.allclose(found.shares[1], delta - found.shares[0], rtol=1e-2)


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_a_budget_bounds_the_rows_of_a_pass_and_changes_nothing(family: str) -> None:
    context = pico_context(family, torch.float64)
    model = context.base.model
    form = Form(
        Formula((0, 1), lambda n, keys: keys, 1.0, lambda left: 1 / left),
        site="block",
        mean=memit_mean,
        delta=lambda wanted: torch.ones(WIDTH),
        settings=None,
        templates=TEMPLATES,
    )
    seen: list[int] = []
    whole = find_entry(context, form, (BORN, LIVES))
    with model.base_model.register_forward_pre_hook(
        lambda module, args, given: seen.append(len(given["input_ids"])), with_kwargs=True
    ):
        width = max(
            row.lookup + 1
            for row in wanted_for(context.base.tokenizer, TEMPLATES, (BORN, LIVES)).rows
        )
        token = 8 * (8 * WIDTH + 4 * len(whole.keys[0]))  # float64: 8 streams, 4 inner widths
        for memory, rows in ((1, [1] * 8), (3 * width * token, [3, 3, 2]), (10**9, [8])):
            found = find_entry(replace(context, memory=memory), form, (BORN, LIVES))
            assert seen == rows * 2  # once in each block
            seen.clear()
            for layer in (0, 1):
                assert torch.allclose(found.keys[layer], whole.keys[layer], rtol=1e-6, atol=1e-7)
                wanted, got = whole.shares[layer], found.shares[layer]
                assert torch.allclose(got, wanted, rtol=1e-6, atol=1e-7)


def test_a_key_is_of_the_base_whatever_else_is_solved_with_it() -> None:
    """Unlike MEMIT's own upper keys, it is a function of its own requests."""
    context = pico_context("llama")
    form = Form(
        Formula((0, 1), lambda n, keys: keys, 1.0, lambda left: 1 / left),
        site="block",
        mean=memit_mean,
        delta=lambda wanted: torch.ones(WIDTH),
        settings=None,
        templates=TEMPLATES,
    )
    one, again = (find_entry(context, form, (BORN,)) for _ in range(2))
    assert all(torch.equal(one.keys[n], again.keys[n]) for n in (0, 1))
    assert all(torch.equal(one.shares[n], again.shares[n]) for n in (0, 1))
    assert one.name == again.name != find_entry(context, form, (BORN, LIVES)).name
