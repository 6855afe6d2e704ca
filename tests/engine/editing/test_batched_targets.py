"""Many targets at once: each as if it were alone, whatever else is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from patchhub.editing.targets import (
    Target,
    TargetSettings,
    Wanted,
    descent,
    find_targets,
    wanted_for,
)
from patchhub.editing.targets.batch import Batch, rows_of
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest
from patchhub.sites import module_of
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, TEMPLATES, pico_base
from tests.pico import DECODER_ONLY, FAMILIES

WIDE = torch.float64
OTHER = EditRequest(prompt="Jon Arvel works for", target="a company in Rome", subject="Jon Arvel")
ALL = (REQUEST, MIDDLE, AT_END, OTHER)
SETTINGS = TargetSettings(steps=7, lr=0.2)
LONG = EditRequest(prompt="Mira " + "was born in " * 30 + "at", target="Oslo", subject="Mira")


@cache
def wanted(*requests: EditRequest) -> Wanted:
    return wanted_for(pico_base("gpt2").tokenizer, TEMPLATES, requests)


def find(
    family: str,
    problems: Sequence[Wanted],
    settings: TargetSettings = SETTINGS,
    *,
    layer: int = 0,
    site: str = "mlp",
    memory: int | None = None,
) -> list[Target | InvalidInputError]:
    base = pico_base(family, WIDE)
    return find_targets(
        base.model,
        base.arch,
        problems,
        settings,
        layer=layer,
        filler=0,
        site=site,
        memory=memory,
    )


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def assert_same(found: Target | InvalidInputError, expected: Target | InvalidInputError) -> None:
    assert isinstance(found, Target)
    assert isinstance(expected, Target)
    assert len(found.losses) == len(expected.losses)
    assert found.losses == pytest.approx(expected.losses, rel=1e-9)
    for name in ("origin", "keys", "outputs", "value"):
        assert relative(getattr(found, name), getattr(expected, name)) < 1e-9
    assert float((found.delta - expected.delta).norm()) <= 1e-9 * float(expected.origin.norm())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("site", ["mlp", "block"])
def test_a_batch_equals_one_by_one_with_stops_at_different_steps(family: str, site: str) -> None:
    problems = [wanted(request) for request in ALL]
    free = TargetSettings(steps=8, lr=0.1, stop_loss=0.0, weight_decay=0.0)
    alone = [find(family, [one], free, site=site)[0] for one in problems]
    losses = [one.losses for one in alone if isinstance(one, Target)]
    middle = sorted(loss[3] for loss in losses)
    settings = TargetSettings(
        steps=8, lr=0.1, stop_loss=(middle[1] + middle[2]) / 2, weight_decay=0.0
    )
    alone = [find(family, [one], settings, site=site)[0] for one in problems]
    counts = {len(one.losses) for one in alone if isinstance(one, Target)}
    assert len(counts) > 1, "choose a loss at which some stop"
    together = find(family, problems, settings, site=site)
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected)


def test_looking_seldom_at_who_is_done_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: what is done, and what diverged, stays in the batch for some steps."""
    problems = [wanted(request) for request in ALL]
    free = TargetSettings(steps=8, lr=0.1, stop_loss=0.0, weight_decay=0.0)
    losses = [one.losses for one in find("gpt2", problems, free) if isinstance(one, Target)]
    settings = replace(free, stop_loss=sorted(loss[3] for loss in losses)[2])
    usual = find("gpt2", problems, settings)
    assert len({len(one.losses) for one in usual if isinstance(one, Target)}) > 1
    monkeypatch.setitem(descent._LOOK, "cpu", 3)
    for found, expected in zip(find("gpt2", problems, settings), usual, strict=True):
        assert_same(found, expected)
    wild = TargetSettings(
        steps=7, lr=1e200, clamp=1e308, stop_loss=max(x[0] for x in losses) - 1e-6
    )
    codes = [isinstance(one, InvalidInputError) for one in find("gpt2", problems, wild)]
    assert sorted(codes) == [False, False, False, True]


@pytest.mark.parametrize("memory", [1, 150_000, None])
def test_any_budget_gives_the_same(memory: int | None) -> None:
    problems = [wanted(request) for request in ALL]
    usual = find("llama", problems)
    for found, expected in zip(find("llama", problems, memory=memory), usual, strict=True):
        assert_same(found, expected)


def test_what_diverges_or_is_too_long_leaves_the_others_alone() -> None:
    """Easy problems stop before the first step; the others take one that nothing survives."""
    problems = [wanted(request) for request in ALL]
    first = [one.losses[0] for one in find("gpt2", problems) if isinstance(one, Target)]
    wild = TargetSettings(steps=7, lr=1e200, clamp=1e308, stop_loss=max(first) - 1e-6)
    found = find("gpt2", [*problems, wanted(LONG)], wild)
    codes = [one.code if isinstance(one, InvalidInputError) else None for one in found]
    hardest = first.index(max(first))
    assert codes == ["E148" if i == hardest else None for i in range(4)] + ["E150"]
    for one in found:
        assert isinstance(one, InvalidInputError) or not one.delta.any()


def test_a_last_step_that_nothing_survives_is_its_own_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual, real = find("gpt2", [wanted(one) for one in ALL]), descent.Descent._step

    def spoilt(self: descent.Descent, step: int, gradient: Tensor) -> None:
        if step == SETTINGS.steps - 1:
            gradient = torch.cat([gradient[:1] * torch.nan, gradient[1:]])
        real(self, step, gradient)

    monkeypatch.setattr(descent.Descent, "_step", spoilt)
    pairs = list(zip(find("gpt2", [wanted(one) for one in ALL]), usual, strict=True))
    (bad,) = (found for found, _ in pairs if isinstance(found, InvalidInputError))
    assert bad.code == "E148"
    for found, expected in pairs:
        if found is not bad:
            assert_same(found, expected)


@pytest.mark.parametrize("site", ["mlp", "block"])
def test_behind_the_last_block_only_the_token_itself_can_be_answered(site: str) -> None:
    refused, found = find("gpt2", [wanted(REQUEST), wanted(AT_END)], layer=1, site=site)
    assert isinstance(refused, InvalidInputError)
    assert refused.code == "E143"
    assert "lower block" in str(refused.hint)
    assert isinstance(found, Target)
    assert found.losses[-1] < found.losses[0]


def test_several_prompts_on_one_subject_share_one_target() -> None:
    """The mean over all rows is what falls; the essence is one."""
    other = EditRequest(prompt="Mira Tolven speaks", target="French", subject="Mira Tolven")
    both = wanted(REQUEST, other)
    (found,) = find("gpt2", [both])
    single = find("gpt2", [wanted(REQUEST), wanted(other)])
    assert isinstance(found, Target)
    assert found.keys.shape[0] == 2 * len(TEMPLATES.texts)
    firsts = [one.losses[0] for one in single if isinstance(one, Target)]
    assert found.losses[0] == pytest.approx(sum(firsts) / 2, rel=1e-9)
    assert found.losses[-1] < found.losses[0]


def test_an_essence_is_read_in_a_row_that_begins_like_it() -> None:
    assert len(rows_of(wanted(REQUEST))) == len(TEMPLATES.texts)
    assert len(rows_of(wanted(MIDDLE))) == len(TEMPLATES.texts) + 1


@pytest.mark.parametrize("family", DECODER_ONLY)
def test_the_changed_block_runs_in_each_step_only_where_it_must(family: str) -> None:
    """Where the MLP's output is normed before it is added, a step begins with the block itself."""
    base = pico_base(family)
    runs: list[int] = []
    inner = module_of(base.model, base.arch.path("mlp_out", 0, base.model))
    handle = inner.register_forward_hook(lambda *_: runs.append(1))
    problem = wanted_for(base.tokenizer, TEMPLATES, [REQUEST])
    (found,) = find_targets(
        base.model, base.arch, [problem], TargetSettings(steps=5), layer=0, filler=0
    )
    handle.remove()
    assert isinstance(found, Target)
    assert len(set(found.losses)) == 4
    normed = family.startswith(("gemma2", "gemma3"))
    before = 3 if any(row.lookup for row in problem.rows) else 2
    assert len(runs) == before + (4 if normed else 0)


def test_what_is_kept_says_the_same() -> None:
    base = pico_base("gptj", WIDE)
    problems = [wanted(request) for request in ALL]
    batch = Batch(base.model, base.arch, problems, 0)
    with torch.no_grad():
        labels, essence = batch.log_p()
        nll, kept = batch.nll(labels), batch.kept([0, 2])
        labels, some = kept.log_p()
        assert torch.allclose(kept.nll(labels), nll[[0, 2]], rtol=1e-9)
        assert torch.allclose(some, essence[[0, 2]], rtol=1e-9)
    assert len(kept.cut.rows) < len(batch.cut.rows)
