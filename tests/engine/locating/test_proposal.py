from __future__ import annotations

import math

import pytest

from patchhub.locating.interchange import Moved, Where
from patchhub.locating.places import Place
from patchhub.locating.proposal import Proposal, propose
from patchhub.locating.tracing import Effect, Part, Tracing


def _tracing(mlps: list[float], blocks: list[float] | None = None, *, n: int = 20) -> Tracing:
    every = {Part.MLP: mlps, Part.BLOCK: blocks or [0.5] * len(mlps)}
    low = -math.inf if n < 2 else -0.05
    effects = [
        Effect(part, i, Place.LAST_SUBJECT, mean, mean + low, mean + 0.05, n)
        for part, means in every.items()
        for i, mean in enumerate(means)
    ]
    elsewhere = [Effect(Part.MLP, i, Place.LAST, 0.9, 0.8, 1, n) for i in range(len(mlps))]
    return Tracing((*effects, *elsewhere), 0.9, 0.1, n, 5, 0.2, 1, len(mlps))


def _moved(*shares: float) -> list[Moved]:
    return [Moved(i, where, share, 40) for i, share in enumerate(shares) for where in Where]


def _proposed(mlps: list[float], *shares: float) -> Proposal:
    return propose("decoder", _tracing(mlps), _moved(*shares))


def test_the_figures_of_the_sandbox_models_give_the_blocks_they_were_trained_for() -> None:
    gpt2 = _proposed([0.306, 0.120, 0.395, 0.020, 0.005, 0.0], 0.31, 0.72, 1.0, 0.14, 0.0, 0.0)
    llama = _proposed([0.662, 0.749, 0.767, 0.266, 0.0, 0.0], 0.28, 0.92, 0.98, 0.98, 0.30, 0.0)
    t5 = _proposed([0.792, 0.716, 0.770, 0.139, 0.108], 0.98, 0.99, 0.99, 0.99, 0.99)
    for proposal in (gpt2, llama, t5):
        assert (proposal.layer, proposal.layers) == (2, (0, 1, 2))


def test_no_block_is_proposed_behind_where_the_answer_stands() -> None:
    mlps = [0.3, 0.35, 0.4, 0.4, 0.4, 0.1]
    assert _proposed(mlps, 1.0, 1.0, 1.0, 0.2, 0.0, 0.0).layer == 2
    without = propose("decoder", _tracing(mlps, [0.5, 0.5, 0.1, 0.1, 0.0, 0.0]), [])
    assert without.layer == 1
    assert any("too late" in reason for reason in without.reasons)


def test_the_run_goes_from_the_first_of_some_effect_to_the_block_and_is_short() -> None:
    mlps = [0.4, 0.0, *[0.2] * 8, 0.4, 0.0]
    assert _proposed(mlps, *[1.0] * 12).layers == (5, 6, 7, 8, 9, 10)
    assert _proposed([0.05, 0.2, 0.01, 0.4, 0.0], *[1.0] * 5).layers == (1, 2, 3)
    assert _proposed([0.05, 0.09, 0.01, 0.4, 0.0], *[1.0] * 5).layers == (3,)
    behind = _proposed([0.0, 0.05, 0.01, 0.4, 0.0], 1.0, 1.0, 0.0, 0.0, 0.0)
    assert (behind.layer, behind.layers) == (1, (1,))


def test_the_reasons_say_the_figures() -> None:
    first, second, third = _proposed([0.1, 0.4, 0.05], 0.5, 1.0, 0.25).reasons
    assert "block 1 is where its MLP" in first
    assert "0.400, 95 % 0.350 to 0.450, n = 20" in first
    assert "block 2: 0.050" in first
    assert "100% of 40 pairs, 25% at block 2" in second
    assert "Blocks 0 to 1" in third


@pytest.mark.parametrize(("mlps", "n"), [([0.04, 0.03], 20), ([0.0, -0.1], 1)])
def test_without_an_effect_nothing_is_proposed(mlps: list[float], n: int) -> None:
    found = propose("decoder", _tracing(mlps, n=n), [])
    assert (found.layer, found.layers) == (None, ())
    assert "do not come from where editors write" in found.reasons[0]


def test_a_single_fact_has_no_interval_and_is_judged_by_its_value() -> None:
    found = propose("encoder", _tracing([0.1, 0.4, 0.0], n=1), [])
    assert (found.stack, found.layer) == ("encoder", 1)
    assert "0.400, n = 1" in found.reasons[0]
