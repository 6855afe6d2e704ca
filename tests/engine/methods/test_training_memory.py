"""A budget bounds the rows of a pass of the methods that train, and changes no result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.passes.budget import Budget
from patchhub.editing.passes.trace import trainable_copies
from patchhub.editing.training.finetune import LabelLoss
from patchhub.editing.training.labels import Labelled, labelled, longest
from patchhub.editing.training.observing import observed
from patchhub.editing.training.projections import lowest_block, projections
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_base, pico_context
from tests.pico import ARCHITECTURES

JON = EditRequest(prompt="Jon Arvel was born in", target="the city of Oslo")
FIVE = [REQUEST, MIDDLE, AT_END, JON, EditRequest(prompt="Paris is", target="big")]
WIDE = torch.float64


@contextmanager
def passes(base: LoadedBase) -> Iterator[list[int]]:
    """Rows of each pass with a gradient."""
    rows: list[int] = []

    def see(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            behind = "encoder_outputs" in kwargs
            rows.append(len(kwargs["decoder_input_ids" if behind else "input_ids"]))

    handle = base.model.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def trained(
    name: str, family: str, memory: int | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Tensor], list[int]]:
    """The changes before they are rounded, and the rows of each pass with a gradient."""
    method = import_module(f"patchhub.methods.{name}")
    real, seen = method.boxed_descent, []

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.extend(real(*args, **kwargs))
        return seen

    context = replace(pico_context(family, WIDE), memory=memory)
    settings = {"layers": (1,), "steps": 3, "lr": 1e-2}
    if name == "locft_bf":
        settings |= {"layer": settings.pop("layers")[0], "batch_size": 4}  # type: ignore[index]
    with monkeypatch.context() as patched, passes(context.base) as rows:
        patched.setattr(method, "boxed_descent", watched)
        run_editor(load_editor(name), context, FIVE, settings)
    return seen, rows


@pytest.mark.parametrize(
    ("name", "family"), [("ft", "gpt2"), ("ft", "t5"), ("lora", "gptj"), ("locft_bf", "gpt2")]
)
def test_a_step_in_several_passes_is_the_step_in_one(
    name: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, together = trained(name, family, None, monkeypatch)
    base = pico_base(family, WIDE)
    end = {"end": True} if name == "locft_bf" else {}
    each = Budget(base.model, base.arch, 1).bytes(
        [longest([labelled(base, request, **end) for request in FIVE])]  # type: ignore[arg-type]
    )
    for memory, most in ((1, 1), (4 * each - 1, 3)):
        found, rows = trained(name, family, memory, monkeypatch)
        assert max(rows) <= most < max(together)
        assert sum(rows) == sum(together)
        for one, other in zip(found, whole, strict=True):
            scale = float(other.abs().max())
            assert scale > 1e-4
            assert float((one - other).abs().max()) <= 1e-9 * scale


def test_what_is_computed_once_takes_no_more_than_half() -> None:
    base = pico_base("gpt2", WIDE)
    rows = [labelled(base, request) for request in FIVE]
    kept = LabelLoss(base, rows, 1, parts=("mlp_out",))._fixed.bytes
    assert kept > 0
    for memory, held in ((2 * kept, kept), (2 * kept - 2, 0)):
        loss = LabelLoss(base, rows, 1, parts=("mlp_out",), memory=memory)
        assert loss._fixed.bytes == held
        most = Budget(base.model, base.arch, 1).rows(longest(rows), memory - held)
        every = torch.arange(5)
        assert len(loss.portions(every)[0]) == min(most, 5)
        assert torch.cat(loss.portions(every)).equal(every)


def held(base: LoadedBase, rows: Sequence[Labelled]) -> int:
    """Bytes that autograd holds of a pass over the rows, weights apart."""
    own = {p.untyped_storage().data_ptr() for p in base.model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    path = base.arch.path("mlp_out", 0, base.model)
    with trainable_copies(base.model, [path]) as copies:
        own |= {p.untyped_storage().data_ptr() for p in copies.values()}
        loss = LabelLoss(base, rows, 0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            kept = loss()
    assert kept.requires_grad
    return sum(seen.values())


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_the_estimate_is_above_what_is_held_and_not_far(family: str) -> None:
    base = pico_base(family)
    rows = [labelled(base, request) for request in FIVE]
    estimate = len(rows) * Budget(base.model, base.arch, 0).bytes([longest(rows)])
    taken = held(base, rows)
    assert taken <= estimate <= 9 * taken


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_what_is_observed_does_not_depend_on_the_passes(family: str) -> None:
    base = pico_base(family, WIDE)
    rows = [labelled(base, request) for request in FIVE]
    paths = projections(base, (1,), ("mlp_in", "mlp_out"))
    each = Budget(base.model, base.arch, 1).bytes([longest(rows)])
    with passes(base) as one:
        whole = observed(base, rows, paths)
    for memory, most in ((None, [5]), (1, [1] * 5), (2 * each, [2, 2, 1])):
        with passes(base) as seen:
            found = observed(base, rows, paths, memory)
        assert seen == most
        for path in paths:
            for a, b in zip(found[path], whole[path], strict=True):
                assert float((a - b).abs().max()) <= 1e-9 * float(b.abs().max())
    assert one == [5]
    assert lowest_block(base, paths) == 1
    assert lowest_block(base, [base.arch.head, *paths]) == 0


def test_ultraedit_keeps_to_the_budget() -> None:
    """The normaliser goes on from batch to batch, as published, however many passes one takes."""
    context, settings = pico_context("gpt2", WIDE), {"layers": (0, 1), "batch_size": 4}
    whole = run_editor(load_editor("ultraedit"), context, FIVE, settings)
    with passes(context.base) as rows:
        made = run_editor(load_editor("ultraedit"), replace(context, memory=1), FIVE, settings)
    assert rows == [1] * 5
    for name, tensor in whole.state.items():
        assert torch.allclose(made.state[name], tensor, rtol=1e-9, atol=1e-12)
    for site, roles in whole.payload.items():
        for role, factor in roles.items():
            assert torch.allclose(made.payload[site][role], factor, rtol=1e-6, atol=1e-9)
