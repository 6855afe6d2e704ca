"""ROME and R-ROME against the plain reference: key, target and update within 1e-9 in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from patchhub.editing.catalog import load_editor
from patchhub.editing.keyvalue.rank_one import InsertSettings, factors, observe
from patchhub.editing.targets import Target, TargetSettings, Wanted, find_targets
from patchhub.editing.wording.templates import BARE
from patchhub.editing.wording.tokens import subject_row, target_row
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest
from tests.engine.editing.support import (
    AT_END,
    MIDDLE,
    REQUEST,
    TEMPLATES,
    pico_base,
    pico_context,
    pico_moments,
)
from tests.engine.methods.formulas import formula
from tests.reference import rome_reference as reference

WIDE = torch.float64


@cache
def reference_for(
    family: str, request: EditRequest, settings: TargetSettings, layer: int
) -> reference.Observed:
    base = pico_context(family, WIDE).base
    start, end = request.subject_span()
    subject = request.prompt[start:end]
    rows = reference.rows_of(
        base.tokenizer,
        list(TEMPLATES.texts),
        request.prompt[:start],
        subject,
        request.prompt[end:],
        request.target,
    )
    essence = reference.encode(base.tokenizer, subject + " is a")
    last = len(reference.encode(base.tokenizer, subject)) - 1
    return reference.observe(
        base.model,
        base.model.get_submodule(base.arch.path("mlp", layer, base.model)),
        base.model.get_submodule(base.arch.path("mlp_out", layer, base.model)),
        rows,
        (essence, last),
        reference.Settings(
            steps=settings.steps,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            clamp=settings.clamp,
            kl=settings.kl,
            stop=settings.stop_loss,
        ),
    )


def moment_of(family: str, layer: int) -> Tensor:
    return pico_moments(family, WIDE).second(layer)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("family", ["gpt2", "gptj", "gpt_neox", "llama"])
@pytest.mark.parametrize("mode", ["rome", "random_prefix", "prompt_keys", "original"])
@pytest.mark.parametrize(("layer", "request_"), [(0, MIDDLE), (1, AT_END)])
def test_key_target_and_update_equal_the_reference(
    family: str, mode: str, layer: int, request_: EditRequest
) -> None:
    settings = InsertSettings(layer=layer)
    context = pico_context(family, WIDE)
    wanted = reference_for(family, request_, TargetSettings(), layer)
    found = observe(context, request_, settings)
    assert relative(found.keys.mean(0), wanted.mean_key) < 1e-9
    assert relative(found.keys[0], wanted.keys[0]) < 1e-9
    assert relative(found.value, wanted.target) < 1e-9
    left, right, _ = factors(context, request_, settings, formula(mode), found)
    update = reference.update(wanted, moment_of(family, layer), mode)
    assert relative(torch.outer(left, right), update) < 1e-9
    assert wanted.steps_taken > 3
    assert wanted.delta.norm() > 0.1 * wanted.value.norm()


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
@pytest.mark.parametrize(
    "changes",
    [
        {"clamp": 0.3},  # binds
        {"covariance": False, "lr": 0.1, "kl": 1.0},
        {"steps": 2},
    ],
    ids=["clamped", "easyedit", "one-step"],
)
def test_settings_mean_what_the_reference_means(family: str, changes: dict[str, float]) -> None:
    settings = InsertSettings(layer=0, **changes)  # type: ignore[arg-type]
    wanted = reference_for(family, REQUEST, settings, 0)
    context = pico_context(family, WIDE)
    assert relative(observe(context, REQUEST, settings).value, wanted.target) < 1e-9
    left, right, _ = factors(context, REQUEST, settings, formula("rome"))
    moment = moment_of(family, 0) if settings.covariance else None
    assert relative(torch.outer(left, right), reference.update(wanted, moment, "rome")) < 1e-9
    radius = settings.clamp * float(wanted.value.norm())
    if changes.get("clamp") == 0.3:
        assert float(wanted.delta.norm()) == pytest.approx(radius, rel=1e-9)


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_the_loop_stops_where_the_reference_stops(family: str) -> None:
    context = pico_context(family, WIDE)
    free = InsertSettings(layer=0, weight_decay=0.0, kl=0.0, lr=0.1, clamp=100.0, stop_loss=0.0)
    losses = observe(context, REQUEST, free).losses
    assert min(losses[:6]) > losses[6] + 1e-6, "pick a request whose loss falls"
    settings = replace(free, stop_loss=losses[6] + 1e-6)
    wanted = reference_for(family, REQUEST, settings, 0)
    found = observe(context, REQUEST, settings)
    assert wanted.steps_taken == 6
    assert len(found.losses) == 7
    assert relative(found.value, wanted.target) < 1e-9


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_rome_maps_the_bare_key_to_the_target(family: str) -> None:
    """(W + ΔW) k_b + b = z, the method's own promise."""
    context = pico_context(family, WIDE)
    settings = InsertSettings(layer=1)
    found = observe(context, AT_END, settings)
    left, right, _ = factors(context, AT_END, settings, formula("rome"))
    reached = found.outputs[0] + left * (right @ found.keys[0])
    assert relative(reached, found.value) < 1e-10


def test_the_site_may_be_the_block() -> None:
    base = pico_base("gptj", WIDE)
    row = target_row(base.tokenizer, REQUEST.prompt, REQUEST.target, (0, 11))
    essence = subject_row(base.tokenizer, "Mira Tolven is a", (0, 11))
    (found,) = find_targets(
        base.model,
        base.arch,
        [Wanted((row,), essence)],
        TargetSettings(),
        layer=0,
        filler=0,
        site="block",
    )
    assert isinstance(found, Target)
    ids = torch.tensor([row.ids])
    hidden = base.model(input_ids=ids, output_hidden_states=True).hidden_states[1]
    assert relative(found.origin, hidden[0, row.lookup]) < 1e-12
    assert found.losses[-1] < found.losses[0]


def test_loss_falls_and_the_target_is_detached() -> None:
    context = pico_context("llama")
    found = observe(context, REQUEST, InsertSettings(layer=0))
    assert found.losses[-1] < found.losses[0] - 0.1
    assert not found.value.requires_grad


def test_a_loss_that_is_not_a_number_is_a_typed_error() -> None:
    context = pico_context("gpt2")
    with pytest.raises(InvalidInputError) as error:
        observe(context, REQUEST, InsertSettings(layer=0, lr=1e30, clamp=1e38))
    assert error.value.code == "E148"


def test_without_templates_the_bare_prompt_is_the_only_row() -> None:
    context = pico_context("gpt2", templates=BARE)
    assert observe(context, REQUEST, InsertSettings(layer=0)).keys.shape[0] == 1
    assert load_editor("rome").needs >= {"templates"}
