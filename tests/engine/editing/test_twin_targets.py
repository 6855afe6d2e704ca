"""PMET's two δ against the plain reference, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch

from patchhub.editing.targets import Target, TwinSettings, Wanted, find_twin_targets, wanted_for
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, TEMPLATES, pico_base
from tests.engine.editing.test_target import relative
from tests.pico import FAMILIES
from tests.reference import pmet_reference as reference
from tests.reference.rome_reference import log_p

WIDE = torch.float64
USUAL = TwinSettings(steps=8, lr=0.2)
TIGHT = TwinSettings(steps=8, lr=0.3, clamp=0.2, weight_decay=0.3, nll_factor=0.7)
FREE = TwinSettings(steps=12, lr=0.2, clamp=20.0, weight_decay=0.0, stop_loss=0.0)


@cache
def problem(request: EditRequest) -> Wanted:
    return wanted_for(pico_base("gpt2").tokenizer, TEMPLATES, [request])


def near(family: str, rank: int) -> Wanted:
    """The bare prompt, and as its answer the token that the model takes to be the ``rank``-th."""
    base = pico_base(family, WIDE)
    row = problem(REQUEST).rows[0]
    best = log_p(base.model, list(row.ids))[row.slots[0]].topk(rank + 1).indices
    return Wanted((replace(row, labels=(int(best[rank]),)),), problem(REQUEST).essence)


def plain(family: str, wanted: Wanted, settings: TwinSettings) -> reference.Observed:
    base = pico_base(family, WIDE)
    return reference.observe(
        base.model,
        base.model.get_submodule(base.arch.path("attention_out", 0, base.model)),
        base.model.get_submodule(base.arch.path("mlp_out", 0, base.model)),
        [(list(row.ids), row.lookup, list(row.labels)) for row in wanted.rows],
        (list(wanted.essence.ids), wanted.essence.lookup),
        reference.Settings(
            steps=settings.steps,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            clamp=settings.clamp,
            kl=settings.kl,
            stop=settings.stop_loss,
            nll_factor=settings.nll_factor,
        ),
    )


def find(
    family: str, wanted: Sequence[Wanted], settings: TwinSettings
) -> list[Target | InvalidInputError]:
    base = pico_base(family, WIDE)
    return find_twin_targets(base.model, base.arch, wanted, settings, layer=0, filler=0)


def assert_same(found: Target | InvalidInputError, expected: reference.Observed) -> None:
    assert isinstance(found, Target)
    assert found.losses == pytest.approx(expected.losses, rel=1e-9)
    close = 1e-9 * expected.value.norm()
    assert float((found.delta - expected.delta).norm()) <= close
    assert float((found.origin - expected.value).norm()) <= close
    assert relative(found.keys, torch.stack(expected.keys)) < 1e-9
    assert relative(found.outputs, torch.stack(expected.outputs)) < 1e-9


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings", [USUAL, TIGHT], ids=["usual", "clamped"])
def test_a_batch_equals_the_reference(family: str, settings: TwinSettings) -> None:
    problems = [problem(request) for request in (REQUEST, MIDDLE, AT_END)]
    for one, found in zip(problems, find(family, problems, settings), strict=True):
        expected = plain(family, one, settings)
        assert_same(found, expected)
        assert float(expected.attention_delta.norm()) > 0
        if settings is TIGHT:
            radius = settings.clamp * float(expected.value.norm())
            assert float(expected.delta.norm()) == pytest.approx(radius, rel=1e-9)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_nll_weighs_less_while_all_labels_are_likeliest(family: str) -> None:
    settings = replace(FREE, kl=1.0, nll_factor=2.0)
    problems = [near(family, rank) for rank in (1, 2, 200)]
    expected = [plain(family, one, settings) for one in problems]
    assert set(expected[0].factors) == {2.0, 0.2}
    assert {one.factors[-1] for one in expected} == {2.0, 0.2}
    for one, found in zip(expected, find(family, problems, settings), strict=True):
        assert_same(found, one)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_request_is_done_when_all_labels_are_likeliest_and_little_drifts(family: str) -> None:
    settings = replace(FREE, kl=1e-4)
    problems = [near(family, rank) for rank in (0, 1, 5, 200)]
    expected = [plain(family, one, settings) for one in problems]
    assert [one.reason for one in expected] == ["all likeliest"] * 3 + ["steps"]
    assert len({len(one.losses) for one in expected}) == 4
    for one, found in zip(expected, find(family, problems, settings), strict=True):
        assert_same(found, one)
