"""MEMIT's family against the plain references in float64."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.composer.composer import Composer
from patchhub.editing.editor import Editor, run_editor
from patchhub.errors import InvalidInputError
from patchhub.methods import alphaedit, emmet, memit, pmet
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.engine.editing.support import pico_context, pico_moments
from tests.engine.methods.batches import (
    ENDS,
    FAMILIES,
    MIXED,
    WIDE,
    change,
    facts_of,
    found_solution,
    pmet_changes,
    reference_changes,
    relative,
)
from tests.reference import alphaedit_reference, emmet_reference, memit_reference

Batch = tuple[EditRequest, ...]
CASES: list[tuple[Batch, dict[str, Any]]] = [
    (ENDS, {"layers": (0, 1), "clamp": 4.0, "steps": 8}),
    (MIXED, {"layers": (0,), "lr": 0.1, "steps": 8}),
]
IDS = ["two layers", "one layer, one subject twice"]


def moment(family: str, layer: int) -> Tensor:
    return pico_moments(family, WIDE).second(layer)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("batch", "shared"), CASES, ids=IDS)
def test_memit_equals_the_reference(family: str, batch: Batch, shared: dict[str, Any]) -> None:
    settings = memit.MemitSettings(covariance_weight=0.5, **shared)
    found = found_solution(pico_context(family, WIDE), batch, settings, memit.formula)
    layers = settings.layers or ()
    changes, keys, _ = reference_changes(
        family,
        batch,
        settings,
        lambda i, K, R: memit_reference.update(K, R, moment(family, layers[i]), 0.5),
    )
    for i, layer in enumerate(layers):
        assert relative(found.keys[layer].T, keys[i]) < 1e-9
        assert relative(change(found, layer), changes[i]) < 1e-9
    assert found.residuals.norm() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [ENDS[:1], MIXED], ids=["one", "batch"])
def test_emmet_equals_the_reference_and_memit_with_the_product(family: str, batch: Batch) -> None:
    settings = emmet.EmmetSettings(layers=(0,), covariance_weight=3.0, slack=0.2, steps=6)
    context = pico_context(family, WIDE)
    found = change(found_solution(context, batch, settings, emmet.formula), 0)
    (wanted,), *_ = reference_changes(
        family,
        batch,
        settings,
        lambda i, K, R: emmet_reference.update(K, R, moment(family, 0), 3.0, 0.2),
    )
    assert relative(found, wanted) < 1e-9
    same = memit.MemitSettings(layers=(0,), covariance_weight=3.0 * 0.2, steps=6)
    other = change(found_solution(context, batch, same, memit.formula), 0)
    assert (relative(found, other) < 1e-9) == (len(batch) > 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("batch", "layers"), [(ENDS, (0, 1)), (MIXED, (0,))], ids=IDS)
def test_pmet_equals_the_reference_and_gives_each_layer_its_share(
    family: str, batch: Batch, layers: tuple[int, ...]
) -> None:
    settings = pmet.PmetSettings(layers=layers, covariance_weight=0.5, steps=8, clamp=2.0)
    found = found_solution(pico_context(family, WIDE), batch, settings, pmet.formula)
    changes, keys, missing = pmet_changes(
        family,
        batch,
        settings,
        lambda i, K, R: memit_reference.update(K, R, moment(family, layers[i]), 0.5),
    )
    for i, layer in enumerate(layers):
        assert relative(found.keys[layer].T, keys[i]) < 1e-9
        assert relative(change(found, layer), changes[i]) < 1e-9
        # What is missing when the layer's turn comes, over the root of the layers left.
        assert relative(found.factors[layer][1] * (len(layers) - i) ** 0.5, missing[i]) < 1e-9
    assert relative(found.factors[0][1], found.residuals.T / len(layers) ** 0.5) < 1e-9
    assert found.residuals.norm() > 0.1


def confined(family: str, ridge: float = 0.3) -> alphaedit.AlphaEditSettings:
    """Settings whose null space has about forty dimensions in block 0."""
    below = float(pico_moments(family, WIDE).spectrum(0)[0][40]) * 1.001
    return alphaedit.AlphaEditSettings(layers=(0, 1), ridge=ridge, null_below=below, steps=6)


def alphaedit_update(
    family: str, settings: alphaedit.AlphaEditSettings, below: Sequence[Patch]
) -> memit_reference.Solve:
    def solve(number: int, keys: Tensor, residuals: Tensor) -> Tensor:
        past = torch.zeros(len(keys), len(keys), dtype=WIDE)
        for patch in below:
            rows = patch.state[f"keys.{number}"].double()
            past += rows.T @ rows
        project = alphaedit_reference.projector(moment(family, number), settings.null_below)
        return alphaedit_reference.update(keys, residuals, project, past, settings.ridge)

    return solve


@pytest.mark.parametrize("family", FAMILIES)
def test_alphaedit_equals_the_reference_over_two_batches(family: str) -> None:
    settings, context = confined(family), pico_context(family, WIDE)
    first = run_editor(alphaedit.EDITOR, context, ENDS[:2], settings)
    below: tuple[Patch, ...] = ()
    with ExitStack() as stack:
        for batch in (ENDS[:2], ENDS[2:]):
            now = replace(context, below=below)
            found = found_solution(now, batch, settings, alphaedit.formula)
            solve = alphaedit_update(family, settings, below)
            changes, _, edited = reference_changes(family, batch, settings, solve)
            for layer, wanted in enumerate(changes):
                project = alphaedit_reference.projector(moment(family, layer), settings.null_below)
                assert relative(change(found, layer), wanted) < 1e-9
                assert (wanted - wanted @ project).norm() < 1e-9 * wanted.norm()
                # The keys to remember are those on the updated weights.
                down = edited.get_submodule(context.base.arch.path("mlp_out", layer, edited))
                again = [memit_reference.key_of(edited, down, f) for f in facts_of(family, batch)]
                assert relative(found.keys[layer], torch.stack(again)) < 1e-9
            if not below:
                below = (first,)
                stack.enter_context(Composer.over(context.base).applied(first))


@pytest.mark.parametrize("editor", [alphaedit.EDITOR, memit.EDITOR], ids=["own", "of another"])
def test_past_keys_change_the_update_and_keep_the_past_outputs(editor: Editor) -> None:
    family, batch = "gpt2", ENDS[2:]
    settings, context = confined(family, ridge=1e-6), pico_context(family, WIDE)
    own = settings if editor is alphaedit.EDITOR else {"layers": (0, 1), "steps": 3}
    first = run_editor(editor, context, ENDS[:2], own)
    moved = []
    for below in ((), (first,)):
        now = replace(context, below=below)
        found = found_solution(now, batch, settings, alphaedit.formula)
        update = change(found, 0)
        moved.append(float((update @ first.state["keys.0"].T.double()).norm()))
        assert relative(update @ found.keys[0].T, found.factors[0][1]) < 1e-3
    assert moved[1] < 1e-4 * moved[0]


def test_without_a_null_space_alphaedit_says_what_to_set() -> None:
    settings = alphaedit.AlphaEditSettings(layers=(0,), null_below=1e-12)
    with pytest.raises(InvalidInputError, match="null_share") as error:
        run_editor(alphaedit.EDITOR, pico_context("gpt2"), ENDS, settings)
    assert error.value.code == "E142"


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_a_share_of_the_keys_energy_bounds_what_an_update_moves(share: float) -> None:
    """E‖P k‖² ≤ share · E‖k‖², and no further direction fits."""
    values, vectors = pico_moments("llama", WIDE).spectrum(0)
    settings = alphaedit.AlphaEditSettings(null_share=share)
    count = alphaedit.null_basis(values, vectors, settings).shape[1]
    limit = share * float(values.sum())
    assert float(values[:count].sum()) <= limit * (1 + 1e-12)
    assert count == len(values) or float(values[: count + 1].sum()) > limit
