"""ROME's and MEMIT's families on an encoder-decoder, against the plain references in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.editing.keyvalue import spread
from patchhub.editing.keyvalue.rank_one import InsertSettings, factors, observe
from patchhub.editing.targets import find_targets, wanted_for
from patchhub.methods import alphaedit, emmet, memit, pmet
from tests.engine.editing.support import (
    AT_END,
    MIDDLE,
    REQUEST,
    TEMPLATES,
    pico_context,
    pico_moments,
)
from tests.engine.methods import encoders
from tests.engine.methods.batches import MIXED, WIDE, change, found_solution, plain, relative
from tests.engine.methods.formulas import formula
from tests.reference import (
    alphaedit_reference,
    emmet_reference,
    memit_reference,
    pmet_reference,
    rome_reference,
)

LAYERS, STEPS = (0, 1), 6
SHARED: dict[str, Any] = {"layers": LAYERS, "clamp": 4.0, "steps": STEPS}


def moment(layer: int) -> Tensor:
    return pico_moments("t5", WIDE).second(layer)


@cache
def rome_observed(layer: int) -> rome_reference.Observed:
    model, own = encoders.model(), InsertSettings()
    return rome_reference.observe(
        model,
        encoders.module("mlp", layer),
        encoders.module("mlp_out", layer),
        encoders.rows_of(MIDDLE),
        encoders.essence_of(MIDDLE),
        rome_reference.Settings(STEPS, own.lr, own.weight_decay, own.clamp, own.kl, own.stop_loss),
    )


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("mode", ["rome", "random_prefix"])
def test_rome_equals_the_reference_also_in_the_last_block(mode: str, layer: int) -> None:
    """The decoder reads what the last block puts out at a subject in the middle, too."""
    context, settings = pico_context("t5", WIDE), InsertSettings(layer=layer, steps=STEPS)
    wanted, found = rome_observed(layer), observe(context, MIDDLE, settings)
    assert relative(found.keys[0], wanted.keys[0]) < 1e-9
    assert relative(found.keys.mean(0), wanted.mean_key) < 1e-9
    assert relative(found.value, wanted.target) < 1e-9
    left, right, _ = factors(context, MIDDLE, settings, formula(mode), found)
    update = rome_reference.update(wanted, moment(layer), mode)
    assert relative(torch.outer(left, right), update) < 1e-9
    assert wanted.steps_taken == STEPS - 1
    assert wanted.delta.norm() > 0.1 * wanted.value.norm()


def confined(steps: dict[str, Any]) -> alphaedit.AlphaEditSettings:
    """A null space of about forty dimensions in block 0."""
    below = float(pico_moments("t5", WIDE).spectrum(0)[0][40]) * 1.001
    return alphaedit.AlphaEditSettings(ridge=0.3, null_below=below, **steps)


def projected(number: int, keys: Tensor, residuals: Tensor) -> Tensor:
    project = alphaedit_reference.projector(moment(number), confined(SHARED).null_below)
    return alphaedit_reference.update(keys, residuals, project, torch.zeros_like(project), 0.3)


Case = tuple[Callable[..., Any], Callable[..., spread.Formula], memit_reference.Solve]
CASES: dict[str, Case] = {
    "memit": (
        lambda shared: memit.MemitSettings(covariance_weight=0.5, **shared),
        memit.formula,
        lambda i, K, R: memit_reference.update(K, R, moment(i), 0.5),
    ),
    "emmet": (
        lambda shared: emmet.EmmetSettings(covariance_weight=3.0, slack=0.2, **shared),
        emmet.formula,
        lambda i, K, R: emmet_reference.update(K, R, moment(i), 3.0, 0.2),
    ),
    "alphaedit": (confined, alphaedit.formula, projected),
}


@cache
def deltas() -> list[Tensor]:
    block, settings = encoders.module("block", 1), plain(spread.SpreadSettings(**SHARED))
    facts = encoders.facts_of(MIXED)
    return [memit_reference.find_delta(encoders.model(), block, one, settings) for one in facts]


@pytest.mark.parametrize("name", CASES)
def test_batches_equal_the_reference(name: str) -> None:
    settings, own, solve = CASES[name]
    found = found_solution(pico_context("t5", WIDE), MIXED, settings(SHARED), own)
    downs = [encoders.path("mlp_out", layer) for layer in LAYERS]
    facts = encoders.facts_of(MIXED)
    changes, keys, _ = memit_reference.write(
        encoders.model(), downs, encoders.path("block", 1), facts, deltas(), solve
    )
    assert relative(found.residuals, torch.stack(deltas())) < 1e-9
    for layer in LAYERS:
        assert relative(found.keys[layer].T, keys[layer]) < 1e-9
        assert relative(change(found, layer), changes[layer]) < 1e-9
    assert found.residuals.norm() > 0.1


def test_pmet_equals_the_reference() -> None:
    settings = pmet.PmetSettings(layers=LAYERS, covariance_weight=0.5, steps=STEPS, clamp=2.0)
    found = found_solution(pico_context("t5", WIDE), MIXED, settings, pmet.formula)
    facts, model = encoders.facts_of(MIXED), encoders.model()
    sites = encoders.module("attention_out", 1), encoders.module("mlp_out", 1)
    twin = pmet_reference.Settings(**vars(plain(settings)), nll_factor=settings.nll_factor)
    shifts = [
        pmet_reference.observe(model, *sites, one.rows, one.essence, twin).delta for one in facts
    ]
    downs = [encoders.path("mlp_out", layer) for layer in LAYERS]
    changes, _, _ = memit_reference.write(
        model,
        downs,
        downs[-1],
        facts,
        shifts,
        lambda i, K, R: memit_reference.update(K, R, moment(i), 0.5),
        lambda left: left**-0.5,
    )
    for layer in LAYERS:
        assert relative(change(found, layer), changes[layer]) < 1e-9


@pytest.mark.parametrize("site", ["mlp", "block"])
def test_targets_found_at_once_are_those_found_one_by_one_for_lack_of_memory(site: str) -> None:
    base = encoders.base()
    wanted = [wanted_for(base.tokenizer, TEMPLATES, [r], 0) for r in (REQUEST, MIDDLE, AT_END)]
    settings = InsertSettings(steps=8, stop_loss=5.4)  # met by the last one only
    given: Any = {"layer": 0, "filler": 0, "site": site}
    together = find_targets(base.model, base.arch, wanted, settings, **given)
    alone = find_targets(base.model, base.arch, wanted, settings, memory=1, **given)
    assert [len(one.losses) for one in alone] == [7, 7, 4]  # type: ignore[union-attr]
    for one, other in zip(together, alone, strict=True):
        assert relative(one.value, other.value) < 1e-9  # type: ignore[union-attr]
        assert one.losses == pytest.approx(other.losses, rel=1e-9)  # type: ignore[union-attr]
