"""Every method that writes values at keys, with its edits in one solve."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.editing.catalog import editor_names, load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.joint import JointEditor, KeyValueEditor, key_value_editor
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.editing.wording.templates import BARE
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of, weight_matrix
from tests.engine.joint.support import MAYOR, context, joint, request

METHODS: dict[str, dict[str, Any]] = {
    "rome": {"layer": 0},
    "r_rome": {"layer": 0},
    "memit": {"layers": (0, 1), "covariance_weight": 0.5},
    "pmet": {"layers": (0, 1), "covariance_weight": 0.5},
    "emmet": {"layers": (0,), "covariance_weight": 2.0},
    "alphaedit": {"layers": (0, 1), "null_share": 0.3, "ridge": 0.1},
}
MET = request("Today we met Mira Tolven", "in Rome", "Mira Tolven")
RAIN = request("It rains in Oslo", "and Paris", "Oslo")
SEEN = request("Somebody has seen Mira Tolven", "in Oslo", "Mira Tolven")
ASKED = (MAYOR, MET, RAIN, SEEN)


def solved(name: str, requests: tuple[EditRequest, ...], *earlier: Patch, **more: Any) -> Patch:
    editor = key_value_editor(load_editor(name))
    settings = {"steps": 4, **METHODS[name], **more}
    return joint(context(), requests, *earlier, editor=editor, settings=settings)


def test_they_are_all_methods_that_can() -> None:
    can = {name for name in editor_names() if isinstance(load_editor(name), KeyValueEditor)}
    assert can == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_one_by_one_in_any_order_is_at_once_and_dropped_is_never_made(name: str) -> None:
    at_once = solved(name, ASKED)
    steps = solved(name, ASKED[3:])
    for count in (2, 3, 4):
        steps = solved(name, ASKED[4 - count :][::-1], steps)
    assert steps.manifest.content == at_once.manifest.content
    assert all(torch.equal(steps.state[key], one) for key, one in at_once.state.items())
    never = solved(name, ASKED[:3])
    assert solved(name, ASKED[:3], at_once).manifest.content == never.manifest.content
    # Two subjects share no target; the two requests on one do.
    assert sorted(map(len, KeyValues.from_state(at_once).members())) == [1, 1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", METHODS)
def test_targets_from_the_methods_own_patches_are_the_same(name: str) -> None:
    settings = {"steps": 4, **METHODS[name]}
    singles = [run_editor(load_editor(name), context(), [one], settings) for one in ASKED[:3]]
    fresh = solved(name, ASKED[:3])
    recalled = solved(name, ASKED[:3], *singles)
    assert recalled.manifest.content == fresh.manifest.content


@pytest.mark.parametrize(("name", "ridge"), [("memit", 1e-7), ("pmet", 1e-7)])
def test_a_single_edit_is_the_methods_own_where_nothing_is_left_to_approximate(
    name: str, ridge: float
) -> None:
    """One token, one context, no ridge: what is handed on is what the method would measure."""
    given = replace(context("gpt2", torch.float64), templates=BARE)
    alone = request("Mira", "Rome", "Mira")
    settings = {"steps": 4, "clamp": 1.0, **METHODS[name], "covariance_weight": ridge}
    own = run_editor(load_editor(name), given, [alone], settings)
    editor = key_value_editor(load_editor(name))
    together = joint(given, [alone], editor=editor, settings=settings)
    for site in own.manifest.sites:
        one, other = (p.payload[site.tensor] for p in (own, together))
        a, b = (roles["B"].double() @ roles["A"].double() for roles in (one, other))
        assert float((a - b).norm()) < 1e-4 * float(a.norm())


def test_alphaedit_stays_in_the_null_space_of_usual_keys() -> None:
    made, given = solved("alphaedit", ASKED), context()
    assert given.moments is not None
    for layer, site in enumerate(made.manifest.sites):
        values, vectors = given.moments.spectrum(layer)
        used = vectors[:, values.cumsum(0) > 0.3 * values.sum()]
        rows: Tensor = made.payload[site.tensor]["A"].double()
        module = module_of(given.base.model, site.module)
        assert rows.shape[1] == weight_matrix(module).shape[1]
        assert float((rows @ used).norm()) < 1e-5 * float(rows.norm())


def test_of_a_batch_only_a_target_that_is_alone_is_recalled() -> None:
    """Found beside others it has other last bits."""
    editor = key_value_editor(load_editor("memit"))
    settings = {"steps": 4, **METHODS["memit"]}
    for asked, known in (((MET, RAIN), 0), ((SEEN, MET), 1)):
        batch = run_editor(editor, replace(context(), dropped=[]), asked, settings)
        again = JointEditor(editor, [batch], [batch.id])
        made = run_editor(again, replace(context(), dropped=[]), asked, settings)
        assert again.recalled == known
        assert made.manifest.content == solved("memit", asked).manifest.content
