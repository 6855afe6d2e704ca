from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchhub import sandbox
from patchhub.editing.isolation import weights_digests
from patchhub.errors import NotFoundError, PatchHubError
from patchhub.evaluation import harness
from patchhub.evaluation.harness import harness_task, run_harness
from patchhub.loading import load_base
from patchhub.scoring.choice import choose

T5 = Path(__file__).parents[1] / "models" / "sandbox-t5"
ITEMS = [
    replace(item, answer=(item.answer + (place % 4 == 0)) % len(item.choices))
    for place, item in enumerate(sandbox.choice_items(sandbox.load_world(), 20, seed=3))
]
"""A quarter of the answers is false, so that the model is wrong there."""


def test_without_the_harness_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    with pytest.raises(PatchHubError) as caught:
        run_harness(load_base(sandbox.model_path()), ["piqa"])
    assert caught.value.code == "E705"
    assert "patchhub[harness]" in str(caught.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("directory", [sandbox.model_path(), T5], ids=["gpt2", "t5"])
def test_the_sandbox_world_is_a_task(directory: Path) -> None:
    """T5's head is its own, which the harness would overwrite by the embedding."""
    pytest.importorskip("lm_eval")
    base = load_base(directory)
    weights, state = weights_digests(base.model), random.getstate()
    numbers = torch.get_rng_state()
    found = {one.metric: one for one in run_harness(base, [harness_task("world", ITEMS)])}
    ours = choose(base.model, base.tokenizer, ITEMS)
    share = sum(one.total == one.answer for one in ours) / len(ours)
    assert found["acc"].value == pytest.approx(share)
    assert 0.6 <= share <= 0.9
    assert found["acc"].n == found["acc_norm"].n == len(ITEMS)
    assert found["acc"].error == pytest.approx(
        math.sqrt(share * (1 - share) / (len(ITEMS) - 1)), rel=1e-6
    )
    assert weights_digests(base.model) == weights
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), numbers)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_unknown_task_is_named() -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(NotFoundError) as caught:
        run_harness(load_base(sandbox.model_path()), ["no such task"])
    assert caught.value.code == "E109"
    assert "no such task" in str(caught.value)
